//! Searches that certify how complete their answer is, and that may stop early: derives what is certain from how far a search within a time
//! budget has come.

use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::Serialize;

use crate::codes::Codes;
use crate::error::{Error, Result};
use crate::hits::{Bound, Deadline, Hit, Reach};
use crate::index::Index;
use crate::index::scope::{Query, Scope};
use crate::index::selection::Selection;
use crate::search::scratch::Scratch;

/// How complete an answer certainly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Certificate {
    /// Whether the hits are exactly the nearest items by distance, then id. This is so if the search came to its end, or far enough.
    pub exact: bool,
    /// Every item whose code is within this distance of the query is among the hits. `None` if even an item with the query's own code may
    /// be missing. If no item is missing, this is the length of a code.
    pub certain_within: Option<u32>,
}

/// The nearest items, with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Certified {
    /// Items by distance, then id.
    pub hits: Vec<Hit>,
    /// How far they are certain.
    #[serde(flatten)]
    pub certificate: Certificate,
}

impl Index {
    /// The `k` nearest items, as [`knn`](Self::knn), with a certificate. With a `budget` of time, the search stops when it is used up. The
    /// hits are then those found so far: their distances are correct, but they are not always the nearest items.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("index");
    /// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0011, 0b0111])?);
    /// IndexBuilder::default().build(&set, &dir)?;
    /// let index = Index::open(&dir)?;
    ///
    /// let answer = index.knn_certified(&[0b0000], 2, None)?;
    /// // The third item is two bits away, so that none within one bit is missing.
    /// assert_eq!((answer.certificate.exact, answer.certificate.certain_within), (true, Some(1)));
    /// let answer = index.knn_certified(&[0b0000], 2, Some(Duration::ZERO))?;
    /// assert_eq!((answer.certificate.exact, answer.certificate.certain_within), (false, None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`knn`](Self::knn).
    pub fn knn_certified(
        &self,
        query: &[u8],
        k: usize,
        budget: Option<Duration>,
    ) -> Result<Certified> {
        self.scope().certified_query(query, k, budget)
    }

    /// [`knn_certified`](Self::knn_certified) of many queries on the threads of the current rayon pool. The budget of each query starts
    /// when its search begins.
    ///
    /// # Errors
    /// As for one query; queries of another number of bits.
    pub fn knn_certified_batch(
        &self,
        queries: &Codes,
        k: usize,
        budget: Option<Duration>,
    ) -> Result<Vec<Certified>> {
        self.scope().certified_batch(queries, k, budget)
    }
}

impl Selection {
    /// As [`Index::knn_certified`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_certified(
        &self,
        query: &[u8],
        k: usize,
        budget: Option<Duration>,
    ) -> Result<Certified> {
        self.scope().certified_query(query, k, budget)
    }

    /// As [`Index::knn_certified_batch`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_certified_batch(
        &self,
        queries: &Codes,
        k: usize,
        budget: Option<Duration>,
    ) -> Result<Vec<Certified>> {
        self.scope().certified_batch(queries, k, budget)
    }
}

impl Scope<'_> {
    fn certified_query(
        self,
        query: &[u8],
        k: usize,
        budget: Option<Duration>,
    ) -> Result<Certified> {
        self.certified(query, k, budget, self.lend(false).scratch())
    }

    fn certified_batch(
        self,
        queries: &Codes,
        k: usize,
        budget: Option<Duration>,
    ) -> Result<Vec<Certified>> {
        self.check_batch(queries, Bound::nearest(k))?;
        let numbers = (0..queries.len()).into_par_iter().with_max_len(1);
        let one = |number| self.certified_query(queries.get(number), k, budget);
        numbers.map(one).collect()
    }

    /// The nearest items of a query, with a certificate.
    pub(super) fn certified(
        self,
        code: &[u8],
        k: usize,
        budget: Option<Duration>,
        scratch: &mut Scratch,
    ) -> Result<Certified> {
        // A budget beyond the range of the clock is no limit.
        let deadline = budget.and_then(|budget| Instant::now().checked_add(budget)).map(Deadline);
        let query = Query { deadline, ..Query::new(code, Bound::nearest(k)) };
        self.certified_by(query, scratch)
    }

    /// Searches for the nearest items of the query, and certifies them.
    fn certified_by(self, query: Query, scratch: &mut Scratch) -> Result<Certified> {
        let (k, mut hits) = (query.bound.k, Vec::new());
        if k == 0 {
            return Err(Error::ZeroK);
        }
        // Search for one more item, so that the distance of the first item that is left out is known.
        let query = Query { bound: Bound::nearest(k.saturating_add(1)), ..query };
        let reach = self.append_hits(query, scratch, &mut hits)?;
        let certificate = certify(&hits, k, reach, self.index.bits());
        hits.truncate(k);
        Ok(Certified { hits, certificate })
    }
}

/// Certifies the first `k` of these hits, after a search for `k + 1` of them that came as far as `reach`.
fn certify(hits: &[Hit], k: usize, reach: Reach, bits: u32) -> Certificate {
    let exact = match hits.get(k - 1) {
        // All nearer items are known. Of the items at the same distance, those with the least ids are known.
        Some(last) => last.distance < reach.0,
        None => reach == Reach::ALL,
    };
    // Up to where the search came, only items at least as far away as the first one that is left out can be missing.
    let missing_from = hits.get(k).map_or(reach.0, |first| first.distance.min(reach.0));
    Certificate { exact, certain_within: missing_from.checked_sub(1).map(|d| d.min(bits)) }
}

#[cfg(test)]
mod tests;
