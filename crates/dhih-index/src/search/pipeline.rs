//! The pipeline of buckets: while some buckets are compared, the directory entries and the codes of the next ones are prefetched.
//! Choosing the buckets and comparing them: `buckets.rs`.

use crate::hamming::{self, CodeRange};
use crate::table::Table;

/// Values whose directory entries are prefetched together.
const VALUES_PER_BATCH: usize = 64;
/// Buckets whose codes are prefetched ahead of the one that is compared.
pub(crate) const BUCKETS_AHEAD: usize = 24;
/// Cache lines of a bucket that are prefetched one by one; the hardware prefetches those after them by itself.
const LINES_PER_BUCKET: usize = 24;

/// The buckets that are being prefetched. Its memory is kept from one search to the next.
#[derive(Debug, Default)]
pub(crate) struct BucketPipeline {
    /// Values whose directory entries were prefetched.
    values: Vec<u32>,
    /// Buckets that are not empty, in the order of their values.
    pub(crate) buckets: Vec<CodeRange>,
    /// The number of buckets, counted from the first, whose codes were prefetched.
    prefetched: usize,
}

impl BucketPipeline {
    /// Empties the pipeline.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.buckets.clear();
        self.prefetched = 0;
    }

    /// How many values wait for their buckets to be looked up.
    pub(crate) fn waiting(&self) -> usize {
        self.values.len()
    }

    /// Drops the first `done` buckets, looks up the buckets of the waiting values, and prefetches the directory entries of the next
    /// values. `None` if a bucket leaves the table.
    pub(crate) fn advance(
        &mut self,
        table: &Table,
        done: usize,
        next: impl Iterator<Item = u32>,
    ) -> Option<()> {
        self.buckets.drain(..done);
        self.prefetched -= done;
        for value in self.values.drain(..) {
            let bucket = table.bucket(value)?;
            if bucket.start < bucket.end {
                self.buckets.push(bucket);
            }
        }
        self.values.extend(next.take(VALUES_PER_BATCH));
        for &value in &self.values {
            hamming::prefetch(table.directory, value as usize);
        }
        Some(())
    }

    /// Prefetches the codes, of `width` bytes, of the buckets before number `until`.
    pub(crate) fn prefetch_codes(&mut self, table: &Table, until: usize, width: usize) {
        let until = until.min(self.buckets.len());
        for bucket in self.buckets.get(self.prefetched..until).unwrap_or_default() {
            let bytes = bucket.start as usize * width..bucket.end as usize * width;
            let last = bytes.end - 1;
            for at in bytes.step_by(64).take(LINES_PER_BUCKET) {
                hamming::prefetch(table.codes, at);
            }
            hamming::prefetch(table.codes, last);
        }
        self.prefetched = self.prefetched.max(until);
    }
}
