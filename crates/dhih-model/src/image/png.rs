//! PNG: its header, and its rows, each of which is converted as it is decoded, so that a picture of any depth takes 3 bytes for each pixel. The
//! decoder does not inflate texts and colour profiles, which may be a thousand times as long as their compressed form; `profile` inflates colour
//! profiles up to a limit.

use std::io::Cursor;
use std::ops::Range;

use png::{BitDepth, ColorType, InterlaceInfo, Transformations};

use super::header::{Format, Header};
use super::parse::{MAX_CHUNKS, OVERHEAD, array, orientation, unusable};
use super::profile::Profile;
use super::rgb::Channels;
use crate::error::Result;

/// The position of the first chunk, behind the signature.
const CHUNKS: usize = 8;
/// The longest name of a colour profile.
const MAX_PROFILE_NAME: usize = 79;
/// Room for the other chunks, which are short.
const SHORT_CHUNKS: usize = 64 << 10;

/// Reads the chunk IHDR, and looks for EXIF and a colour profile before the pixels.
pub(super) fn header(bytes: &[u8]) -> Result<Header> {
    let field = |at| -> Result<u32> { Ok(u32::from_be_bytes(array(bytes, CHUNKS + at)?)) };
    if field(0)? != 13 || array(bytes, CHUNKS + 4)? != *b"IHDR" {
        return Err(unusable("its first chunk is no header"));
    }
    let (width, height) = (field(8)?, field(12)?);
    // A row as stored, unfiltered and expanded, of at most 8 bytes for each pixel.
    let rows = 64 * u64::from(width);
    let pixels = u64::from(width) * u64::from(height);
    let Metadata { exif, profile } = Metadata::find(bytes);
    Ok(Header {
        format: Format::Png,
        width,
        height,
        orientation: orientation(exif),
        profile,
        decoder_bytes: pixels.saturating_mul(3).saturating_add(rows + buffered(exif) + OVERHEAD),
    })
}

/// The first chunks eXIf and iCCP before the pixels.
#[derive(Default)]
struct Metadata<'a> {
    exif: Option<&'a [u8]>,
    profile: Option<Profile>,
}

impl<'a> Metadata<'a> {
    fn find(bytes: &'a [u8]) -> Self {
        let (mut metadata, mut at) = (Self::default(), CHUNKS);
        for _ in 0..MAX_CHUNKS {
            let Some((name, data)) = chunk(bytes, at) else { break };
            match &name {
                b"eXIf" => metadata.exif = metadata.exif.or(bytes.get(data.clone())),
                b"iCCP" if metadata.profile.is_none() => metadata.profile = profile(bytes, &data),
                b"IDAT" => break,
                _ => {}
            }
            // A chunk ends with a checksum of four bytes.
            at = data.end + 4;
        }
        metadata
    }
}

/// The name of a chunk, and the position of its data.
fn chunk(bytes: &[u8], at: usize) -> Option<([u8; 4], Range<usize>)> {
    let length = u32::from_be_bytes(array(bytes, at).ok()?) as usize;
    let name = array(bytes, at + 4).ok()?;
    Some((name, at + 8..at.checked_add(8 + length)?))
}

/// The profile in a chunk iCCP: a name, a zero, a zero for zlib, and compressed data.
fn profile(bytes: &[u8], chunk: &Range<usize>) -> Option<Profile> {
    let data = bytes.get(chunk.clone())?;
    let name = data.iter().take(MAX_PROFILE_NAME + 1).position(|byte| *byte == 0)?;
    (data.get(name + 1) == Some(&0)).then(|| Profile::Deflated(chunk.start + name + 2..chunk.end))
}

/// The memory of the decoder for EXIF; its buffer grows by doubling.
fn buffered(exif: Option<&[u8]>) -> u64 {
    2 * exif.map_or(0, <[u8]>::len) as u64
}

/// Returns `height * width * 3` bytes.
pub(super) fn decode(bytes: &[u8], header: &Header) -> Result<Vec<u8>> {
    let (width, height) = (header.width as usize, header.height as usize);
    let metadata = buffered(Metadata::find(bytes).exif) as usize + SHORT_CHUNKS;
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
