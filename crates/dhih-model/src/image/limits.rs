//! Limits of a single picture: its sides, its area and the memory for decoding it. They are compared with the header, before any pixel is read.
//! `budget` limits how much is decoded at the same time.

use super::header::Header;
use super::parse::unusable;
use crate::error::Result;

/// Limits of a single picture, which are checked before its pixels are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest side, in pixels.
    pub max_side: u32,
    /// The largest area, in pixels.
    pub max_pixels: u64,
    /// The memory for decoding, in bytes, including the decoded picture: see [`Header::decoding_bytes`].
    pub max_bytes: u64,
    /// How the user can raise the first two limits, for the message of a refusal; empty where the user cannot.
    pub cure: &'static str,
}

impl Default for Limits {
    /// Limits for pictures from strangers: 8,192 pixels a side, 40 megapixels, 448 MiB. A progressive JPEG of 40 megapixels is within them.
    fn default() -> Self {
        Self { max_side: 8192, max_pixels: 40_000_000, max_bytes: 448 << 20, cure: "" }
    }
}

impl Limits {
    /// The default longest side of a user's own pictures, in pixels. JPEG has no longer one.
    pub const FILE_SIDE: u32 = 65_535;
    /// The default largest area of a user's own pictures, in pixels. The camera of a phone with 200 megapixels is within it.
    pub const FILE_PIXELS: u64 = 250_000_000;

    /// Limits for a user's own files, which the user may raise. The memory for a picture follows from its pixels: at most 16 bytes for each.
    pub fn of_files(max_side: u32, max_pixels: u64) -> Self {
        let cure = "; raise --max-side or --max-pixels to take it";
        Self { max_side, max_pixels, max_bytes: max_pixels.saturating_mul(16).max(256 << 20), cure }
    }

    /// The longest file that a picture within the limits can have, in bytes: uncompressed, with four channels of 16 bits. Files of up to 256 MiB
    /// are always read, because a small picture may have large metadata.
    pub fn max_file_bytes(&self) -> u64 {
        self.max_pixels.saturating_mul(8).max(256 << 20)
    }

    /// Checks the header of a picture against the limits.
    ///
    /// # Errors
    /// [`Error::UnusableImage`](crate::Error::UnusableImage) names the value, the limit, and the flags that raise it.
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
    /// The default limits for a user's own files.
    pub fn files() -> Self {
        Self::of_files(Self::FILE_SIDE, Self::FILE_PIXELS)
    }
}
