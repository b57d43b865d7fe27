//! What the header of a picture says: its format, its size, how it is turned, and what memory decoding it takes. Reads a bounded
//! number of bytes, allocates next to nothing and inflates nothing, so that pictures can be refused before any work is done.

use image::ImageFormat;
use image::metadata::Orientation;

use super::{jpeg, png, webp};
use crate::error::{Error, Result};

/// So many segments or chunks are looked at before the pixels. Those of real pictures are a few; a colour profile in a JPEG has up to 255.
pub(super) const MAX_CHUNKS: usize = 1024;
/// Memory of a decoder that does not depend on the picture: tables, windows, small buffers.
pub(super) const OVERHEAD: u64 = 512 << 10;

/// The header of a picture.
#[derive(Debug, Clone)]
pub struct Header {
    pub(super) format: Format,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) orientation: Orientation,
    /// Bytes while the decoder is at work.
    pub(super) decoder_bytes: u64,
}

/// A format, with what decoding needs to know of the header.
#[derive(Debug, Clone)]
pub(super) enum Format {
    Png,
    Jpeg(jpeg::Layout),
    WebP,
}

impl Header {
    /// Reads the header of a JPEG, PNG or WebP.
    ///
    /// # Errors
    /// [`Error::NotAnImage`] where no such picture begins; [`Error::UnusableImage`] where the header is damaged, ends early or
    /// contradicts itself.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let not_an_image = |reason: String| Error::NotAnImage { reason };
        let header = match image::guess_format(bytes) {
            Ok(ImageFormat::Png) => png::header(bytes)?,
            Ok(ImageFormat::Jpeg) => jpeg::header(bytes)?,
            Ok(ImageFormat::WebP) => webp::header(bytes)?,
            Ok(other) => return Err(not_an_image(format!("it is {other:?}"))),
            Err(_) => return Err(not_an_image(format!("{} bytes of no known kind", bytes.len()))),
        };
        match header.pixels() {
            0 => Err(unusable("it has no pixels")),
            _ => Ok(header),
        }
    }

    /// Columns as they are stored, before the picture is turned as its EXIF says.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows as they are stored.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Number of pixels.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// The most memory that [`decode`](super::decode) takes at a time, in bytes, the decoded picture included. An upper bound, close for
    /// large pictures. In bytes a pixel:
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
    ///
    /// Beyond that, rows of the picture; but for PNG, a copy of the file; in a WebP, 16 MiB where it is lossy, and up to 64 MiB of tables for what
    /// is lossless.
    pub fn decoding_bytes(&self) -> u64 {
        let turned = if self.is_turned() { 6 * self.pixels() } else { 0 };
        self.decoder_bytes.max(turned)
    }

    /// Whether columns become rows.
    fn is_turned(&self) -> bool {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        matches!(self.orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
    }
}

/// How EXIF says that the picture is turned. In a PNG or WebP some programs begin it with the six bytes that belong into a JPEG.
pub(super) fn orientation(exif: Option<&[u8]>) -> Orientation {
    let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

pub(super) fn unusable(reason: impl ToString) -> Error {
    Error::UnusableImage { reason: reason.to_string() }
}

/// The bytes ended within the header.
pub(super) fn cut_off() -> Error {
    unusable("it is cut off within its header")
}

/// `N` bytes at `at`.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let part = bytes.get(at..).and_then(|rest| rest.first_chunk());
    part.copied().ok_or_else(cut_off)
}
