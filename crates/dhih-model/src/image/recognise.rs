//! Recognises the format of a picture by its first bytes and reads its header. This reads a bounded number of bytes, allocates next to nothing
//! and inflates nothing, so that pictures can be refused before any work is done.

use image::ImageFormat;

use super::header::Header;
use super::parse::unusable;
use super::{common, jpeg, png, tiff, webp};
use crate::error::{Error, Result};

impl Header {
    /// Reads the header of a JPEG, PNG, WebP, GIF, BMP or TIFF.
    ///
    /// # Errors
    /// [`Error::NotAnImage`] where the bytes begin with none of these formats; formats that are recognised but not read are named, with a
    /// command that converts them. [`Error::UnusableImage`] where the header is damaged, incomplete or contradictory.
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
}

/// A picture format that is recognised but not read.
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
        // A box `ftyp` has a major brand, a version, and compatible brands.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Phones and browsers write these formats, so that the message names a program that converts them.
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
