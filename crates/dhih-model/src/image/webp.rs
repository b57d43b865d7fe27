//! WebP: its header, the chunks that tell how its pixels are stored, and decoding. Of an animation the first frame is used.

use std::io::Cursor;
use std::ops::Range;

use image_webp::WebPDecoder;

use super::header::{Format, Header};
use super::lossless::table_bytes;
use super::parse::{CUT_OFF, MAX_CHUNKS, OVERHEAD, array, cut_off, orientation, unusable};
use super::profile::Profile;
use super::rgb::drop_alpha;
use crate::error::Result;

/// The position of the first chunk, behind `RIFF`, a length and `WEBP`.
const CHUNKS: usize = 12;

/// Lossy data come in partitions, for which the decoder allocates what a length of three bytes says before it reads them.
const PARTITION: u64 = 16 << 20;

/// A chunk of a container.
#[derive(Clone)]
struct Chunk<'a> {
    name: [u8; 4],
    /// The data, as far as the file has them.
    data: &'a [u8],
    /// The position of the data in the file.
    start: usize,
    /// The position of the next chunk.
    end: usize,
    /// Whether the file has all of the data.
    is_whole: bool,
}

/// How the pixels are stored.
#[derive(Clone, Copy)]
struct Storage {
    is_lossy: bool,
    has_alpha: bool,
    is_animated: bool,
}

/// What the first chunks say.
struct Layout<'a> {
    size: [u32; 2],
    storage: Storage,
    exif: Option<&'a [u8]>,
    profile: Option<Profile>,
    lossless: Option<Lossless<'a>>,
}

/// A stream of lossless pixels, or of alpha stored in the same way.
#[derive(Clone, Copy)]
struct Lossless<'a> {
    /// The data behind its header.
    stream: &'a [u8],
    size: [u32; 2],
}

/// Reads the first chunks.
pub(super) fn header(bytes: &[u8]) -> Result<Header> {
    let Layout { size, storage, exif, profile, lossless } = Layout::read(bytes)?;
    let [width, height] = size;
    let tables = lossless.map_or(0, |_| most_table_bytes(bytes));
    Ok(Header {
        format: Format::WebP,
        width,
        height,
        orientation: orientation(exif),
        profile,
        decoder_bytes: storage.decoder_bytes(size).saturating_add(bytes.len() as u64 + tables),
    })
}

/// The most memory for tables of prefix codes, in bytes. Real pictures take less than a tenth of it.
fn most_table_bytes(bytes: &[u8]) -> u64 {
    ((256 << 10) + 32 * bytes.len() as u64).min(64 << 20)
}

impl<'a> Layout<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let first = Chunk::read(bytes, CHUNKS)?.checked()?;
        match &first.name {
            b"VP8 " => {
                let storage = Storage { is_lossy: true, has_alpha: false, is_animated: false };
                let size = lossy_size(first.data)?;
                Ok(Self { size, storage, exif: None, profile: None, lossless: None })
            }
            b"VP8L" => {
                let fields = u32::from_le_bytes(array(first.data, 1)?);
                let size = [(fields & 0x3fff) + 1, (fields >> 14 & 0x3fff) + 1];
                let has_alpha = fields >> 28 & 1 == 1;
                let storage = Storage { is_lossy: false, has_alpha, is_animated: false };
                let lossless = Lossless::of(&first, size);
                Ok(Self { size, storage, exif: None, profile: None, lossless })
            }
            b"VP8X" => Self::extended(bytes, &first),
            _ => Err(unusable("its first chunk is none that begins a WebP")),
        }
    }

    /// Reads a WebP of several chunks. The decoder allocates memory for a lossy image by the size in that image's own header, so that size is
    /// compared with the canvas here.
    fn extended(bytes: &'a [u8], first: &Chunk<'a>) -> Result<Self> {
        let flags = first.data.first().copied().ok_or_else(cut_off)?;
        let side = |at| -> Result<u32> { Ok(three(first.data, at)? + 1) };
        let size = [side(4)?, side(7)?];
        let (has_alpha, is_animated) = (flags & 0b1_0000 != 0, flags & 0b10 != 0);
        let mut chunks = first.following(bytes);
        let exif = chunks.clone().find(|chunk| chunk.name == *b"EXIF").map(|chunk| chunk.data);
        let profile = chunks.clone().find(|chunk| chunk.name == *b"ICCP");
        let profile = profile.map(|chunk| Profile::Pieces(vec![chunk.range()]));
        let no_image = || unusable("it has no image");
        let (size_of_image, chunks): (_, Vec<_>) = if is_animated {
            let frame = chunks.find(|chunk| chunk.name == *b"ANMF").ok_or_else(no_image)?;
            let image = Chunk::read(frame.data, 16)?;
            let behind = image.following(frame.data).take(1).collect::<Vec<_>>();
            let size = [three(frame.data, 6)? + 1, three(frame.data, 9)? + 1];
            (size, std::iter::once(image).chain(behind).collect())
        } else {
            // The first chunk of each kind is used.
            let first = |name: &[u8; 4]| chunks.clone().find(|chunk| chunk.name == *name);
            (size, [first(b"ALPH"), first(b"VP8 "), first(b"VP8L")].into_iter().flatten().collect())
        };
        if chunks.iter().any(|chunk| !chunk.is_whole) {
            return Err(unusable(CUT_OFF));
        }
        let named = |name: &[u8; 4]| chunks.iter().find(|chunk| chunk.name == *name);
        let alpha = named(b"ALPH").and_then(|chunk| Lossless::of(chunk, size_of_image));
        let (lossy, lossless) = (named(b"VP8 "), named(b"VP8L"));
        if lossy.is_none() && lossless.is_none() {
            return Err(no_image());
        }
        if let Some(lossy) = lossy
            && lossy_size(lossy.data)? != size_of_image
        {
            return Err(unusable("its image is not of the size that its header says"));
        }
        let storage = Storage { is_lossy: lossy.is_some(), has_alpha, is_animated };
        let lossless = lossless.and_then(|chunk| Lossless::of(chunk, size_of_image)).or(alpha);
        Ok(Self { size, storage, exif, profile, lossless })
    }
}

impl<'a> Lossless<'a> {
    /// The stream in a chunk of pixels or of alpha; `None` where alpha is not compressed.
    fn of(chunk: &Chunk<'a>, size: [u32; 2]) -> Option<Self> {
        let stream = match &chunk.name {
            b"VP8L" => chunk.data.get(5..),
            _ => chunk.data.split_first().filter(|(how, _)| *how & 0b11 == 1).map(|(_, rest)| rest),
        };
        stream.map(|stream| Self { stream, size })
    }
}

/// The size in the header of a lossy image.
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
        let (is_whole, end) = (data.len() == length, start + length + length % 2);
        Ok(Self { name, data, start, end, is_whole })
    }

    /// The chunk, or an error where the file lacks a part of it.
    fn checked(self) -> Result<Self> {
        if self.is_whole { Ok(self) } else { Err(unusable(CUT_OFF)) }
    }

    /// The position of its data in the file.
    fn range(&self) -> Range<usize> {
        self.start..self.start + self.data.len()
    }

    /// The chunks behind it, up to a limit.
    fn following(&self, bytes: &'a [u8]) -> impl Iterator<Item = Self> + Clone + use<'a> {
        let next = move |at: &mut usize| {
            let chunk = Self::read(bytes, *at).ok()?;
            *at = chunk.end;
            Some(chunk)
        };
        let mut at = self.end;
        std::iter::from_fn(move || next(&mut at)).take(MAX_CHUNKS)
    }
}

impl Storage {
    /// The bytes that the decoder takes, including its output.
    fn decoder_bytes(self, [width, height]: [u32; 2]) -> u64 {
        let pixels = u64::from(width) * u64::from(height);
        let output = if self.has_alpha { 4 * pixels } else { 3 * pixels };
        // Luma and two chroma planes of half the sides, in blocks of 16 x 16 pixels.
        let lossy = (u64::from(width) + 15) * (u64::from(height) + 15) * 3 / 2 + PARTITION;
        // Four channels, and the transforms and codes of blocks of 4 x 4 pixels.
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

/// Returns `height * width * 3` bytes.
pub(super) fn decode(bytes: &[u8], header: &Header) -> Result<Vec<u8>> {
    if let Some(Lossless { stream, size }) = Layout::read(bytes)?.lossless
        && table_bytes(stream, size)? > most_table_bytes(bytes)
    {
        return Err(unusable("it has more codes than a picture needs"));
    }
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
