//! What the header of a picture says: its format, its size, how it is turned, and what memory decoding it takes. Reads a bounded
//! number of bytes, allocates next to nothing and inflates nothing, so that pictures can be refused before any work is done.

use image::ImageFormat;
use image::metadata::Orientation;

use super::profile::{self, Profile};
use super::{common, jpeg, png, tiff, webp};
use crate::error::{Error, Result};

/// So many segments or chunks are looked at before the pixels. Those of real pictures are a few; a colour profile in a JPEG has up to 255.
pub(super) const MAX_CHUNKS: usize = 1024;
/// Memory of a decoder that does not depend on the picture: tables, windows, small buffers.
pub(super) const OVERHEAD: u64 = 512 << 10;

/// The message about a picture whose header is there and whose pixels are not.
pub(super) const CUT_OFF: &str = "it is cut off: a part of its pixels is missing";

/// The header of a picture.
#[derive(Debug, Clone)]
pub struct Header {
    pub(super) format: Format,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) orientation: Orientation,
    /// Where its colour profile is.
    pub(super) profile: Option<Profile>,
    /// Bytes while the decoder is at work.
    pub(super) decoder_bytes: u64,
}

/// A format, with what decoding needs to know of the header.
#[derive(Debug, Clone)]
pub(super) enum Format {
    Png,
    Jpeg(jpeg::Layout),
    WebP,
    Gif,
    Bmp,
    Tiff,
}

impl Header {
    /// Reads the header of a JPEG, PNG, WebP, GIF, BMP or TIFF.
    ///
    /// # Errors
    /// [`Error::NotAnImage`] where no such picture begins; formats that are known but not read are named, with a command that converts
    /// them. [`Error::UnusableImage`] where the header is damaged, ends early or contradicts itself.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let not_an_image = |reason: String| Err(Error::NotAnImage { reason });
        if let Some(foreign) = Foreign::recognise(bytes) {
            return not_an_image(foreign.message().to_owned());
        }
        let header = match image::guess_format(bytes) {
            Ok(ImageFormat::Png) => png::header(bytes)?,
            Ok(ImageFormat::Jpeg) => jpeg::header(bytes)?,
            Ok(ImageFormat::WebP) => webp::header(bytes)?,
            Ok(ImageFormat::Gif) => common::gif_header(bytes)?,
            Ok(ImageFormat::Bmp) => common::bmp_header(bytes)?,
            Ok(ImageFormat::Tiff) => tiff::header(bytes)?,
            Ok(other) => return not_an_image(format!("it is {other:?}")),
            Err(_) => return not_an_image(format!("{} bytes of no known kind", bytes.len())),
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
    /// | GIF | 9 | 9 |
    /// | BMP; with alpha | 3; 4 | 6 |
    /// | TIFF, a sample of 8 bits; of 16; of 32 | 9; 18; 36 | 9; 18; 36 |
    ///
    /// Beyond that, rows of the picture; but for PNG, a copy of the file; in a WebP, 16 MiB where it is lossy, and up to 64 MiB of tables for what
    /// is lossless; with a colour profile, 6 MiB.
    pub fn decoding_bytes(&self) -> u64 {
        let turned = if self.is_turned() { 6 * self.pixels() } else { 0 };
        let profile = if self.profile.is_some() { profile::MEMORY } else { 0 };
        self.decoder_bytes.saturating_add(profile).max(turned)
    }

    /// Converts pixels of the picture, in rows of `width`, to sRGB, where it has a colour profile.
    pub(super) fn convert_colours(&self, bytes: &[u8], width: usize, pixels: &mut [u8]) {
        if let Some(profile) = &self.profile {
            profile::to_srgb(profile, bytes, width, pixels);
        }
    }

    /// Whether columns become rows.
    pub(super) fn is_turned(&self) -> bool {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        matches!(self.orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
    }
}

/// A format of pictures that is recognised and not read.
#[derive(Debug, Clone, Copy)]
enum Foreign {
    Avif,
    Heic,
    JpegXl,
}

impl Foreign {
    fn recognise(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"\xff\x0a") || bytes.starts_with(b"\0\0\0\x0cJXL ") {
            return Some(Self::JpegXl);
        }
        // A box `ftyp` with a major brand, a version, and compatible brands.
        let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
        let brands = bytes.get(4..length.min(bytes.len()))?.strip_prefix(b"ftyp")?;
        let brands = brands.as_chunks::<4>().0;
        let has = |wanted: &[&[u8; 4]]| brands.iter().any(|brand| wanted.contains(&brand));
        if has(&[b"avif", b"avis"]) {
            return Some(Self::Avif);
        }
        has(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"])
            .then_some(Self::Heic)
    }

    fn message(self) -> &'static str {
        match self {
            Self::Avif => "it is AVIF, which is not read; convert it: avifdec IN.avif OUT.png",
            Self::Heic => "it is HEIC, which is not read; convert it: heif-convert IN.heic OUT.jpg",
            Self::JpegXl => "it is JPEG XL, which is not read; convert it: djxl IN.jxl OUT.png",
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What phones and browsers write is no fault of the user's: the message names a program that converts it.
    #[test]
    fn formats_that_are_not_read_are_named_with_a_command_that_converts_them() {
        for (bytes, parts) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], ["HEIC", "heif-convert IN.heic OUT.jpg"]),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix", ["HEIC", "heif-convert IN.heic OUT.jpg"]),
            (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", ["AVIF", "avifdec IN.avif OUT.png"]),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", ["AVIF", "avifdec IN.avif OUT.png"]),
            (b"\0\0\0\x0cJXL \r\n\x87\n", ["JPEG XL", "djxl IN.jxl OUT.png"]),
            (b"\xff\x0a\x00\x10", ["JPEG XL", "djxl IN.jxl OUT.png"]),
        ] {
            let error = Header::read(bytes).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
            assert!(error.contains(super::super::FORMATS), "{error}");
        }
    }
}
