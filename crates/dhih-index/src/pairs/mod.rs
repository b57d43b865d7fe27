//! All pairs of items whose codes differ in at most some number of bits: an exact similarity join, of one set of items with itself or of
//! two sets. What is near one query is found by `search/`; `groups/` makes groups of pairs, `files.rs` writes both.
//!
//! ```text
//! items by id (source.rs) -> a block of left items ------------------------+
//!                         -> all right items, or as many as fit at a time  +-> join.rs -> pairs by (first, second)
//!                            -> plan.rs: which substrings -> tables.rs ----+   -> files.rs, groups/
//! ```
//!
//! A pair within radius `r` differs in at most `w` bits of one of the substrings, for weights `w` that add up to `r + 1` when each is
//! counted one higher (the general pigeonhole principle of Qin et al., "GPH: Similarity search in Hamming space", ICDE 2018). So all
//! items whose substrings are equal or nearly equal are compared by the kernels of `hamming/`, bucket by bucket. A pair that several
//! tables would find comes from the first of them alone, which is seen from the two codes, so that no pair needs to be remembered.
//!
//! If a set is joined with itself, and all its items and pairs fit into memory, the buckets are compared with one another, and the pairs are
//! sorted at the end (`tables/within.rs`). Otherwise left items are taken in the order of their ids, in blocks whose pairs fit into memory,
//! and the pairs of a block are sorted. So pairs come in order without a sort of all of them, and an item that is done leaves the tables,
//! which halves the comparisons of a set with itself.

pub(crate) mod files;
pub(crate) mod groups;
mod join;
mod plan;
mod source;
mod tables;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use serde::Serialize;

use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::pairs::join::Join;
use crate::pairs::source::Source;
use crate::progress::{Listener, Progress};

/// Two items whose codes are near each other. Pairs are ordered by the first id, then the second.
///
/// ```
/// use dhih_index::Pair;
///
/// let mut pairs = [Pair::new(2, 7, 0), Pair::new(1, 9, 3), Pair::new(1, 4, 5)];
/// pairs.sort();
/// assert_eq!(pairs.map(|pair| pair.second), [4, 9, 7]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub struct Pair {
    /// The id of the first item: the lesser one in pairs of one set, an id of the first set in pairs of two.
    pub first: u64,
    /// The id of the second item.
    pub second: u64,
    /// The Hamming distance of their codes.
    pub distance: u32,
}

impl Pair {
    /// The pair of two items at this distance.
    pub fn new(first: u64, second: u64, distance: u32) -> Self {
        Self { first, second, distance }
    }
}

/// Which pairs are wanted, and in how much memory they are found.
///
/// ```
/// use dhih_index::PairOptions;
///
/// let options = PairOptions::within(3).with_memory(256 << 20);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
pub struct PairOptions {
    pub(crate) radius: u32,
    pub(crate) memory: Option<u64>,
    pub(crate) listener: Option<Listener>,
}

impl PairOptions {
    /// Pairs of items that differ in at most `radius` bits.
    pub fn within(radius: u32) -> Self {
        Self { radius, ..Self::default() }
    }

    /// Sets the limit of memory in bytes, beside the items themselves. `None` removes the limit. Tables that do not fit are made for some
    /// of the items at a time, which takes longer. The pairs are the same. Less than 64 MiB is refused.
    #[must_use]
    pub fn with_memory(self, bytes: impl Into<Option<u64>>) -> Self {
        Self { memory: bytes.into(), ..self }
    }

    /// Calls `callback` as items are done. Where it breaks, the search for pairs ends with [`Error::Cancelled`].
    #[must_use]
    pub fn on_progress(
        self,
        callback: impl FnMut(Progress) -> ControlFlow<()> + Send + 'static,
    ) -> Self {
        Self { listener: Some(Listener::new(callback)), ..self }
    }
}

impl Index {
    /// Gives every pair of items within the radius to `sink`, once, in the order of (first, second), where `first < second`. They
    /// come in slices of many pairs, which the sink may write away; no slice is empty. Returns the number of pairs.
    ///
    /// The pairs are exact, and neither they nor their order depend on the number of threads or on the memory that is given.
    ///
    /// ```
    /// use dhih_index::{CodeSet, Codes, Error, Index, IndexBuilder, PairOptions};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("index");
    /// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b1111, 0b0000])?);
    /// IndexBuilder::default().build(&set, &dir)?;
    ///
    /// let mut pairs = Vec::new();
    /// let count = Index::open(&dir)?.pairs(&PairOptions::within(1), |found| {
    ///     pairs.extend(found.iter().map(|pair| (pair.first, pair.second, pair.distance)));
    ///     Ok::<(), Error>(())
    /// })?;
    /// assert_eq!((count, pairs), (3, vec![(0, 1, 1), (0, 3, 0), (1, 3, 1)]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A damaged file, too little memory, a callback that breaks, and what the sink returns.
    pub fn pairs<E: From<Error>>(
        &self,
        options: &PairOptions,
        sink: impl FnMut(&[Pair]) -> Result<(), E>,
    ) -> Result<u64, E> {
        Join::of_one(Source::of_index(self), options)?.run(sink)
    }

    /// As [`pairs`](Self::pairs), of an item of this index and one of another: `first` is of this index, `second` of the other.
    ///
    /// # Errors
    /// The same errors; an index with codes of another length or of another model.
    pub fn pairs_with<E: From<Error>>(
        &self,
        other: &Self,
        options: &PairOptions,
        sink: impl FnMut(&[Pair]) -> Result<(), E>,
    ) -> Result<u64, E> {
        Join::of_two([Source::of_index(self), Source::of_index(other)], options)?.run(sink)
    }
}

impl CodeSet {
    /// The pairs of a set of codes, as [`Index::pairs`] gives those of an index. Nothing is built on disk.
    ///
    /// ```
    /// use dhih_index::{CodeSet, Codes, Error, PairOptions};
    ///
    /// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0111, 0b0110])?);
    /// let count = set.pairs(&PairOptions::within(1), |pairs| {
    ///     assert_eq!((pairs[0].first, pairs[0].second, pairs[0].distance), (1, 2, 1));
    ///     Ok::<(), Error>(())
    /// })?;
    /// assert_eq!(count, 1);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// The same errors, and what [`check`](Self::check) refuses.
    pub fn pairs<E: From<Error>>(
        &self,
        options: &PairOptions,
        sink: impl FnMut(&[Pair]) -> Result<(), E>,
    ) -> Result<u64, E> {
        Join::of_one(Source::of_set(self)?, options)?.run(sink)
    }

    /// As [`pairs`](Self::pairs), of an item of this set and one of another.
    ///
    /// # Errors
    /// The same errors; a set with codes of another length or of another model.
    pub fn pairs_with<E: From<Error>>(
        &self,
        other: &Self,
        options: &PairOptions,
        sink: impl FnMut(&[Pair]) -> Result<(), E>,
    ) -> Result<u64, E> {
        Join::of_two([Source::of_set(self)?, Source::of_set(other)?], options)?.run(sink)
    }
}
