//! The pipeline of buckets: while some buckets are compared, the directory entries and the codes of the next ones are prefetched.
//! Choosing the buckets and comparing them: `buckets.rs`.

use std::ops::Range;

use crate::hamming::{self, CodeRange};
use crate::store::mmap;
use crate::table::Table;

/// Values whose directory entries are prefetched together.
const VALUES_PER_BATCH: usize = 64;
/// Buckets whose codes are prefetched ahead of the one that is compared.
const BUCKETS_AHEAD: usize = 24;
/// The same number for tables without copies of the codes. There, the postings of a bucket are prefetched. The codes that they name are
/// prefetched just before they are compared, those of many buckets together.
const POSTINGS_AHEAD: usize = 96;
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
            table.prefetch(value);
        }
        Some(())
    }

    /// How many buckets are prefetched ahead of the one that is compared.
    pub(crate) fn ahead(table: &Table) -> usize {
        if table.codes.is_empty() { POSTINGS_AHEAD } else { BUCKETS_AHEAD }
    }

    /// Prefetches what is read first of the buckets before number `until`: the codes, of `width` bytes, or else the postings.
    pub(crate) fn prefetch(&mut self, table: &Table, until: usize, width: usize) {
        let until = until.min(self.buckets.len());
        for bucket in self.buckets.get(self.prefetched..until).unwrap_or_default() {
            match (table.codes.is_empty(), table.on_disk) {
                (true, false) => prefetch_lines(table.postings, bucket, 1),
                (false, false) => prefetch_lines(table.codes, bucket, width),
                (true, true) => mmap::request(table.postings, items(bucket, 1)),
                (false, true) => mmap::request(table.codes, items(bucket, width)),
            }
        }
        self.prefetched = self.prefetched.max(until);
    }
}

/// The items of a bucket whose codes have `each` items.
fn items(bucket: &CodeRange, each: usize) -> Range<usize> {
    bucket.start as usize * each..bucket.end as usize * each
}

/// Prefetches the cache lines of a bucket whose codes have `each` items of a slice.
fn prefetch_lines<T>(slice: &[T], bucket: &CodeRange, each: usize) {
    let items = items(bucket, each);
    let last = items.end - 1;
    for at in items.step_by(64 / size_of::<T>()).take(LINES_PER_BUCKET) {
        hamming::prefetch(slice, at);
    }
    hamming::prefetch(slice, last);
}
