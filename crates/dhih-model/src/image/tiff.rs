//! TIFF: its first directory, which describes the picture. `common` decodes the pixels. Further pages are ignored.

use std::ops::Range;

use image::metadata::Orientation;

use super::header::{Format, Header};
use super::parse::{OVERHEAD, array, cut_off, unusable};
use super::profile::Profile;
use crate::error::Result;

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const BITS: u16 = 258;
const COMPRESSION: u16 = 259;
const ORIENTATION: u16 = 274;
const SAMPLES: u16 = 277;
const PROFILE: u16 = 34675;

/// The bytes of an entry of the directory: tag, type, count, and the value or its position.
const ENTRY: usize = 12;
/// The compressions that are JPEG; for these the decoder keeps coefficients.
const JPEG: [u32; 2] = [6, 7];

/// Reads the first directory.
pub(super) fn header(bytes: &[u8]) -> Result<Header> {
    let directory = Directory::find(bytes)?;
    let [width, height] = [WIDTH, HEIGHT].map(|tag| directory.number(tag));
    let (Some(width), Some(height)) = (width?, height?) else {
        return Err(unusable("its first directory says no size"));
    };
    let samples = u64::from(directory.number(SAMPLES)?.unwrap_or(1));
    let bits = u64::from(directory.number(BITS)?.unwrap_or(1));
    let orientation = directory.number(ORIENTATION)?.and_then(|n| u8::try_from(n).ok());
    let orientation = orientation.and_then(Orientation::from_exif);
    let is_jpeg = directory.number(COMPRESSION)?.is_some_and(|kind| JPEG.contains(&kind));

    let pixels = u64::from(width).saturating_mul(height.into());
    // Samples are widened to 8, 16 or 32 bits, and CMYK becomes RGB.
    let stored = pixels.saturating_mul(samples.max(3) * bits.div_ceil(8).next_power_of_two());
    // The samples twice, in the decoder and in its output, and a strip or tile, which may be the whole picture; later the samples and RGB. A
    // JPEG also has its coefficients.
    let decoder = stored.saturating_mul(if is_jpeg { 6 } else { 3 });
    // The decoder keeps the positions of strips and tiles in 32 bytes each; in the file they take at least 2 bytes each.
    let lists = 32 * (bytes.len() as u64).min(1 << 20);
    Ok(Header {
        format: Format::Tiff,
        width,
        height,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        profile: directory.bytes(PROFILE).map(|range| Profile::Pieces(vec![range])),
        decoder_bytes: decoder.saturating_add(lists + OVERHEAD),
    })
}

/// A directory of tags.
struct Directory<'a> {
    bytes: &'a [u8],
    is_little_endian: bool,
    /// The position of its entries.
    entries: Range<usize>,
}

impl<'a> Directory<'a> {
    fn find(bytes: &'a [u8]) -> Result<Self> {
        let is_little_endian = bytes.starts_with(b"II");
        let mut directory = Self { bytes, is_little_endian, entries: 0..0 };
        if directory.short(2)? != 42 {
            return Err(unusable("it is a BigTIFF; write it as a classic TIFF, of up to 4 GB"));
        }
        let start = directory.long(4)? as usize;
        let count = usize::from(directory.short(start)?);
        directory.entries = start + 2..start + 2 + count * ENTRY;
        match bytes.get(directory.entries.clone()) {
            Some(_) => Ok(directory),
            None => Err(cut_off()),
        }
    }

    fn short(&self, at: usize) -> Result<u16> {
        let bytes = array(self.bytes, at)?;
        Ok(if self.is_little_endian {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    }

    fn long(&self, at: usize) -> Result<u32> {
        let bytes = array(self.bytes, at)?;
        Ok(if self.is_little_endian {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    }

    /// The position of the entry of a tag.
    fn entry(&self, tag: u16) -> Option<usize> {
        let mut entries = self.entries.clone().step_by(ENTRY);
        entries.find(|at| self.short(*at).is_ok_and(|found| found == tag))
    }

    /// The first number of a tag, of one, two or four bytes; `None` where the tag is absent.
    fn number(&self, tag: u16) -> Result<Option<u32>> {
        let Some(entry) = self.entry(tag) else { return Ok(None) };
        let (kind, count) = (self.short(entry + 2)?, self.long(entry + 4)?);
        let size = match kind {
            1 => 1u64,
            3 => 2,
            4 => 4,
            _ => return Err(unusable(format!("its tag {tag} is no whole number"))),
        };
        // Values of more than four bytes are stored elsewhere.
        let at =
            if u64::from(count) * size <= 4 { entry + 8 } else { self.long(entry + 8)? as usize };
        Ok(Some(match size {
            1 => u32::from(array::<1>(self.bytes, at)?[0]),
            2 => self.short(at)?.into(),
            _ => self.long(at)?,
        }))
    }

    /// The position of the bytes of a tag.
    fn bytes(&self, tag: u16) -> Option<Range<usize>> {
        let entry = self.entry(tag)?;
        let (length, start) = (self.long(entry + 4).ok()?, self.long(entry + 8).ok()?);
        let (length, start) = (length as usize, start as usize);
        Some(start..start.checked_add(length)?).filter(|range| range.end <= self.bytes.len())
    }
}
