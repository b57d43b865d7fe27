//! What the readers of all formats share: reads of bytes within bounds, the messages about damage, and the bounds themselves.

use image::metadata::Orientation;

use crate::error::{Error, Result};

/// So many segments or chunks are looked at before the pixels. Those of real pictures are a few; a colour profile in a JPEG has up to 255.
pub(super) const MAX_CHUNKS: usize = 1024;
/// Memory of a decoder that does not depend on the picture: tables, windows, small buffers.
pub(super) const OVERHEAD: u64 = 512 << 10;

/// The message about a picture whose header is there and whose pixels are not.
pub(super) const CUT_OFF: &str = "it is cut off: a part of its pixels is missing";

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
