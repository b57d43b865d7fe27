//! The segments of a JPEG before its first scan, which make its [`Header`] and its [`Layout`].

use std::ops::Range;

use super::PAD;
use super::layout::Layout;
use crate::error::Result;
use crate::image::header::{Format, Header};
use crate::image::parse::{MAX_CHUNKS, OVERHEAD, array, cut_off, orientation, unusable};
use crate::image::profile::Profile;

/// The most bytes before the first scan that belong to no segment; some cameras write a few.
const MAX_STRAY: usize = 64 << 10;
/// The bytes of a marker, and of the length that follows it.
const MARKER: usize = 2;
const LENGTH: usize = 2;

/// A frame header (SOF).
struct FrameHeader {
    width: u32,
    height: u32,
    is_progressive: bool,
    /// Horizontal and vertical sampling factors of each component.
    sampling: Vec<[u64; 2]>,
    /// The identifier of each component.
    components: Vec<u8>,
}

/// Reads the segments up to the first scan.
pub(in crate::image) fn header(bytes: &[u8]) -> Result<Header> {
    let (mut frame, mut exif, mut segments) = (None, None, Vec::new());
    let mut profile = ProfilePieces::default();
    let mut at = 2;
    for _ in 0..MAX_CHUNKS {
        let start = marker(bytes, at)?;
        let marker = bytes[start + 1];
        let length = usize::from(u16::from_be_bytes(array(bytes, start + MARKER)?));
        let end = start + MARKER + length;
        let data = bytes.get(start + MARKER + LENGTH..end).ok_or_else(cut_off)?;
        match marker {
            0xc0..=0xc2 if frame.is_some() => return Err(unusable("it has two frame headers")),
            0xc0..=0xc2 => frame = Some(FrameHeader::read(data, marker == 0xc2)?),
            // The last EXIF segment is used.
            0xe1 => exif = data.strip_prefix(b"Exif\0\0").or(exif),
            0xe2 => profile.add(data, end),
            0xd9 => return Err(unusable("it ends before its first scan")),
            _ => {}
        }
        // Frame headers, tables, restart intervals, and the segments that tell how colours are coded: JFIF or AVI, Adobe.
        if matches!(marker, 0xc0..=0xcf | 0xda | 0xdb | 0xdd | 0xe0 | 0xee) {
            segments.push(start..end);
        }
        if marker == 0xda {
            let frame =
                frame.ok_or_else(|| unusable("its first scan comes before its frame header"))?;
            let scan_components = data.first().copied().unwrap_or(0).into();
            let decoder_bytes =
                frame.decoder_bytes(scan_components) + bytes.len() as u64 + PAD as u64;
            let is_in_parts = frame.is_in_parts(scan_components);
            let blocks = frame.blocks();
            let FrameHeader { is_progressive, components, .. } = frame;
            let layout =
                Layout { segments, scan: end, is_progressive, is_in_parts, blocks, components };
            return Ok(Header {
                format: Format::Jpeg(layout),
                width: frame.width,
                height: frame.height,
                orientation: orientation(exif),
                profile: profile.whole(),
                decoder_bytes,
            });
        }
        at = end;
    }
    Err(unusable(format!("there is no scan within its first {MAX_CHUNKS} segments")))
}

/// The position of the next marker: 0xff and another byte. Stray bytes, and more bytes 0xff, may come before it.
fn marker(bytes: &[u8], from: usize) -> Result<usize> {
    let end = bytes.len().min(from + MAX_STRAY);
    let pairs = bytes.get(from..end).unwrap_or_default().windows(2);
    let found = pairs.clone().position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff));
    found.map(|at| from + at).ok_or_else(cut_off)
}

impl FrameHeader {
    fn read(data: &[u8], is_progressive: bool) -> Result<Self> {
        let side = |at| -> Result<u32> { Ok(u16::from_be_bytes(array(data, at)?).into()) };
        let [precision, count] = [0, 5].map(|at| data.get(at).copied().unwrap_or(0));
        if precision != 8 {
            return Err(unusable(format!("it has {precision} bits a sample; 8 are read")));
        }
        let factors = |component: &[u8; 3]| [component[1] >> 4, component[1] & 15].map(u64::from);
        let components = data.get(6..).unwrap_or_default().as_chunks().0;
        let known = matches!(count, 1 | 3 | 4) && components.len() == usize::from(count);
        let sampling: Vec<_> = components.iter().take(4).map(factors).collect();
        if !known || sampling.as_flattened().contains(&0) {
            return Err(unusable("its frame header describes no known kind of colours"));
        }
        let components = components.iter().map(|component| component[0]).collect();
        Ok(Self { width: side(3)?, height: side(1)?, is_progressive, sampling, components })
    }

    /// Whether there are several scans, given the number of components of the first one.
    fn is_in_parts(&self, scan_components: usize) -> bool {
        self.is_progressive || scan_components != self.sampling.len()
    }

    /// The largest horizontal and vertical sampling factors.
    fn most(&self) -> [u64; 2] {
        [0, 1].map(|k| self.sampling.iter().map(|factors| factors[k]).max().unwrap_or(1))
    }

    /// MCUs across and down.
    fn units(&self) -> [u64; 2] {
        let [across, down] = self.most();
        [u64::from(self.width).div_ceil(8 * across), u64::from(self.height).div_ceil(8 * down)]
    }

    /// The number of blocks of the component that has the most.
    fn blocks(&self) -> u64 {
        self.units().iter().chain(&self.most()).product()
    }

    /// The bytes that the decoder takes, including its output, given the number of components of the first scan.
    fn decoder_bytes(&self, scan_components: usize) -> u64 {
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        let ([across, down], units) = (self.most(), self.units());
        let blocks = units[0] * units[1] * self.sampling.iter().map(|[h, v]| h * v).sum::<u64>();
        // Unless all components come in one scan, the coefficients of all blocks are kept, two bytes each.
        let coefficients = if self.is_in_parts(scan_components) { 128 * blocks } else { 0 };
        // A row of blocks before and after upsampling, and the rows above and below.
        let padded = 8 * units[0] * across;
        let scale = across * down;
        let rows = |&[_, v]: &[u64; 2]| padded * (36 * v + 2 * v * scale + 32 * scale);
        let rows: u64 = self.sampling.iter().map(rows).sum();
        3 * width * height + coefficients + rows + OVERHEAD
    }
}

/// The pieces of a colour profile. Each is in a segment APP2, with its number and the number of pieces.
#[derive(Default)]
struct ProfilePieces(Vec<(u8, u8, Range<usize>)>);

impl ProfilePieces {
    /// Adds the piece in a segment whose data end at `end`, if it is one.
    fn add(&mut self, data: &[u8], end: usize) {
        if let Some([number, count, piece @ ..]) = data.strip_prefix(b"ICC_PROFILE\0") {
            self.0.push((*number, *count, end - piece.len()..end));
        }
    }

    /// The profile, if every piece is there exactly once.
    fn whole(mut self) -> Option<Profile> {
        self.0.sort_by_key(|(number, ..)| *number);
        let is_whole = self.0.iter().zip(1..).all(|((number, count, _), expected)| {
            *number == expected && usize::from(*count) == self.0.len()
        });
        (is_whole && !self.0.is_empty())
            .then(|| Profile::Pieces(self.0.into_iter().map(|(.., piece)| piece).collect()))
    }
}
