//! What a picture may cost to decode: its sides, its area and the memory that decoding takes. All of it is compared with the header, before
//! any pixel is read. How many pictures are decoded at the same time is in `budget`.

use super::header::Header;
use super::parse::unusable;
use crate::error::Result;

/// What a picture may cost to decode; checked before its pixels are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest side, in pixels.
    pub max_side: u32,
    /// The largest area, in pixels.
    pub max_pixels: u64,
    /// Memory that decoding may take, in bytes, the decoded picture included: see [`Header::decoding_bytes`].
    pub max_bytes: u64,
    /// How the user raises the first two limits, for the message of a refusal; empty where nobody can.
    pub cure: &'static str,
}

impl Default for Limits {
    /// Limits for pictures that strangers send: 8,192 pixels a side, 40 megapixels, 448 MiB. A progressive JPEG of 40 megapixels fits.
    fn default() -> Self {
        Self { max_side: 8192, max_pixels: 40_000_000, max_bytes: 448 << 20, cure: "" }
    }
}

impl Limits {
    /// The longest side of a user's own pictures where `--max-side` does not say otherwise, in pixels: the format JPEG has no longer one.
    pub const FILE_SIDE: u32 = 65_535;
    /// The largest area of a user's own pictures where `--max-pixels` does not say otherwise: a phone of 200 megapixels has room.
    pub const FILE_PIXELS: u64 = 250_000_000;

    /// Limits for a user's own files, which the user may raise. The memory of a picture is bounded by its pixels: at most 16 bytes each.
    pub fn of_files(max_side: u32, max_pixels: u64) -> Self {
        let cure = "; raise --max-side or --max-pixels to take it";
        Self { max_side, max_pixels, max_bytes: max_pixels.saturating_mul(16).max(256 << 20), cure }
    }

    /// The longest file that a picture within the limits can have, in bytes: stored without compression, with 16 bits in each of four
    /// channels. Files of up to 256 MiB are read in any case, because a small picture may carry much else.
    pub fn max_file_bytes(&self) -> u64 {
        self.max_pixels.saturating_mul(8).max(256 << 20)
    }

    /// Compares the limits with what a header says.
    ///
    /// # Errors
    /// [`Error::UnusableImage`](crate::Error::UnusableImage) names what the picture has, what is allowed, and the flags that allow more.
    pub fn check(&self, header: &Header) -> Result<()> {
        let (width, height) = (header.width(), header.height());
        if width.max(height) > self.max_side || header.pixels() > self.max_pixels {
            return Err(unusable(format!(
                "it is {width} x {height} pixels; at most {} a side and {} in all are taken{}",
                self.max_side, self.max_pixels, self.cure
            )));
        }
        let (bytes, most) = (header.decoding_bytes(), self.max_bytes);
        if bytes > most {
            let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
            return Err(unusable(format!(
                "decoding its {width} x {height} pixels takes {} MiB of memory; at most {} MiB are allowed",
                mebibytes(bytes),
                mebibytes(most)
            )));
        }
        Ok(())
    }
}

impl Limits {
    /// Limits for a user's own files, as they are without flags.
    pub fn files() -> Self {
        Self::of_files(Self::FILE_SIDE, Self::FILE_PIXELS)
    }
}
