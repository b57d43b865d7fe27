//! From the bytes of a picture to the pixels a network takes. Training and serving share this path, so that a
//! picture means the same to both. No files and no normalisation here.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};

use crate::config::InputShape;
use crate::error::{Error, Result};

/// What a picture may cost to decode; checked before its pixels are read.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest side, in pixels.
    pub max_side: u32,
    /// The largest area, in pixels.
    pub max_pixels: u64,
    /// Memory the decoder may take, in bytes.
    pub max_bytes: u64,
}

impl Default for Limits {
    /// 8,192 pixels a side, 40 megapixels, 192 MiB.
    fn default() -> Self {
        Self { max_side: 8192, max_pixels: 40_000_000, max_bytes: 192 << 20 }
    }
}

/// A decoded picture: RGB, 8 bits a channel, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes.
    pub pixels: Vec<u8>,
}

/// Decodes a JPEG, PNG or WebP. Grey, CMYK and 16-bit pictures are converted, EXIF orientation is applied, transparency is
/// laid over white.
///
/// # Errors
/// [`Error::NotAnImage`] where no such picture begins; [`Error::UnusableImage`] where it is truncated, damaged or
/// over the limits.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture> {
    let not_an_image = |reason: String| Error::NotAnImage { reason };
    let unusable = |error: ImageError| Error::UnusableImage { reason: error.to_string() };

    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|error| not_an_image(error.to_string()))?;
    match reader.format() {
        Some(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP) => {}
        Some(other) => return Err(not_an_image(format!("it is {other:?}"))),
        None => return Err(not_an_image(format!("{} bytes of no known kind", bytes.len()))),
    }
    let mut bounds = image::Limits::default();
    bounds.max_image_width = Some(limits.max_side);
    bounds.max_image_height = Some(limits.max_side);
    bounds.max_alloc = Some(limits.max_bytes);
    reader.limits(bounds);

    let mut decoder = reader.into_decoder().map_err(unusable)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > limits.max_pixels || width.max(height) > limits.max_side {
        let reason = format!(
            "it is {width} x {height} pixels; at most {} a side and {} in all are taken",
            limits.max_side, limits.max_pixels
        );
        return Err(Error::UnusableImage { reason });
    }
    let orientation = decoder.orientation().map_err(unusable)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(unusable)?;
    image.apply_orientation(orientation);
    let rgb = if image.color().has_alpha() { over_white(&image) } else { image.into_rgb8() };
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Ok(Picture { width, height, pixels: rgb.into_raw() })
}

/// Pixels of a picture, from its header; 0 where it has none that is read. Tells what decoding it would take, and no more:
/// [`decode`] checks it.
pub fn pixels(bytes: &[u8]) -> u64 {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let size = reader.ok().and_then(|reader| reader.into_dimensions().ok());
    size.map_or(0, |(width, height)| u64::from(width) * u64::from(height))
}

fn over_white(image: &DynamicImage) -> RgbImage {
    let rgba = image.to_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (from, to) in rgba.pixels().zip(rgb.pixels_mut()) {
        let [r, g, b, a] = from.0.map(u32::from);
        to.0 = [r, g, b].map(|c| ((c * a + 255 * (255 - a) + 127) / 255) as u8);
    }
    rgb
}

impl Picture {
    /// The largest centred part of the wanted proportions, scaled to `shape` by area-weighted linear interpolation.
    ///
    /// # Shapes
    /// Returns `height * width * channels` bytes; one channel is luma (ITU-R BT.601). A picture that has the size
    /// already keeps its pixels.
    pub fn fit(&self, shape: InputShape) -> Vec<u8> {
        let rgb = if (self.width, self.height) == (shape.width, shape.height) {
            self.pixels.clone()
        } else {
            self.resized(shape)
        };
        match shape.channels {
            1 => rgb.chunks_exact(3).map(luma).collect(),
            _ => rgb,
        }
    }

    fn resized(&self, shape: InputShape) -> Vec<u8> {
        let (width, height) = (self.width, self.height);
        // The crop's sides are rounded down, but never to nothing: 1 x n pictures stay usable.
        let crop_width = (height * shape.width / shape.height).clamp(1, width);
        let crop_height = (width * shape.height / shape.width).clamp(1, height);
        let (left, top) = ((width - crop_width) / 2, (height - crop_height) / 2);
        let mut cropped = Vec::with_capacity(crop_width * crop_height * 3);
        for row in self.pixels.chunks_exact(width * 3).skip(top).take(crop_height) {
            cropped.extend_from_slice(&row[left * 3..(left + crop_width) * 3]);
        }
        let cropped = RgbImage::from_raw(crop_width as u32, crop_height as u32, cropped);
        let cropped = cropped.unwrap_or_default();
        let (width, height) = (shape.width as u32, shape.height as u32);
        image::imageops::resize(&cropped, width, height, FilterType::Triangle).into_raw()
    }
}

fn luma(rgb: &[u8]) -> u8 {
    let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
    ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgb, Rgba};

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
        let picture = decoded(include_bytes!("../tests/data/cmyk.jpg"));
        assert_eq!((picture.width, picture.height), (8, 8));
        let [r, g, b] = [picture.pixels[0], picture.pixels[1], picture.pixels[2]];
        assert!(r > 180 && g < 90 && b < 90, "the file is red, got {r} {g} {b}");
    }

    #[test]
    fn exif_orientation_is_applied() {
        let picture = decoded(include_bytes!("../tests/data/rotated.jpg"));
        assert_eq!((picture.width, picture.height), (8, 16), "stored as 16 x 8, to be turned");
    }

    #[test]
    fn other_bytes_are_not_an_image() {
        for bytes in [&b""[..], b"hello", b"GIF89a......"] {
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

    #[test]
    fn fit_keeps_equal_sizes_and_crops_the_centre() {
        let shape = InputShape { height: 2, width: 2, channels: 3 };
        let same = Picture { width: 2, height: 2, pixels: (0..12).collect() };
        assert_eq!(same.fit(shape), same.pixels);
        let row = [[0u8; 3], [9; 3], [9; 3], [0; 3]].concat();
        let wide = Picture { width: 4, height: 2, pixels: [row.clone(), row].concat() };
        assert_eq!(wide.fit(shape), vec![9; 12]);
        let dot = Picture { width: 1, height: 1, pixels: vec![10, 10, 10] };
        assert_eq!(dot.fit(InputShape { height: 32, width: 32, channels: 1 }), vec![10; 1024]);
        let line = Picture { width: 1, height: 500, pixels: vec![3; 1500] };
        assert_eq!(line.fit(shape), vec![3; 12]);
    }
}
