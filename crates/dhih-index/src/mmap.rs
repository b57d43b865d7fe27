//! Mapping a file into memory to read it. What its bytes mean: `format.rs`.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Maps a whole file. An index's data files are written once under another name and never changed
/// after, which is what makes this sound; a program that overwrites or cuts one while it is open
/// breaks that promise. So does one that does it to a codes file of [`CodeSet::map`](crate::CodeSet::map).
pub(crate) fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    // SAFETY: data files are immutable once they have their name, codes files by the word of the caller (see above), and the
    // map is only read.
    unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))
}
