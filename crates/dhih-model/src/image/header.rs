//! What the header of a picture says: its format, its size, its orientation, and the memory that decoding takes. Each format fills it in its own
//! file; `recognise.rs` chooses the format.

use image::metadata::Orientation;

use super::jpeg::layout::Layout;
use super::profile::{self, Profile};

/// The header of a picture.
#[derive(Debug, Clone)]
pub struct Header {
    pub(super) format: Format,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) orientation: Orientation,
    /// The position of its colour profile in the file.
    pub(super) profile: Option<Profile>,
    /// The most bytes that the decoder uses at a time.
    pub(super) decoder_bytes: u64,
}

/// A format, with what its decoder needs to know of the header.
#[derive(Debug, Clone)]
pub(super) enum Format {
    Png,
    Jpeg(Layout),
    WebP,
    Gif,
    Bmp,
    Tiff,
}

impl Header {
    /// Columns as stored, before EXIF orientation is applied.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows as stored, before EXIF orientation is applied.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The number of pixels.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// The most memory that [`decode`](super::decode) takes at a time, in bytes, including the decoded picture. It is an upper bound that is
    /// close for large pictures. In bytes for each pixel:
    ///
    /// | picture | decoder | with EXIF that turns it by a quarter |
    /// |---|---|---|
    /// | PNG of any colour type and depth | 3 | 6 |
    /// | JPEG, baseline in one scan | 3 | 6 |
    /// | JPEG, progressive or in several scans, 4:2:0 | 6 | 6 |
    /// | JPEG, progressive or in several scans, 4:4:4; CMYK | 9; 11 | 9; 11 |
    /// | WebP, lossy; with alpha | 4.5; 11.5 | 6; 11.5 |
    /// | WebP, lossless; with alpha | 8; 5 | 8; 6 |
    /// | WebP, animated | 13 | 13 |
    /// | GIF | 9 | 9 |
    /// | BMP; with alpha | 3; 4 | 6 |
    /// | TIFF, a sample of 8 bits; of 16; of 32 | 9; 18; 36 | 9; 18; 36 |
    ///
    /// In addition: some rows of the picture; a copy of the file, except for PNG; 16 MiB for a lossy WebP, and up to 64 MiB of tables for
    /// lossless data in a WebP; 6 MiB where there is a colour profile.
    pub fn decoding_bytes(&self) -> u64 {
        let turned = if self.is_turned() { 6 * self.pixels() } else { 0 };
        let profile = if self.profile.is_some() { profile::MEMORY } else { 0 };
        self.decoder_bytes.saturating_add(profile).max(turned)
    }

    /// Converts pixels of the picture, in rows of `width`, from its colour profile to sRGB. Without a profile they do not change.
    pub(super) fn convert_colours(&self, bytes: &[u8], width: usize, pixels: &mut [u8]) {
        if let Some(profile) = &self.profile {
            profile::to_srgb(profile, bytes, width, pixels);
        }
    }

    /// Whether EXIF orientation exchanges rows and columns.
    pub(super) fn is_turned(&self) -> bool {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        matches!(self.orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
    }
}
