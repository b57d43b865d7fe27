//! Memory from the operating system: files that are mapped for reading, copies of them, and large buffers. Copies and buffers lie on
//! large pages where the system has them. What the bytes mean is `format.rs`'s.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
#[cfg(unix)]
use std::sync::OnceLock;

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

/// A mapped file whose pages can be given back to the system one range at a time.
#[derive(Debug)]
pub(crate) struct FileMap(Mmap);

impl FileMap {
    /// Maps a whole file that is open, as [`map`] does; `path` is for the message.
    pub(crate) fn of(file: &File, path: &Path) -> Result<Self> {
        map_file(file, path).map(Self)
    }

    /// Gives the pages of a range back to the system. A page of a mapped file counts as memory of this process from its first access
    /// on; a pass over a file that is larger than memory releases what it has behind it. The bytes stay readable: the next access
    /// takes them from the page cache or the disk.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if !range.is_empty() && range.end <= self.0.len() {
            // SAFETY: the map is of a file and read-only, so its pages hold nothing but the file's bytes, which the system reads
            // again. Advice that is not taken changes nothing.
            let _ = unsafe {
                self.0.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    range.start,
                    range.len(),
                )
            };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Asks the system to read the pages of some items of a mapped slice, without waiting for them. So the disk reads the pages that are asked
/// for one after the other at the same time. Items that the slice does not have are left out.
pub(crate) fn request<T>(slice: &[T], items: Range<usize>) {
    #[cfg(unix)]
    if let Some(items) = slice.get(items.start..items.end.min(slice.len()))
        && !items.is_empty()
    {
        let range = items.as_ptr_range();
        let first = range.start.addr() & !(page_bytes() - 1);
        let bytes = range.end.addr() - first;
        // SAFETY: the pages are those of items of a slice. The advice changes no bytes; if it is not taken, the items are read later.
        unsafe {
            libc::madvise(std::ptr::without_provenance_mut(first), bytes, libc::MADV_WILLNEED);
        }
    }
    #[cfg(not(unix))]
    let _ = (slice, items);
}

/// The size of a page, a power of two.
#[cfg(unix)]
fn page_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        // SAFETY: the function only answers a question.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
    })
}

/// A copy of a mapped file that no longer needs the file.
pub(crate) fn copy(map: &Mmap, path: &Path) -> Result<Mmap> {
    // `mmap` refuses a length of zero.
    let mut copy = MmapMut::map_anon(map.len().max(1)).map_err(Error::io("copy", path))?;
    on_large_pages(&copy);
    copy[..map.len()].copy_from_slice(map);
    copy.make_read_only().map_err(Error::io("copy", path))
}

/// A vector of `count` zeros. The system provides its memory page by page, when a page is first written to.
pub(crate) fn zeros<T: Zeroable + Clone>(count: usize) -> Vec<T> {
    let zeros = vec![T::zeroed(); count];
    // SAFETY: the range is that of the vector's elements, and none of its bytes is read.
    let bytes =
        unsafe { std::slice::from_raw_parts(zeros.as_ptr().cast::<u8>(), size_of_val(&zeros[..])) };
    on_large_pages(bytes);
    zeros
}

/// Buffers of at least this many bytes ask for large pages.
const LARGE: usize = 8 << 20;

/// Asks for large pages for memory that has no pages yet: there are fewer page faults, and fewer misses of the address translation.
/// The system is free to ignore the request.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requested_items_are_those_of_the_file_and_others_are_left_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(i) >> 5) as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let map = map_file(file.as_file(), file.path()).unwrap();
        for range in [0..0, 0..1, 4095..4097, 299_999..300_000, 299_999..300_001, 400_000..400_001]
        {
            request(&map[..], range);
        }
        request::<u8>(&[], 0..1);
        #[expect(clippy::reversed_empty_ranges, reason = "a damaged file may have one")]
        request(&map[..], 9..3);
        assert!(map[..] == bytes[..]);
    }

    #[test]
    fn released_pages_are_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(i) >> 3) as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let map = FileMap::of(file.as_file(), file.path()).unwrap();
        assert!(*map == bytes[..]);
        for range in [0..0, 0..1, 5000..9000, 99_999..100_000, 0..100_000, 0..200_000] {
            map.release(range);
            assert!(*map == bytes[..]);
        }
    }
}
