//! JPEG: the segments before its first scan, and decoding it without those that do not matter to its pixels. Colour profiles, EXIF, XMP and
//! comments never reach the decoder, so that all it keeps is known from the frame header.
//!
//! The decoder makes up the pixels of data that are not there. A picture is taken only where its pixels come from its own data: see
//! [`decode`], and `scans`.

mod baseline;
mod bits;
mod coefficients;
mod huffman;
mod progressive;
mod rows;
mod samples;
mod scaled;
mod scans;
mod tables;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use self::baseline::{Baseline, Ending};
use self::bits::Entropy;
use self::coefficients::Plane;
use self::progressive::Progressive;
pub(super) use self::scaled::Scaled;
use self::scans::Scans;
use super::header::{
    CUT_OFF, Format, Header, MAX_CHUNKS, OVERHEAD, array, cut_off, orientation, unusable,
};
use super::profile::Profile;
use super::rgb::spread_grey;
use crate::error::Result;

/// Bytes that belong to no segment before the first scan; some cameras leave a few.
const MAX_STRAY: usize = 64 << 10;
/// Bytes of a marker and of the length that follows it.
const MARKER: usize = 2;
const LENGTH: usize = 2;

/// Where in the file the decoder finds what it needs.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Tables, the frame header, the first scan's header; with their markers.
    segments: Vec<Range<usize>>,
    /// Where the data of the first scan begins.
    scan: usize,
    is_progressive: bool,
    /// Whether the data come in several scans.
    is_in_parts: bool,
    /// Blocks of the component that has the most.
    blocks: u64,
    /// The name of each component.
    components: Vec<u8>,
}

impl Layout {
    /// The most bytes that [`read_scaled`] takes beside its result: the data of a scan and, of a picture in several, the coefficients that are
    /// kept of each block, of two bytes, and a bit for each.
    pub(super) fn scaled_bytes(&self, file_bytes: u64, scale: u64) -> u64 {
        let kept = 2 * (8 / scale).pow(2) + 8;
        let coefficients = kept * self.blocks * self.components.len() as u64;
        file_bytes + OVERHEAD + if self.is_in_parts { coefficients } else { 0 }
    }

    fn is_grey(&self) -> bool {
        self.components.len() == 1
    }
}

/// A frame header (SOF).
struct Frame {
    width: u32,
    height: u32,
    is_progressive: bool,
    /// Horizontal and vertical sampling factor of each component.
    sampling: Vec<[u64; 2]>,
    /// The name of each component.
    components: Vec<u8>,
}

/// Reads the segments up to the first scan.
pub(super) fn header(bytes: &[u8]) -> Result<Header> {
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
            0xc0..=0xc2 => frame = Some(Frame::read(data, marker == 0xc2)?),
            // The last one counts.
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
            let Frame { is_progressive, components, .. } = frame;
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

/// Where the next marker is: 0xff and another byte, before which there may be stray bytes, and more of 0xff.
fn marker(bytes: &[u8], from: usize) -> Result<usize> {
    let end = bytes.len().min(from + MAX_STRAY);
    let pairs = bytes.get(from..end).unwrap_or_default().windows(2);
    let found = pairs.clone().position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff));
    found.map(|at| from + at).ok_or_else(cut_off)
}

impl Frame {
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

    /// Whether there are several scans, where the first has so many of the components.
    fn is_in_parts(&self, scan_components: usize) -> bool {
        self.is_progressive || scan_components != self.sampling.len()
    }

    /// Horizontal and vertical sampling factor of the component that has the most of them.
    fn most(&self) -> [u64; 2] {
        [0, 1].map(|k| self.sampling.iter().map(|factors| factors[k]).max().unwrap_or(1))
    }

    /// Units (MCU) across and down.
    fn units(&self) -> [u64; 2] {
        let [across, down] = self.most();
        [u64::from(self.width).div_ceil(8 * across), u64::from(self.height).div_ceil(8 * down)]
    }

    /// Blocks of the component that has the most.
    fn blocks(&self) -> u64 {
        self.units().iter().chain(&self.most()).product()
    }

    /// Bytes that the decoder takes, its output included, where the first scan has so many of the components.
    fn decoder_bytes(&self, scan_components: usize) -> u64 {
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        let ([across, down], units) = (self.most(), self.units());
        let blocks = units[0] * units[1] * self.sampling.iter().map(|[h, v]| h * v).sum::<u64>();
        // Unless all components come together the coefficients of all blocks are kept, of two bytes each.
        let coefficients = if self.is_in_parts(scan_components) { 128 * blocks } else { 0 };
        // A row of blocks before and after it is scaled up, and the rows above and below.
        let padded = 8 * units[0] * across;
        let scale = across * down;
        let rows = |&[_, v]: &[u64; 2]| padded * (36 * v + 2 * v * scale + 32 * scale);
        let rows: u64 = self.sampling.iter().map(rows).sum();
        3 * width * height + coefficients + rows + OVERHEAD
    }
}

/// The pieces of a colour profile, each in a segment APP2 with its number and how many there are.
#[derive(Default)]
struct ProfilePieces(Vec<(u8, u8, Range<usize>)>);

impl ProfilePieces {
    /// Adds the piece in a segment with these data, which end at `end`, where it is one.
    fn add(&mut self, data: &[u8], end: usize) {
        if let Some([number, count, piece @ ..]) = data.strip_prefix(b"ICC_PROFILE\0") {
            self.0.push((*number, *count, end - piece.len()..end));
        }
    }

    /// The profile, where every piece is there once.
    fn whole(mut self) -> Option<Profile> {
        self.0.sort_by_key(|(number, ..)| *number);
        let is_whole = self.0.iter().zip(1..).all(|((number, count, _), expected)| {
            *number == expected && usize::from(*count) == self.0.len()
        });
        (is_whole && !self.0.is_empty())
            .then(|| Profile::Pieces(self.0.into_iter().map(|(.., piece)| piece).collect()))
    }
}

/// The picture at `1 / scale` of its sides, where `scale` is 2, 4 or 8; `None` where it is of a kind that [`scaled`] does not read, or any of
/// the data that it is made of are missing. At an eighth these are the scans of means and, where chroma has fewer samples than luma, of
/// chroma; the others need only be there.
pub(super) fn read_scaled(bytes: &[u8], layout: &Layout, scale: usize) -> Option<Scaled> {
    let scans = Scans::read(bytes, layout);
    let is_whole = scans.has_all_coefficients && (scans.has_end || !layout.is_in_parts);
    is_whole.then(|| scaled::read(&bytes[..scans.end], layout, scale))?
}

/// How the data of all scans end; `None` where their tables or their structure are not understood. `bytes` end where the last scan does.
fn ending(bytes: &[u8], layout: &Layout) -> Option<Ending> {
    let tables::Start { frame, tables, scan } = tables::read(bytes, layout)?;
    if !layout.is_in_parts {
        let entropy = Entropy::unstuff(bytes.get(layout.scan..)?);
        return Some(Baseline::new(&frame, &tables, &scan)?.ending(&entropy));
    }
    let planes = (0..frame.components.len()).map(|k| Plane::new(&frame, k, None));
    let mut planes: Vec<_> = planes.collect();
    Some(Progressive { bytes, layout, frame: &frame, tables, first: scan }.decode(&mut planes))
}

/// `height * width * 3` bytes.
///
/// The decoder makes up the pixels of data that are not there, so these are looked for first: the codes of all scans are passed over. Where
/// they are damaged, that says nothing. A picture with its last marker is then decoded strictly. Where that fails, or the marker is missing,
/// it is decoded twice, with different bytes behind its data: pixels that depend on them were not in the file, and the picture is refused.
/// Damage that leaves no data missing is forgiven as other decoders do.
pub(super) fn decode(bytes: &[u8], header: &Header, layout: &Layout) -> Result<Vec<u8>> {
    let scans = Scans::read(bytes, layout);
    let ending = ending(&bytes[..scans.end], layout);
    if ending == Some(Ending::CutOff) || !scans.has_all_coefficients {
        return Err(unusable(CUT_OFF));
    }
    let mut file = Vec::with_capacity(bytes.len() + PAD);
    file.extend_from_slice(&bytes[..2]);
    layout.segments.iter().for_each(|segment| file.extend_from_slice(&bytes[segment.clone()]));
    file.extend_from_slice(&bytes[layout.scan..scans.end]);
    let length = file.len();
    file.extend_from_slice(&END_MARKER);
    let mut pixels = vec![0; 3 * header.width as usize * header.height as usize];
    if ending == Some(Ending::Whole) {
        decode_file(&file, header, layout, Strictness::Lenient, &mut pixels)?;
        return Ok(pixels);
    }
    if scans.has_end && decode_file(&file, header, layout, Strictness::Strict, &mut pixels).is_ok()
    {
        return Ok(pixels);
    }
    let mut digests = [0; 2];
    for (digest, pad) in digests.iter_mut().zip([0x55, 0]) {
        file.truncate(length);
        file.resize(length + PAD - END_MARKER.len(), pad);
        file.extend_from_slice(&END_MARKER);
        pixels.fill(0);
        decode_file(&file, header, layout, Strictness::Lenient, &mut pixels)?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&pixels);
        *digest = hasher.finish();
    }
    if digests[0] != digests[1] {
        return Err(unusable(CUT_OFF));
    }
    Ok(pixels)
}

const END_MARKER: [u8; 2] = [0xff, 0xd9];
/// Bytes that are put behind the data to see whether pixels depend on them.
const PAD: usize = 4096;

#[derive(PartialEq, Eq)]
enum Strictness {
    Strict,
    Lenient,
}

/// Decodes a file of the segments that matter into `pixels`, `height * width * 3` bytes.
fn decode_file(
    file: &[u8],
    header: &Header,
    layout: &Layout,
    strictness: Strictness,
    pixels: &mut [u8],
) -> Result<()> {
    let (width, height) = (header.width as usize, header.height as usize);
    let (input, output) = match layout.is_grey() {
        true => (1, ColorSpace::Luma),
        false => (3, ColorSpace::RGB),
    };
    let is_strict = strictness == Strictness::Strict;
    let options = DecoderOptions::default().set_strict_mode(is_strict);
    let options = options.jpeg_set_out_colorspace(output);
    let options = options.set_max_width(width).set_max_height(height);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(unusable)?;
    let is_grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    if decoder.dimensions() != Some((width, height)) || is_grey != layout.is_grey() {
        return Err(unusable("its headers contradict each other"));
    }
    decoder.decode_into(&mut pixels[..input * width * height]).map_err(unusable)?;
    if is_grey {
        spread_grey(pixels);
    }
    Ok(())
}
