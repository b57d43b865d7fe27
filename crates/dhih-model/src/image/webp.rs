//! WebP: the header and the chunks that say how its pixels are stored, and decoding it: of an animation the first frame.

use std::io::Cursor;

use image_webp::WebPDecoder;

use super::header::{Format, Header, MAX_CHUNKS, OVERHEAD, array, cut_off, orientation, unusable};
use super::rgb::drop_alpha;
use crate::error::Result;

/// The first chunk, behind `RIFF`, a length and `WEBP`.
const CHUNKS: usize = 12;

/// A chunk of a container.
struct Chunk<'a> {
    name: [u8; 4],
    /// As far as the file goes.
    data: &'a [u8],
    /// Where the next one begins.
    end: usize,
}

/// How the pixels are stored.
#[derive(Clone, Copy)]
struct Storage {
    is_lossy: bool,
    has_alpha: bool,
    is_animated: bool,
}

/// Reads the first chunks.
pub(super) fn header(bytes: &[u8]) -> Result<Header> {
    let first = Chunk::read(bytes, CHUNKS)?;
    let (size, storage, exif) = match &first.name {
        b"VP8 " => {
            let storage = Storage { is_lossy: true, has_alpha: false, is_animated: false };
            (lossy_size(first.data)?, storage, None)
        }
        b"VP8L" => {
            let fields = u32::from_le_bytes(array(first.data, 1)?);
            let size = [(fields & 0x3fff) + 1, (fields >> 14 & 0x3fff) + 1];
            let has_alpha = fields >> 28 & 1 == 1;
            (size, Storage { is_lossy: false, has_alpha, is_animated: false }, None)
        }
        b"VP8X" => extended(bytes, &first)?,
        _ => return Err(unusable("its first chunk is none that begins a WebP")),
    };
    let [width, height] = size;
    Ok(Header {
        format: Format::WebP,
        width,
        height,
        orientation: orientation(exif),
        decoder_bytes: storage.decoder_bytes(size).saturating_add(bytes.len() as u64),
    })
}

/// Size and storage of a WebP of several chunks, and its EXIF. The decoder makes room for a lossy frame by what the frame itself says
/// of its size, so that is compared with the canvas here.
fn extended<'a>(bytes: &'a [u8], first: &Chunk<'a>) -> Result<([u32; 2], Storage, Option<&'a [u8]>)> {
    let flags = first.data.first().copied().ok_or_else(cut_off)?;
    let side = |at| -> Result<u32> { Ok(three(first.data, at)? + 1) };
    let size = [side(4)?, side(7)?];
    let is_animated = flags & 0b10 != 0;
    let mut storage = Storage { is_lossy: false, has_alpha: flags & 0b1_0000 != 0, is_animated };
    let (mut image, mut exif) = (None, None);
    let mut at = first.end;
    for _ in 0..MAX_CHUNKS {
        let Ok(chunk) = Chunk::read(bytes, at) else { break };
        at = chunk.end;
        match &chunk.name {
            b"EXIF" => exif = exif.or(Some(chunk.data)),
            b"ANMF" if is_animated && image.is_none() => image = Some((frame(chunk.data)?, chunk)),
            b"VP8 " | b"VP8L" if !is_animated && image.is_none() => image = Some((size, chunk)),
            _ => {}
        }
    }
    let (size_of_image, image) = image.ok_or_else(|| unusable("it has no image"))?;
    let lossy = match is_animated {
        true => lossy_in_frame(image.data)?,
        false => (image.name == *b"VP8 ").then_some(image.data),
    };
    if let Some(lossy) = lossy {
        storage.is_lossy = true;
        if lossy_size(lossy)? != size_of_image {
            return Err(unusable("its image is not of the size that its header says"));
        }
    }
    Ok((size, storage, exif))
}

/// The size of an animation's frame.
fn frame(data: &[u8]) -> Result<[u32; 2]> {
    Ok([three(data, 6)? + 1, three(data, 9)? + 1])
}

/// The lossy image in an animation's frame, where it has one: the first chunk, or the second behind its alpha.
fn lossy_in_frame(data: &[u8]) -> Result<Option<&[u8]>> {
    let first = Chunk::read(data, 16)?;
    Ok(match &first.name {
        b"VP8 " => Some(first.data),
        b"ALPH" => Some(Chunk::read(data, first.end)?.data),
        _ => None,
    })
}

/// The size that a lossy image says it has.
fn lossy_size(data: &[u8]) -> Result<[u32; 2]> {
    if array(data, 3)? != [0x9d, 0x01, 0x2a] {
        return Err(unusable("its image does not begin as one"));
    }
    let side = |at| -> Result<u32> { Ok(u32::from(u16::from_le_bytes(array(data, at)?) & 0x3fff)) };
    Ok([side(6)?, side(8)?])
}

/// A number of three bytes.
fn three(data: &[u8], at: usize) -> Result<u32> {
    let [a, b, c] = array(data, at)?;
    Ok(u32::from_le_bytes([a, b, c, 0]))
}

impl<'a> Chunk<'a> {
    fn read(bytes: &'a [u8], at: usize) -> Result<Self> {
        let name = array(bytes, at)?;
        let length = u32::from_le_bytes(array(bytes, at + 4)?) as usize;
        let start = at + 8;
        let data = &bytes[start..bytes.len().min(start + length)];
        Ok(Self { name, data, end: start + length + length % 2 })
    }
}

impl Storage {
    /// Bytes that the decoder takes, its output included.
    fn decoder_bytes(self, [width, height]: [u32; 2]) -> u64 {
        let pixels = u64::from(width) * u64::from(height);
        let output = if self.has_alpha { 4 * pixels } else { 3 * pixels };
        // Luma and two chromas of half the sides, in blocks of 16 x 16 pixels.
        let lossy = (u64::from(width) + 15) * (u64::from(height) + 15) * 3 / 2;
        // Four channels, and what its transforms and codes say of blocks of 4 x 4 pixels.
        let lossless = 5 * pixels;
        let image = match self {
            // A frame, and the canvas that it is laid on.
            Self { is_animated: true, .. } => (lossy + lossless + 4 * pixels).max(10 * pixels),
            Self { is_lossy: true, has_alpha: true, .. } => lossy + lossless + pixels,
            Self { is_lossy: true, .. } => lossy,
            // It is decoded into the output.
            Self { has_alpha: true, .. } => pixels,
            _ => lossless,
        };
        output + image + OVERHEAD
    }
}

/// `height * width * 3` bytes.
pub(super) fn decode(bytes: &[u8], header: &Header) -> Result<Vec<u8>> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(unusable)?;
    decoder.set_memory_limit(bytes.len());
    if decoder.dimensions() != (header.width, header.height) {
        return Err(unusable("its headers contradict each other"));
    }
    let length = decoder.output_buffer_size().ok_or_else(|| unusable("it is too large"))?;
    let mut pixels = vec![0; length];
    decoder.read_image(&mut pixels).map_err(unusable)?;
    Ok(if decoder.has_alpha() { drop_alpha(pixels) } else { pixels })
}
