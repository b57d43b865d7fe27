//! A parsed write-ahead log of any version: its changes, and its torn end.

use super::{Change, Cursor, words};
use crate::codes::bits;
use crate::codes::items::Items;
use crate::codes::shape::Shape;

/// A log as it was read.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) changes: Vec<Change>,
    /// Bytes of header and sound records.
    pub(crate) len: usize,
    /// Where the next record is appended; `None` in a log of version 1, which is no longer written to.
    pub(crate) cursor: Option<Cursor>,
    /// The bytes that an interrupted write left behind the sound records.
    pub(crate) torn: Option<Torn>,
}

/// The end of a log that a loss of power has torn. It was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Torn {
    /// Where it begins in the file.
    pub(crate) at: usize,
    /// Its length in bytes.
    pub(crate) bytes: usize,
}

/// Parses items whose parts have the right lengths; `None` if their contents are wrong.
pub(super) fn items(ids: &[u8], codes: &[u8], attributes: &[u8], shape: Shape) -> Option<Items> {
    let ids: Vec<u64> = words(ids).collect();
    let sound = ids.is_sorted_by(|a, b| a < b)
        && codes.chunks_exact(shape.width()).all(|code| bits::padding_is_zero(shape.bits, code))
        && attributes.chunks_exact(shape.attribute_width().max(1)).all(|item| {
            let (labels, vector) = item.split_at(shape.label_width());
            (!shape.multi_hot || labels.iter().all(|&label| label <= 1))
                && shape.vectors.is_none_or(|form| form.is_sound(vector))
        });
    sound.then(|| Items { ids, codes: codes.to_vec(), attributes: attributes.to_vec() })
}
