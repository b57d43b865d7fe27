//! GIF, BMP and TIFF: decoded by the crate `image` within the memory that the header allows, and converted to RGB. Of a GIF the first frame is
//! used, of a TIFF the first page. `tiff` reads the header of a TIFF.

use std::io::Cursor;

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, tiff::TiffDecoder};
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder};

use super::header::{Format, Header};
use super::parse::{OVERHEAD, array, unusable};
use super::rgb::{Channels, drop_alpha};
use crate::error::Result;

/// Reads the size of the canvas of a GIF.
pub(super) fn gif_header(bytes: &[u8]) -> Result<Header> {
    let side = |at| -> Result<u32> { Ok(u16::from_le_bytes(array(bytes, at)?).into()) };
    let (width, height) = (side(6)?, side(8)?);
    // The canvas in RGBA, a frame in RGBA that does not fill it, and the palette indices of the frame.
    let decoder_bytes = 9 * u64::from(width) * u64::from(height);
    Ok(header(Format::Gif, [width, height], decoder_bytes + file_bytes(bytes)))
}

/// Reads the headers of a BMP.
pub(super) fn bmp_header(bytes: &[u8]) -> Result<Header> {
    let decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(unusable)?;
    let (width, height) = decoder.dimensions();
    // A stored row has up to 4 bytes for each pixel.
    let decoder_bytes = decoder.total_bytes().saturating_add(8 * u64::from(width));
    Ok(header(Format::Bmp, [width, height], decoder_bytes.saturating_add(OVERHEAD)))
}

/// The memory for extensions of a GIF, which may be most of the file; buffers grow by doubling.
fn file_bytes(bytes: &[u8]) -> u64 {
    2 * bytes.len() as u64 + OVERHEAD
}

fn header(format: Format, [width, height]: [u32; 2], decoder_bytes: u64) -> Header {
    let orientation = Orientation::NoTransforms;
    Header { format, width, height, orientation, profile: None, decoder_bytes }
}

/// Returns `height * width * 3` bytes.
pub(super) fn decode(bytes: &[u8], header: &Header) -> Result<Vec<u8>> {
    let file = Cursor::new(bytes);
    match header.format {
        Format::Gif => samples(GifDecoder::new(file).map_err(unusable)?, header),
        Format::Bmp => samples(BmpDecoder::new(file).map_err(unusable)?, header),
        _ => samples(TiffDecoder::new(file).map_err(unusable)?, header),
    }
}

fn samples(mut decoder: impl ImageDecoder, header: &Header) -> Result<Vec<u8>> {
    if decoder.dimensions() != (header.width, header.height) {
        return Err(unusable("its headers contradict each other"));
    }
    let color = decoder.color_type();
    let length = decoder.total_bytes();
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(match header.format {
        Format::Gif => length,
        // The memory of the decoder without its output.
        _ => header.decoder_bytes.saturating_sub(length),
    });
    if length > header.decoder_bytes {
        return Err(unusable("its headers contradict each other"));
    }
    decoder.set_limits(limits).map_err(unusable)?;
    let mut samples = vec![0; usize::try_from(length).map_err(unusable)?];
    decoder.read_image(&mut samples).map_err(unusable)?;
    into_rgb(color, samples, header)
}

/// Converts samples as the crate `image` returns them, of 8, 16 or 32 bits in native byte order.
fn into_rgb(color: ColorType, mut samples: Vec<u8>, header: &Header) -> Result<Vec<u8>> {
    let channels = match color {
        ColorType::Rgb8 => return Ok(samples),
        ColorType::Rgba8 => return Ok(drop_alpha(samples)),
        ColorType::L8 | ColorType::L16 => Channels::Grey,
        ColorType::La8 | ColorType::La16 => Channels::GreyAlpha,
        ColorType::Rgb16 | ColorType::Rgb32F => Channels::Rgb,
        ColorType::Rgba16 | ColorType::Rgba32F => Channels::Rgba,
        other => return Err(unusable(format!("its colours are {other:?}, which are not read"))),
    };
    let mut rgb = vec![0; 3 * header.width as usize * header.height as usize];
    match color.bytes_per_pixel() / color.channel_count() {
        1 => channels.write_row(&samples, &mut rgb),
        2 => {
            samples.as_chunks_mut::<2>().0.iter_mut().for_each(|sample| {
                *sample = u16::from_ne_bytes(*sample).to_be_bytes();
            });
            channels.write_deep_row(&samples, &mut rgb);
        }
        _ => {
            // NaN becomes white, as in browsers and in the crate `image`.
            let sample = |bytes: &[u8; 4]| match f32::from_ne_bytes(*bytes) {
                value if value.is_nan() => 255,
                value => (value * 255.0).round() as u8,
            };
            let rounded: Vec<u8> = samples.as_chunks::<4>().0.iter().map(sample).collect();
            channels.write_row(&rounded, &mut rgb);
        }
    }
    Ok(rgb)
}
