//! The searches of an open index as callers see them: for one query or many, for the nearest items or those within a radius. `scope.rs`
//! carries them out; `selection.rs` searches among some of the items.

use crate::codes::Codes;
use crate::error::Result;
use crate::hit_lists::HitLists;
use crate::hits::{Bound, Hit};
use crate::index::Index;
use crate::index::scope::Query;
use crate::search::Strategy;
use crate::search::explain::Explanation;

impl Index {
    /// The `k` nearest items, or all of them if there are fewer, by distance, then id.
    ///
    /// # Errors
    /// `k` is 0; a query of another length, or with unused bits that are not zero; a damaged file.
    pub fn knn(&self, query: &[u8], k: usize) -> Result<Vec<Hit>> {
        self.knn_by(Strategy::Auto, query, k)
    }

    /// All items within `radius` bits, by distance, then id.
    ///
    /// # Errors
    /// A query of another length, or with unused bits that are not zero; a damaged file.
    pub fn within(&self, query: &[u8], radius: u32) -> Result<Vec<Hit>> {
        self.within_by(Strategy::Auto, query, radius)
    }

    /// The `k` nearest of the items within `radius` bits, or all of those if there are fewer, by distance, then id.
    ///
    /// ```
    /// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("index");
    /// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0011, 0b0111])?);
    /// IndexBuilder::default().build(&set, &dir)?;
    /// let index = Index::open(&dir)?;
    ///
    /// let ids = |k, radius| -> dhih_index::Result<Vec<u64>> {
    ///     Ok(index.knn_within(&[0b0000], k, radius)?.iter().map(|hit| hit.id).collect())
    /// };
    /// assert_eq!(ids(2, 8)?, [0, 1]);
    /// assert_eq!(ids(9, 2)?, [0, 1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`knn`](Self::knn).
    pub fn knn_within(&self, query: &[u8], k: usize, radius: u32) -> Result<Vec<Hit>> {
        self.scope().search(Query::new(query, Bound::nearest_within(k, radius)))
    }

    /// As [`knn`](Self::knn), with the hits in place of those in `hits`, whose memory is reused. Once some searches have run, this
    /// allocates no memory.
    ///
    /// # Errors
    /// As for [`knn`](Self::knn); `hits` may then hold some of the hits, or none.
    pub fn knn_into(&self, query: &[u8], k: usize, hits: &mut Vec<Hit>) -> Result<()> {
        self.scope().search_into(Query::new(query, Bound::nearest(k)), hits)
    }

    /// The number of items within `radius` bits. Faster than [`within`](Self::within), which orders the items.
    ///
    /// # Errors
    /// As for [`within`](Self::within).
    pub fn count_within(&self, query: &[u8], radius: u32) -> Result<usize> {
        self.scope().count_within(query, radius)
    }

    /// Calls `visit` with each item within `radius` bits, in no particular order. Faster than [`within`](Self::within), which orders
    /// the items.
    ///
    /// ```
    /// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("index");
    /// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0011, 0b0111])?);
    /// IndexBuilder::default().build(&set, &dir)?;
    /// let index = Index::open(&dir)?;
    ///
    /// let (mut count, mut sum) = (0, 0);
    /// index.for_each_within(&[0b0000], 2, |hit| {
    ///     count += 1;
    ///     sum += hit.distance;
    /// })?;
    /// assert_eq!((count, sum), (3, 3));
    /// assert_eq!(index.count_within(&[0b0000], 2)?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`within`](Self::within); some items may then have been visited.
    pub fn for_each_within(&self, query: &[u8], radius: u32, visit: impl FnMut(Hit)) -> Result<()> {
        self.scope().for_each_within(query, radius, visit)
    }

    /// As [`knn`](Self::knn), by a strategy of the caller's choice.
    ///
    /// # Errors
    /// As for [`knn`](Self::knn).
    pub fn knn_by(&self, strategy: Strategy, query: &[u8], k: usize) -> Result<Vec<Hit>> {
        self.scope().search(Query { strategy, ..Query::new(query, Bound::nearest(k)) })
    }

    /// As [`within`](Self::within), by a strategy of the caller's choice.
    ///
    /// # Errors
    /// As for [`within`](Self::within).
    pub fn within_by(&self, strategy: Strategy, query: &[u8], radius: u32) -> Result<Vec<Hit>> {
        self.scope().search(Query { strategy, ..Query::new(query, Bound::within(radius)) })
    }

    /// As [`knn_by`](Self::knn_by), and what the search did and why.
    ///
    /// # Errors
    /// As for [`knn`](Self::knn).
    pub fn explain_knn(
        &self,
        strategy: Strategy,
        query: &[u8],
        k: usize,
    ) -> Result<(Vec<Hit>, Explanation)> {
        self.scope().explain(Query { strategy, ..Query::new(query, Bound::nearest(k)) })
    }

    /// As [`within_by`](Self::within_by), and what the search did and why.
    ///
    /// # Errors
    /// As for [`within`](Self::within).
    pub fn explain_within(
        &self,
        strategy: Strategy,
        query: &[u8],
        radius: u32,
    ) -> Result<(Vec<Hit>, Explanation)> {
        self.scope().explain(Query { strategy, ..Query::new(query, Bound::within(radius)) })
    }

    /// As [`knn_within`](Self::knn_within), by a strategy of the caller's choice, and what the search did and why.
    ///
    /// # Errors
    /// As for [`knn`](Self::knn).
    pub fn explain_knn_within(
        &self,
        strategy: Strategy,
        query: &[u8],
        k: usize,
        radius: u32,
    ) -> Result<(Vec<Hit>, Explanation)> {
        let bound = Bound::nearest_within(k, radius);
        self.scope().explain(Query { strategy, ..Query::new(query, bound) })
    }

    /// [`knn`](Self::knn) of many queries on the threads of the current rayon pool.
    ///
    /// # Errors
    /// As for one query; queries of another number of bits.
    pub fn knn_batch(&self, queries: &Codes, k: usize) -> Result<Vec<Vec<Hit>>> {
        self.scope().batch(queries, Bound::nearest(k))
    }

    /// [`within`](Self::within) of many queries on the threads of the current rayon pool.
    ///
    /// # Errors
    /// As for one query; queries of another number of bits.
    pub fn within_batch(&self, queries: &Codes, radius: u32) -> Result<Vec<Vec<Hit>>> {
        self.scope().batch(queries, Bound::within(radius))
    }

    /// [`knn_within`](Self::knn_within) of many queries on the threads of the current rayon pool.
    ///
    /// # Errors
    /// As for one query; queries of another number of bits.
    pub fn knn_within_batch(
        &self,
        queries: &Codes,
        k: usize,
        radius: u32,
    ) -> Result<Vec<Vec<Hit>>> {
        self.scope().batch(queries, Bound::nearest_within(k, radius))
    }

    /// As [`knn_batch`](Self::knn_batch), with all hits in one vector, which takes less time than a vector for each query.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_batch_flat(&self, queries: &Codes, k: usize) -> Result<HitLists> {
        self.scope().batch_flat(queries, Bound::nearest(k))
    }

    /// As [`within_batch`](Self::within_batch), with all hits in one vector, which takes less time than a vector for each query.
    ///
    /// # Errors
    /// The same errors.
    pub fn within_batch_flat(&self, queries: &Codes, radius: u32) -> Result<HitLists> {
        self.scope().batch_flat(queries, Bound::within(radius))
    }

    /// As [`knn_within_batch`](Self::knn_within_batch), with all hits in one vector, which takes less time than a vector for each
    /// query.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_within_batch_flat(
        &self,
        queries: &Codes,
        k: usize,
        radius: u32,
    ) -> Result<HitLists> {
        self.scope().batch_flat(queries, Bound::nearest_within(k, radius))
    }
}
