//! What the readers of all formats share: bounds-checked reads, messages about damage, and limits.

use image::metadata::Orientation;

use crate::error::{Error, Result};

/// The most segments or chunks that are read before the pixels. Real pictures have a few; a colour profile in a JPEG has up to 255.
pub(super) const MAX_CHUNKS: usize = 1024;
/// The memory of a decoder that does not depend on the picture: tables, windows, small buffers.
pub(super) const OVERHEAD: u64 = 512 << 10;

/// The message about a picture whose pixels are incomplete.
pub(super) const CUT_OFF: &str = "it is cut off: a part of its pixels is missing";

/// The orientation in EXIF data. In a PNG or WebP, some programs put the six bytes before EXIF that belong into a JPEG.
pub(super) fn orientation(exif: Option<&[u8]>) -> Orientation {
    let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

pub(super) fn unusable(reason: impl ToString) -> Error {
    Error::UnusableImage { reason: reason.to_string() }
}

/// The bytes end within the header.
pub(super) fn cut_off() -> Error {
    unusable("it is cut off within its header")
}

/// The `N` bytes at `at`.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let part = bytes.get(at..).and_then(|rest| rest.first_chunk());
    part.copied().ok_or_else(cut_off)
}
