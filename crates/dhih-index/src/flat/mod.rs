//! Exact search by comparing the query with every code: the baseline, and the oracle that every search of an index must equal.
//! Nothing here depends on the machine's byte order or the size of its addresses. Searches by tables: `search/`.

pub(crate) mod together;
pub(crate) mod topk;

use std::convert::Infallible;

use rayon::prelude::*;

use crate::codes::Codes;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::flat::together::{Pass, QUERIES_PER_PASS};
use crate::flat::topk::Best;
use crate::hamming::{self, CodeRange, Near, NearRequest};
use crate::hits::{Bound, Hit};

/// The number of codes that are compared before the limit is read again.
const CODES_PER_BLOCK: usize = 2048;

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
    /// Searches codes whose ids are `0..n`.
    pub fn new(codes: &'a Codes) -> Self {
        Self { codes, ids: None }
    }

    /// Searches the codes of a set, with its ids.
    ///
    /// # Errors
    /// What [`CodeSet::check`] refuses.
    pub fn of(set: &'a CodeSet) -> Result<Self> {
        set.check()?;
        Ok(Self { codes: &set.codes, ids: set.ids.as_deref() })
    }

    /// The `k` nearest items, or all of them if there are fewer, by distance, then id.
    ///
    /// # Errors
    /// `k` is 0; a query of another length, or with unused bits that are not zero.
    pub fn knn(&self, query: &[u8], k: usize) -> Result<Vec<Hit>> {
        self.search(query, Bound::nearest(k))
    }

    /// All items within `radius` bits, by distance, then id.
    ///
    /// # Errors
    /// A query of another length, or with unused bits that are not zero.
    pub fn within(&self, query: &[u8], radius: u32) -> Result<Vec<Hit>> {
        self.search(query, Bound::within(radius))
    }

    /// The `k` nearest of the items within `radius` bits, or all of those if there are fewer, by distance, then id.
    ///
    /// # Errors
    /// As for [`knn`](Self::knn).
    pub fn knn_within(&self, query: &[u8], k: usize, radius: u32) -> Result<Vec<Hit>> {
        self.search(query, Bound::nearest_within(k, radius))
    }

    /// [`knn`](Self::knn) of many queries on the threads of the current rayon pool.
    ///
    /// # Errors
    /// As for one query; queries of another number of bits.
    pub fn knn_batch(&self, queries: &Codes, k: usize) -> Result<Vec<Vec<Hit>>> {
        self.batch(queries, Bound::nearest(k))
    }

    /// [`within`](Self::within) of many queries on the threads of the current rayon pool.
    ///
    /// # Errors
    /// As for one query; queries of another number of bits.
    pub fn within_batch(&self, queries: &Codes, radius: u32) -> Result<Vec<Vec<Hit>>> {
        self.batch(queries, Bound::within(radius))
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
        self.batch(queries, Bound::nearest_within(k, radius))
    }

    fn batch(&self, queries: &Codes, bound: Bound) -> Result<Vec<Vec<Hit>>> {
        if bound.k == 0 {
            return Err(Error::ZeroK);
        }
        queries.check_bits(self.codes.bits())?;
        let all: Vec<&[u8]> = queries.iter().collect();
        // Each task passes over the codes once for all of its queries; there is a task for each thread at least.
        let per_task = all.len().div_ceil(rayon::current_num_threads()).clamp(1, QUERIES_PER_PASS);
        let found = all.par_chunks(per_task).flat_map_iter(|queries| {
            let mut bests: Vec<Best> = queries.iter().map(|_| Best::new(bound)).collect();
            self.scan(queries, &mut bests);
            bests.into_iter().map(Best::into_hits)
        });
        Ok(found.collect())
    }

    fn search(&self, query: &[u8], bound: Bound) -> Result<Vec<Hit>> {
        if bound.k == 0 {
            return Err(Error::ZeroK);
        }
        self.codes.check_query(query)?;
        let mut best = Best::new(bound);
        self.scan(&[query], std::slice::from_mut(&mut best));
        Ok(best.into_hits())
    }

    /// Compares all codes with all queries.
    fn scan(&self, queries: &[&[u8]], bests: &mut [Best]) {
        let mut limits: Vec<u32> = bests.iter().map(Best::limit).collect();
        let done = Pass::default().run(
            self.codes.as_bytes(),
            queries,
            &mut limits,
            |query, first, near| -> std::result::Result<u32, Infallible> {
                let best = &mut bests[query];
                for &Near { at, distance } in near {
                    let row = first + at as usize;
                    best.push(Hit { distance, id: self.ids.map_or(row as u64, |ids| ids[row]) });
                }
                Ok(best.limit())
            },
        );
        let Ok(()) = done;
    }
}

/// A scan of packed codes for one query by a search that keeps hits in its own way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan<'a> {
    pub(crate) query: &'a [u8],
    pub(crate) codes: &'a [u8],
    /// The greatest distance of a code that is wanted, to begin with.
    pub(crate) limit: u32,
}

impl Scan<'_> {
    /// Calls `visit` with the number and the distance of each code within the limit, in the order of their numbers; `visit` returns
    /// the limit from then on. `near` is memory to work in.
    pub(crate) fn run(self, near: &mut Vec<Near>, mut visit: impl FnMut(Near) -> u32) {
        let (width, mut limit) = (self.query.len(), self.limit);
        let blocks = self.codes.chunks(CODES_PER_BLOCK * width);
        for (first, codes) in (0..).step_by(CODES_PER_BLOCK).zip(blocks) {
            collect_block(self.query, codes, limit, near);
            for found in near.drain(..) {
                if found.distance <= limit {
                    limit = visit(Near { at: first + found.at, ..found });
                }
            }
        }
    }
}

/// Appends the codes of a block that are within a limit.
fn collect_block(query: &[u8], codes: &[u8], limit: u32, near: &mut Vec<Near>) {
    let ranges = &[CodeRange { start: 0, end: (codes.len() / query.len()) as u32 }];
    hamming::collect_near(&NearRequest { query, codes, ranges, limit }, near);
}

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
            prop_assert_eq!(flat.within(&query, radius).unwrap(), &all[..]);
            prop_assert_eq!(flat.knn_within(&query, k, radius).unwrap(), &all[..k.min(all.len())]);
        }

        #[test]
        fn a_scan_visits_what_is_within_the_limit(
            bytes in prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..3000), query: u8,
            limit in 0..9_u32,
        ) {
            let (mut visited, mut near) = (Vec::new(), Vec::new());
            Scan { query: &[query], codes: &bytes, limit }.run(&mut near, |found| {
                visited.push(found);
                found.distance
            });
            let (mut expected, mut limit) = (Vec::new(), limit);
            for (at, byte) in (0..).zip(&bytes) {
                let distance = (byte ^ query).count_ones();
                if distance <= limit {
                    expected.push(Near { at, distance });
                    limit = distance;
                }
            }
            prop_assert_eq!(visited, expected);
        }
    }

    #[test]
    fn batches_are_the_queries_one_by_one() {
        let codes = Codes::new(8, (0..=255).collect()).unwrap();
        let flat = Flat::new(&codes);
        let (nearest, within) =
            (flat.knn_batch(&codes, 3).unwrap(), flat.within_batch(&codes, 1).unwrap());
        let both = flat.knn_within_batch(&codes, 5, 1).unwrap();
        assert_eq!([nearest.len(), within.len(), both.len()], [codes.len(); 3]);
        for (i, query) in codes.iter().enumerate() {
            assert_eq!(both[i], flat.knn_within(query, 5, 1).unwrap());
            assert_eq!(nearest[i], flat.knn(query, 3).unwrap());
            assert_eq!(within[i], flat.within(query, 1).unwrap());
        }
    }

    #[test]
    fn bad_queries_are_refused() {
        let codes = Codes::new(12, vec![0; 4]).unwrap();
        let flat = Flat::new(&codes);
        assert!(matches!(flat.knn(&[0; 2], 0), Err(Error::ZeroK)));
        assert!(matches!(flat.knn_within(&[0; 2], 0, 1), Err(Error::ZeroK)));
        assert!(matches!(flat.knn_batch(&codes, 0), Err(Error::ZeroK)));
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
