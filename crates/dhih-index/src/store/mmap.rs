//! Memory from the system: files mapped to be read, copies of them, and large buffers, both on large pages where the system has
//! them. What the bytes mean: `format.rs`.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use bytemuck::Zeroable;
use memmap2::{Mmap, MmapMut};

use crate::error::{Error, Result};

/// Maps a whole file. An index's data files are written once under another name and never changed
/// after, which is what makes this sound; a program that overwrites or cuts one while it is open
/// breaks that promise. So does one that does it to a codes file of [`CodeSet::map`](crate::CodeSet::map).
pub(crate) fn map(path: &Path) -> Result<Mmap> {
    map_file(&File::open(path).map_err(Error::io("open", path))?, path)
}

/// As [`map`], a file that is open; `path` is for the message.
pub(crate) fn map_file(file: &File, path: &Path) -> Result<Mmap> {
    // SAFETY: data files are immutable once they have their name, codes files by the word of the caller (see above), and the
    // map is only read.
    unsafe { Mmap::map(file) }.map_err(Error::io("map", path))
}

/// A copy of a mapped file that needs the file no more.
pub(crate) fn copy(map: &Mmap, path: &Path) -> Result<Mmap> {
    // A map of no bytes is not to be had.
    let mut copy = MmapMut::map_anon(map.len().max(1)).map_err(Error::io("copy", path))?;
    on_large_pages(&copy);
    copy[..map.len()].copy_from_slice(map);
    copy.make_read_only().map_err(Error::io("copy", path))
}

/// So many zeros, whose memory the system gives as they are first written to.
pub(crate) fn zeros<T: Zeroable + Clone>(count: usize) -> Vec<T> {
    let zeros = vec![T::zeroed(); count];
    // SAFETY: these are the bytes of the vector, of which none is read.
    let bytes =
        unsafe { std::slice::from_raw_parts(zeros.as_ptr().cast::<u8>(), size_of_val(&zeros[..])) };
    on_large_pages(bytes);
    zeros
}

/// From so many bytes on large pages are asked for.
const LARGE: usize = 8 << 20;

/// Asks for large pages where memory has none yet: it is cleared in less time, and its places are found in fewer steps. Only a wish.
fn on_large_pages(bytes: &[u8]) {
    #[cfg(target_os = "linux")]
    if bytes.len() >= LARGE {
        const PAGE: usize = 2 << 20;
        let skipped = bytes.as_ptr().addr().next_multiple_of(PAGE) - bytes.as_ptr().addr();
        let whole = &bytes[skipped..];
        // SAFETY: the range lies within memory of ours, and the advice changes none of its bytes.
        unsafe {
            libc::madvise(whole.as_ptr().cast_mut().cast(), whole.len(), libc::MADV_HUGEPAGE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}
