//! How the memory of a build on disk is divided: how many items make a run, and how large the buffers of a merge are.

use crate::build::layout::SegmentSpec;
use crate::error::{Error, Result};

/// The memory of a build beside its runs and buffers: the program, its stacks, batches, and the buffers of files that are written.
const BESIDE: u64 = if cfg!(test) { 0 } else { 24 << 20 };
/// Directories that are in memory at the same time.
const DIRECTORIES: u64 = if cfg!(test) { 0 } else { 3 };
/// The least memory that is divided between runs and buffers.
const LEAST: u64 = if cfg!(test) { 1 << 9 } else { 32 << 20 };
/// The memory allocator takes more than is requested: about one more byte for each of this many.
const SLACK: u64 = 16;
/// The bounds of a read buffer: smaller ones make a disk seek too often, larger ones gain nothing.
const BUFFER: [usize; 2] = if cfg!(test) { [1 << 6, 1 << 9] } else { [1 << 12, 1 << 22] };

/// Memory that is divided between runs and buffers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    bytes: usize,
}

impl Budget {
    /// The memory of a build.
    ///
    /// # Errors
    /// Less than any build needs.
    pub(super) fn of(spec: &SegmentSpec) -> Result<Self> {
        let (_, longest) = spec.tables()?;
        let fixed = BESIDE + DIRECTORIES * (4 << longest);
        let least = fixed + LEAST + LEAST / (SLACK - 1);
        let memory = spec.memory.unwrap_or(u64::MAX);
        if memory < least {
            return Err(Error::Memory { memory, least });
        }
        let bytes = memory - memory / SLACK - fixed;
        Ok(Self { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) })
    }

    /// One of `parts` equal shares of the memory.
    pub(super) fn share(self, parts: usize) -> Self {
        Self { bytes: self.bytes / parts }
    }

    /// The memory without a share.
    pub(super) fn without(self, share: Self) -> Self {
        Self { bytes: self.bytes - share.bytes }
    }

    /// The number of items in a run, for `count` items in all of which each takes `bytes_of_item` bytes of memory while it is sorted. All
    /// runs but the last have this many items.
    pub(super) fn run(self, count: usize, bytes_of_item: usize) -> usize {
        let most = (self.bytes / bytes_of_item).max(1);
        let runs = count.div_ceil(most).max(1);
        count.div_ceil(runs).max(1)
    }

    /// The bytes of the buffer of each of `count` readers or writers. All buffers together take at most half of the memory, as far as the
    /// bounds of a buffer allow.
    pub(super) fn buffer(self, count: usize) -> usize {
        (self.bytes / 2 / count.max(1)).clamp(BUFFER[0], BUFFER[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_even_and_fit() {
        let budget = Budget { bytes: 1000 };
        for (count, bytes, run) in
            [(0, 10, 1), (100, 10, 100), (101, 10, 51), (7, 2000, 1), (301, 10, 76)]
        {
            assert_eq!(budget.run(count, bytes), run, "{count} {bytes}");
        }
        assert_eq!((budget.buffer(0), budget.buffer(3), budget.buffer(99)), (500, 166, 64));
        assert_eq!((budget.share(8).bytes, budget.without(budget.share(8)).bytes), (125, 875));
    }
}
