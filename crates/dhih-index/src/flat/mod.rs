//! Exact search by scanning every code: the baseline, and the oracle that the tables of `search.rs`
//! must equal.

pub(crate) mod topk;

use rayon::prelude::*;

use crate::codes::Codes;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::flat::topk::Best;
use crate::hamming::{self, Near};
use crate::hits::Hit;

/// Exact search over codes in memory, without building anything.
///
/// ```
/// use dhih_index::{Codes, Flat};
///
/// let codes = Codes::new(8, vec![0b0000_0000, 0b0000_0111, 0b1000_0000])?;
/// let hits = Flat::new(&codes).knn(&[0b0000_0001], 2)?;
/// assert_eq!([(hits[0].distance, hits[0].id), (hits[1].distance, hits[1].id)], [(1, 0), (2, 1)]);
/// # Ok::<(), dhih_index::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Flat<'a> {
    codes: &'a Codes,
    ids: Option<&'a [u64]>,
}

impl<'a> Flat<'a> {
    /// Codes whose ids are `0..n`.
    pub fn new(codes: &'a Codes) -> Self {
        Self { codes, ids: None }
    }

    /// Codes with the ids of their set.
    ///
    /// # Errors
    /// What [`CodeSet::check`] refuses.
    pub fn of(set: &'a CodeSet) -> Result<Self> {
        set.check()?;
        Ok(Self { codes: &set.codes, ids: set.ids.as_deref() })
    }

    /// The `k` nearest items, or all where they are fewer, by distance, then id.
    ///
    /// # Errors
    /// `k` is 0; a query of another length, or with unused bits that are not zero.
    pub fn knn(&self, query: &[u8], k: usize) -> Result<Vec<Hit>> {
        if k == 0 {
            return Err(Error::ZeroK);
        }
        self.best(query, Best::nearest(k))
    }

    /// All items within `radius` bits, by distance, then id.
    ///
    /// # Errors
    /// A query of another length, or with unused bits that are not zero.
    pub fn within(&self, query: &[u8], radius: u32) -> Result<Vec<Hit>> {
        self.best(query, Best::within(radius))
    }

    /// [`knn`](Self::knn) of many queries on all threads.
    ///
    /// # Errors
    /// As for one, and queries of another number of bits.
    pub fn knn_batch(&self, queries: &Codes, k: usize) -> Result<Vec<Vec<Hit>>> {
        if k == 0 {
            return Err(Error::ZeroK);
        }
        self.batch(queries, || Best::nearest(k))
    }

    /// [`within`](Self::within) of many queries on all threads.
    ///
    /// # Errors
    /// As for one, and queries of another number of bits.
    pub fn within_batch(&self, queries: &Codes, radius: u32) -> Result<Vec<Vec<Hit>>> {
        self.batch(queries, || Best::within(radius))
    }

    fn batch(&self, queries: &Codes, best: impl Fn() -> Best + Sync) -> Result<Vec<Vec<Hit>>> {
        queries.check_bits(self.codes.bits())?;
        let all: Vec<&[u8]> = queries.iter().collect();
        // Each thread has some, and each goes once through the codes for many of them.
        let each = all.len().div_ceil(rayon::current_num_threads()).clamp(1, TOGETHER);
        let found = all.par_chunks(each).map(|queries| {
            let mut bests: Vec<Best> = queries.iter().map(|_| best()).collect();
            self.scan(queries, &mut bests);
            bests.into_iter().map(Best::into_hits).collect::<Vec<_>>()
        });
        Ok(found.collect::<Vec<_>>().concat())
    }

    fn best(&self, query: &[u8], mut best: Best) -> Result<Vec<Hit>> {
        self.codes.check_query(query)?;
        self.scan(&[query], std::slice::from_mut(&mut best));
        Ok(best.into_hits())
    }

    /// Compares all codes with all queries, a block of codes that stays in cache with one query after the other.
    fn scan(&self, queries: &[&[u8]], bests: &mut [Best]) {
        let mut near = Vec::new();
        let width = self.codes.bytes_per_code();
        let blocks = self.codes.as_bytes().chunks(BLOCK * width);
        for (first, codes) in (0..).step_by(BLOCK).zip(blocks) {
            for (query, best) in queries.iter().zip(&mut *bests) {
                let all = [(0, (codes.len() / width) as u32)];
                hamming::near(query, codes, &all, best.limit(), &mut near);
                for Near { at, distance } in near.drain(..) {
                    let row = first + at as usize;
                    best.push(Hit { distance, id: self.ids.map_or(row as u64, |ids| ids[row]) });
                }
            }
        }
    }
}

/// Queries that share a pass over the codes.
const TOGETHER: usize = 64;
/// Codes that are compared before the limit is looked at again, and that one query after the other finds in cache.
const BLOCK: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: all distances, sorted.
    fn oracle(set: &CodeSet, query: &[u8]) -> Vec<Hit> {
        let ids = set.ids.clone().unwrap_or((0..set.codes.len() as u64).collect());
        let hit = |(code, id)| Hit { distance: hamming::distance(code, query), id };
        let mut hits: Vec<Hit> = set.codes.iter().zip(ids).map(hit).collect();
        hits.sort();
        hits
    }

    proptest! {
        #[test]
        fn a_scan_is_all_distances_sorted(
            bytes in prop::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..4000),
            query in any::<[u8; 2]>(), k in 1..50_usize, radius in 0..17_u32, reversed: bool,
        ) {
            let codes = Codes::new(16, bytes[..bytes.len() / 2 * 2].to_vec()).unwrap();
            let ids = reversed.then(|| (0..codes.len() as u64).rev().map(|id| 3 * id).collect());
            let set = CodeSet { ids, ..CodeSet::new(codes) };
            let (flat, mut all) = (Flat::of(&set).unwrap(), oracle(&set, &query));
            prop_assert_eq!(flat.knn(&query, k).unwrap(), &all[..k.min(all.len())]);
            all.retain(|hit| hit.distance <= radius);
            prop_assert_eq!(flat.within(&query, radius).unwrap(), all);
        }
    }

    #[test]
    fn batches_are_the_queries_one_by_one() {
        let codes = Codes::new(8, (0..=255).collect()).unwrap();
        let flat = Flat::new(&codes);
        let (nearest, within) =
            (flat.knn_batch(&codes, 3).unwrap(), flat.within_batch(&codes, 1).unwrap());
        for (i, query) in codes.iter().enumerate() {
            assert_eq!(nearest[i], flat.knn(query, 3).unwrap());
            assert_eq!(within[i], flat.within(query, 1).unwrap());
        }
    }

    #[test]
    fn bad_queries_are_refused() {
        let codes = Codes::new(12, vec![0; 4]).unwrap();
        let flat = Flat::new(&codes);
        assert!(matches!(flat.knn(&[0; 2], 0), Err(Error::ZeroK)));
        assert!(matches!(
            flat.knn(&[0; 3], 1),
            Err(Error::QueryBytes { expected: 2, found: 3, .. })
        ));
        assert!(matches!(flat.within(&[], 1), Err(Error::QueryBytes { .. })));
        assert!(matches!(flat.within(&[0, 0x10], 1), Err(Error::QueryPadding { bits: 12 })));
        let other = Codes::new(16, vec![0; 4]).unwrap();
        assert!(matches!(
            flat.knn_batch(&other, 1),
            Err(Error::QueryBits { expected: 12, found: 16 })
        ));
        assert!(matches!(flat.within_batch(&other, 1), Err(Error::QueryBits { .. })));
        assert_eq!(flat.knn(&[0; 2], 9).unwrap().len(), 2);
        let twice = CodeSet { ids: Some(vec![7, 7]), ..CodeSet::new(codes.clone()) };
        assert!(matches!(Flat::of(&twice), Err(Error::DuplicateId { id: 7, .. })));
    }
}
