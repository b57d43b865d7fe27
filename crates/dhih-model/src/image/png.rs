//! PNG: its header, and its rows, each converted as it comes, so that a picture of any depth takes 3 bytes a pixel. Colour profiles and texts
//! are not read: they may be a thousand times as long as they look.

use std::io::Cursor;

use png::{BitDepth, ColorType, InterlaceInfo, Transformations};

use super::header::{Format, Header, MAX_CHUNKS, OVERHEAD, array, orientation, unusable};
use super::rgb::Channels;
use crate::error::Result;

/// Where the first chunk begins, behind the signature.
const CHUNKS: usize = 8;
/// Chunks other than pixels and EXIF are short.
const SHORT_CHUNKS: usize = 64 << 10;

/// Reads the chunk IHDR, and looks for EXIF before the pixels.
pub(super) fn header(bytes: &[u8]) -> Result<Header> {
    let field = |at| -> Result<u32> { Ok(u32::from_be_bytes(array(bytes, CHUNKS + at)?)) };
    if field(0)? != 13 || array(bytes, CHUNKS + 4)? != *b"IHDR" {
        return Err(unusable("its first chunk is no header"));
    }
    let (width, height) = (field(8)?, field(12)?);
    // Rows as they are stored, as they are unfiltered, and as they are expanded: of 8 bytes a pixel at most.
    let rows = 64 * u64::from(width);
    let pixels = u64::from(width) * u64::from(height);
    let exif = exif(bytes);
    Ok(Header {
        format: Format::Png,
        width,
        height,
        orientation: orientation(exif),
        decoder_bytes: pixels.saturating_mul(3).saturating_add(rows + buffered(exif) + OVERHEAD),
    })
}

/// The first chunk eXIf before the pixels.
fn exif(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(CHUNKS..)?;
    for _ in 0..MAX_CHUNKS {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let (name, data) = (rest.get(4..8)?, rest.get(8..)?);
        match name {
            b"eXIf" => return data.get(..length),
            b"IDAT" => return None,
            // A checksum of four bytes follows.
            _ => rest = data.get(length.checked_add(4)?..)?,
        }
    }
    None
}

/// What the decoder keeps of EXIF: its buffer grows by doubling.
fn buffered(exif: Option<&[u8]>) -> u64 {
    2 * exif.map_or(0, <[u8]>::len) as u64
}

/// `height * width * 3` bytes.
pub(super) fn decode(bytes: &[u8], header: &Header) -> Result<Vec<u8>> {
    let (width, height) = (header.width as usize, header.height as usize);
    let metadata = buffered(exif(bytes)) as usize + SHORT_CHUNKS;
    let limits = png::Limits { bytes: 16 * width + metadata };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(unusable)?;
    let (color, depth) = reader.output_color_type();
    let channels = match color {
        ColorType::Grayscale => Channels::Grey,
        ColorType::GrayscaleAlpha => Channels::GreyAlpha,
        ColorType::Rgb => Channels::Rgb,
        ColorType::Rgba => Channels::Rgba,
        ColorType::Indexed => return Err(unusable("its palette is missing")),
    };
    let is_deep = depth == BitDepth::Sixteen;
    let pixel_bytes = color.samples() * if is_deep { 2 } else { 1 };
    let stride = 3 * width;
    let mut pixels = vec![0; stride * height];
    let (mut start, mut pass_row) = (0, Vec::new());
    while let Some(row) = reader.next_interlaced_row().map_err(unusable)? {
        let write = |rgb: &mut [u8]| match is_deep {
            true => channels.write_deep_row(row.data(), rgb),
            false => channels.write_row(row.data(), rgb),
        };
        let width = row.data().len() / pixel_bytes;
        match row.interlace() {
            InterlaceInfo::Null(_) => {
                let rgb =
                    pixels.get_mut(start..start + stride).filter(|rgb| rgb.len() == 3 * width);
                write(rgb.ok_or_else(|| unusable("its first frame is not of its size"))?);
                start += stride;
            }
            InterlaceInfo::Adam7(info) => {
                pass_row.resize(3 * width, 0);
                write(&mut pass_row);
                png::expand_interlaced_row(&mut pixels, stride, &pass_row, info, 24);
            }
        }
    }
    Ok(pixels)
}
