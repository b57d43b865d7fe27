//! JPEG: the segments before its first scan, and decoding. The decoder gets only the segments that its pixels depend on. Colour profiles, EXIF,
//! XMP and comments are left out, so that the frame header alone determines its memory.
//!
//! The decoder invents pixels where data are missing. A picture is accepted only if its pixels come from its own data: see [`decode`] and
//! `scans`.

mod baseline;
mod bits;
mod coefficients;
mod huffman;
pub(super) mod layout;
mod progressive;
mod rows;
mod samples;
mod scaled;
mod scans;
mod segments;
mod tables;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hasher};

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use self::baseline::{Baseline, Ending};
use self::bits::Entropy;
use self::coefficients::Plane;
use self::layout::Layout;
use self::progressive::Progressive;
pub(super) use self::rows::Scaled;
use self::scans::Scans;
pub(super) use self::segments::header;
use super::header::Header;
use super::parse::{CUT_OFF, unusable};
use super::rgb::spread_grey;
use crate::error::Result;

/// Decodes the picture at `1 / scale` of its sides, where `scale` is 2, 4 or 8. `None` where [`scaled`] does not read this kind of picture, or
/// where data are missing that it needs. At an eighth it needs the scans of DC coefficients and, where chroma is subsampled, all scans of
/// chroma; the other scans need only be there.
pub(super) fn read_scaled(bytes: &[u8], layout: &Layout, scale: usize) -> Option<Scaled> {
    let scans = Scans::read(bytes, layout);
    let is_whole = scans.has_all_coefficients && (scans.has_end || !layout.is_in_parts);
    is_whole.then(|| scaled::read(&bytes[..scans.end], layout, scale))?
}

/// How the data of all scans end; `None` where their tables or their structure are not understood. `bytes` end with the last scan.
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

/// Decodes the picture to `height * width * 3` bytes.
///
/// The decoder invents pixels where data are missing. Therefore the codes of all scans are first read without being decoded, to see whether they
/// are complete. That is inconclusive where they are damaged. A picture with its last marker is then decoded strictly. Where that fails, or the
/// marker is missing, it is decoded twice, with different bytes appended to its data. If the pixels differ, then some were not in the file, and
/// the picture is refused. Damage without missing data is tolerated, as by other decoders.
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
/// The number of bytes that are appended to the data, to see whether pixels depend on them.
const PAD: usize = 4096;

#[derive(PartialEq, Eq)]
enum Strictness {
    Strict,
    Lenient,
}

/// Decodes a file of the necessary segments into `pixels`, `height * width * 3` bytes.
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
