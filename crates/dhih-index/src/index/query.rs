//! The searches of an open index: one query or many, over all components. A search within one segment: `search/`.

use rayon::prelude::*;
use roaring::RoaringBitmap;

use crate::codes::{self, Codes};
use crate::error::{Error, Result};
use crate::hits::{Bound, Hit};
use crate::index::Index;
use crate::search::Strategy;
use crate::search::explain::Explanation;
use crate::search::scratch::{Lent, Scratch};

impl Index {
    /// The `k` nearest items, or all where they are fewer, by distance, then id.
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

    /// [`knn`](Self::knn) by a strategy of the caller's choice.
    ///
    /// # Errors
    /// As for `knn`.
    pub fn knn_by(&self, strategy: Strategy, query: &[u8], k: usize) -> Result<Vec<Hit>> {
        self.search(query, Bound::nearest(k), strategy)
    }

    /// [`within`](Self::within) by a strategy of the caller's choice.
    ///
    /// # Errors
    /// As for `within`.
    pub fn within_by(&self, strategy: Strategy, query: &[u8], radius: u32) -> Result<Vec<Hit>> {
        self.search(query, Bound::within(radius), strategy)
    }

    /// As [`knn_by`](Self::knn_by), and what the search did and why.
    ///
    /// # Errors
    /// As for `knn`.
    pub fn explain_knn(
        &self,
        strategy: Strategy,
        query: &[u8],
        k: usize,
    ) -> Result<(Vec<Hit>, Explanation)> {
        self.search_in(query, Bound::nearest(k), strategy, None, true)
    }

    /// As [`within_by`](Self::within_by), and what the search did and why.
    ///
    /// # Errors
    /// As for `within`.
    pub fn explain_within(
        &self,
        strategy: Strategy,
        query: &[u8],
        radius: u32,
    ) -> Result<(Vec<Hit>, Explanation)> {
        self.search_in(query, Bound::within(radius), strategy, None, true)
    }

    /// [`knn`](Self::knn) of many queries on the threads of the current rayon pool.
    ///
    /// # Errors
    /// As for one, and queries of another number of bits.
    pub fn knn_batch(&self, queries: &Codes, k: usize) -> Result<Vec<Vec<Hit>>> {
        self.batch(queries, Bound::nearest(k), None)
    }

    /// [`within`](Self::within) of many queries on the threads of the current rayon pool.
    ///
    /// # Errors
    /// As for one, and queries of another number of bits.
    pub fn within_batch(&self, queries: &Codes, radius: u32) -> Result<Vec<Vec<Hit>>> {
        self.batch(queries, Bound::within(radius), None)
    }

    fn search(&self, query: &[u8], bound: Bound, strategy: Strategy) -> Result<Vec<Hit>> {
        self.search_in(query, bound, strategy, None, false).map(|(hits, _)| hits)
    }

    /// Many queries on the threads of the current rayon pool.
    pub(crate) fn batch(
        &self,
        queries: &Codes,
        bound: Bound,
        wanted: Option<&[RoaringBitmap]>,
    ) -> Result<Vec<Vec<Hit>>> {
        queries.check_bits(self.bits())?;
        // Some queries take a hundred times as long as others, so few go together; those share their memory.
        let numbers = (0..queries.len()).into_par_iter().with_max_len(TOGETHER);
        let one = |lent: &mut Lent, i| {
            self.search_parts(queries.get(i), bound, Strategy::Auto, wanted, lent)
        };
        numbers.map_init(|| self.scratch.lend(false), one).collect()
    }

    /// One query, and what its search did.
    pub(crate) fn search_in(
        &self,
        query: &[u8],
        bound: Bound,
        strategy: Strategy,
        wanted: Option<&[RoaringBitmap]>,
        explain: bool,
    ) -> Result<(Vec<Hit>, Explanation)> {
        let mut lent = self.scratch.lend(explain);
        let hits = self.search_parts(query, bound, strategy, wanted, &mut lent)?;
        Ok((hits, std::mem::take(&mut lent.explanation)))
    }

    /// Searches the parts one after the other: what the first ones found bounds how far the others are searched.
    fn search_parts(
        &self,
        query: &[u8],
        mut bound: Bound,
        strategy: Strategy,
        wanted: Option<&[RoaringBitmap]>,
        scratch: &mut Scratch,
    ) -> Result<Vec<Hit>> {
        if bound.k == 0 {
            return Err(Error::ZeroK);
        }
        codes::check_query(self.bits(), query)?;
        let mut all: Vec<Hit> = Vec::new();
        for (at, part) in self.components.iter().enumerate() {
            let wanted = wanted.and_then(|wanted| wanted.get(at));
            let hits = part.search(query, bound, strategy, wanted, scratch)?;
            if all.is_empty() {
                all = hits;
            } else if !hits.is_empty() {
                all.extend(hits);
                all.sort_unstable();
                all.truncate(bound.k);
            }
            if let Some(last) = all.last().filter(|_| all.len() >= bound.k) {
                bound.radius = bound.radius.min(last.distance);
            }
        }
        Ok(all)
    }
}

/// Queries of a batch that one thread searches without a chance for others to take some.
const TOGETHER: usize = 16;
