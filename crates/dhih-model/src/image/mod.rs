//! From the bytes of a picture to the pixels of a network's input. Training, encoding and serving share this code, so that they see the same
//! pixels. There is no file access and no normalisation here.
//!
//! ```text
//! bytes -> recognise.rs -> header.rs -> limits.rs, budget.rs -> a decoder a format -> rgb.rs -> profile.rs -> Picture -> fit
//! ```
//!
//! The header of a picture tells its size and the memory for decoding it, before any pixel is read.

mod budget;
mod common;
mod fit;
mod header;
mod input_shape;
mod jpeg;
mod limits;
mod lossless;
mod parse;
mod picture;
mod png;
mod profile;
mod reader;
mod recognise;
mod resize;
mod rgb;
mod tiff;
mod webp;

use image::{DynamicImage, RgbImage};

pub use self::budget::{DecodingBudget, DecodingShare};
pub use self::fit::{Fit, Frame, Interpolation};
use self::header::Format;
pub use self::header::Header;
pub use self::input_shape::InputShape;
pub use self::limits::Limits;
use self::parse::unusable;
pub use self::picture::Picture;
pub use self::reader::{PictureReader, decode_for};
use crate::error::Result;

/// The formats that are decoded, as messages and help name them.
pub const FORMATS: &str = "JPEG, PNG, WebP, GIF, BMP or TIFF";

/// Decodes a JPEG, PNG, WebP, GIF, BMP or TIFF to RGB of 8 bits a channel. Grey, CMYK and deeper pictures are converted, colours of a wider
/// gamut become sRGB, EXIF orientation is applied, and transparency is laid over white. Of an animation the first frame is used.
/// [`Header::decoding_bytes`] tells how much memory this takes.
///
/// # Errors
/// [`Error::NotAnImage`](crate::Error::NotAnImage) where the bytes begin with none of these formats;
/// [`Error::UnusableImage`](crate::Error::UnusableImage) where the picture is truncated, damaged or over the limits.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture> {
    let header = Header::read(bytes)?;
    limits.check(&header)?;
    decode_header(bytes, &header)
}

/// Decodes a picture whose header was read from the same bytes.
fn decode_header(bytes: &[u8], header: &Header) -> Result<Picture> {
    let mut pixels = match &header.format {
        Format::Png => png::decode(bytes, header)?,
        Format::Jpeg(layout) => jpeg::decode(bytes, header, layout)?,
        Format::WebP => webp::decode(bytes, header)?,
        Format::Gif | Format::Bmp | Format::Tiff => common::decode(bytes, header)?,
    };
    header.convert_colours(bytes, header.width as usize, &mut pixels);
    let rgb = RgbImage::from_raw(header.width, header.height, pixels);
    let rgb = rgb.ok_or_else(|| unusable("its pixels are not all there"))?;
    Ok(oriented(rgb.into(), header))
}

/// Applies EXIF orientation.
fn oriented(mut image: DynamicImage, header: &Header) -> Picture {
    image.apply_orientation(header.orientation);
    let rgb = image.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Picture { width, height, pixels: rgb.into_raw() }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::Error;
    use image::{ImageFormat, Luma, Rgb, Rgba};

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decoded(bytes: &[u8]) -> Picture {
        decode(bytes, &Limits::default()).unwrap()
    }

    #[test]
    fn grey_16_bit_and_transparent_pictures_become_rgb() {
        let grey = image::GrayImage::from_pixel(3, 2, Luma([7]));
        assert_eq!(decoded(&encoded(grey, ImageFormat::Png)).pixels, vec![7; 18]);
        let deep = image::ImageBuffer::from_pixel(2, 2, Rgb([0xabcdu16, 0, 0xffff]));
        assert_eq!(decoded(&encoded(deep, ImageFormat::Png)).pixels[..3], [0xab, 0, 0xff]);
        let clear = image::RgbaImage::from_pixel(1, 1, Rgba([0, 0, 0, 0]));
        assert_eq!(decoded(&encoded(clear, ImageFormat::Png)).pixels, [255; 3]);
    }

    #[test]
    fn cmyk_jpeg_is_converted() {
        let picture = decoded(include_bytes!("../../tests/data/cmyk.jpg"));
        assert_eq!((picture.width, picture.height), (8, 8));
        let [r, g, b] = [picture.pixels[0], picture.pixels[1], picture.pixels[2]];
        assert!(r > 180 && g < 90 && b < 90, "the file is red, got {r} {g} {b}");
    }

    #[test]
    fn exif_orientation_is_applied() {
        let picture = decoded(include_bytes!("../../tests/data/rotated.jpg"));
        assert_eq!((picture.width, picture.height), (8, 16), "stored as 16 x 8, to be turned");
    }

    #[test]
    fn other_bytes_are_not_an_image() {
        for bytes in [&b""[..], b"hello", b"RIFF....WAVEfmt "] {
            let error = decode(bytes, &Limits::default()).unwrap_err();
            assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
        }
    }

    #[test]
    fn every_truncation_is_an_error_or_a_picture() {
        let noise = RgbImage::from_fn(16, 16, |x, y| Rgb([(x * 16) as u8, (y * 16) as u8, 99]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let bytes = encoded(noise.clone(), format);
            assert_eq!(decoded(&bytes).pixels.len(), 16 * 16 * 3);
            for end in 0..bytes.len() {
                if let Ok(picture) = decode(&bytes[..end], &Limits::default()) {
                    assert_eq!((picture.width, picture.height), (16, 16));
                }
            }
        }
    }

    #[test]
    fn limits_hold_before_decoding() {
        let bytes = encoded(RgbImage::new(64, 32), ImageFormat::Png);
        for limits in [
            Limits { max_side: 63, ..Limits::default() },
            Limits { max_pixels: 2047, ..Limits::default() },
            Limits { max_bytes: 100, ..Limits::default() },
        ] {
            let error = decode(&bytes, &limits).unwrap_err();
            assert!(matches!(error, Error::UnusableImage { .. }), "{error}");
        }
    }
}
