//! Which pages of a data file are in memory: all of them, or those that searches ask for.

use super::Segment;
use crate::codes::bits;
use crate::error::{Error, Result};
use crate::hamming;
use crate::store::format::Kind;
use crate::store::mmap;
use crate::table::Table;

impl Segment {
    /// Brings all pages into memory and maps them, as far as the system does so.
    pub(crate) fn populate(&self) {
        #[cfg(target_os = "linux")]
        let advice = memmap2::Advice::PopulateRead;
        #[cfg(all(unix, not(target_os = "linux")))]
        let advice = memmap2::Advice::WillNeed;
        // An older kernel does not know the first advice. With the second, searches load the pages.
        #[cfg(unix)]
        let _ = self.map.advise(advice).or_else(|_| self.map.advise(memmap2::Advice::WillNeed));
    }

    /// Prepares for a file that is larger than memory: pages are read as they are needed, and searches ask for many of them at a time. Codes
    /// are still read ahead, for scans.
    pub(crate) fn keep_on_disk(&mut self) {
        self.on_disk = true;
        #[cfg(unix)]
        for section in self.header.sections.iter().filter(|section| section.kind != Kind::Codes) {
            let range = section.range.clone();
            // Without the advice, more is read than is needed.
            let _ = self.map.advise_range(memmap2::Advice::Random, range.start, range.len());
        }
    }

    /// Keeps all pages in memory.
    pub(crate) fn lock(&self) -> Result<()> {
        #[cfg(unix)]
        self.map.lock().map_err(Error::io("lock in memory", &self.path))?;
        Ok(())
    }

    /// Prefetches an item of a section, or asks for its page if it is on the disk.
    #[inline(always)]
    pub(crate) fn prefetch<T>(&self, section: &[T], at: usize) {
        if self.on_disk {
            mmap::request(section, at..at + 1);
        }
        hamming::prefetch(section, at);
    }

    /// Prefetches a code, or asks for its pages if it is on the disk.
    #[inline]
    pub(crate) fn prefetch_code(&self, number: u32) {
        let width = bits::bytes_per_code(self.bits);
        let start = number as usize * width;
        if self.on_disk {
            mmap::request(self.codes(), start..start + width);
        }
        for at in (start..start + width).step_by(64) {
            hamming::prefetch(self.codes(), at);
        }
    }

    /// Asks for the pages of the posting lists of some codes if they are on the disk: first for where the lists start, then for the lists.
    pub(crate) fn request_rows(&self, codes: &[Vec<u32>]) {
        if !self.on_disk {
            return;
        }
        let codes = codes.iter().flatten().map(|&code| code as usize);
        let Some(starts) = self.starts() else {
            return codes.for_each(|code| mmap::request(self.row_order(), code..code + 1));
        };
        codes.clone().for_each(|code| mmap::request(starts, code..code + 2));
        for code in codes {
            if let Some(&[start, end]) = starts.get(code..).and_then(<[u32]>::first_chunk) {
                mmap::request(self.row_order(), start as usize..end as usize);
            }
        }
    }

    /// Asks for the pages of the ids of some rows if they are on the disk.
    pub(crate) fn request_ids(&self, rows: &[u32]) {
        if let Some(ids) = self.ids().filter(|_| self.on_disk) {
            rows.iter().for_each(|&row| mmap::request(ids, row as usize..row as usize + 1));
        }
    }

    /// The tables whose pages are asked for before they are read: all or none.
    pub(crate) fn tables_on_disk(&self) -> impl Iterator<Item = Table<'_>> {
        let tables = if self.on_disk { self.table_count() } else { 0 };
        (0..tables).map(|table| self.table(table))
    }
}
