//! The ranking for one query: histograms over distances, and the first places with ties in database order. Distances are computed a block at a
//! time and not stored, so that memory grows with the database only by one byte for each item. Where codes repeat, the distance of each distinct
//! code is stored.

use std::slice;

use dhih_index::{Codes, MAX_BITS, hamming};

use super::distinct::Distinct;
use super::relevance::Relevant;

/// The number of codes whose distances are computed at once, so that they stay in the first level of cache.
const BLOCK: usize = 2048;
/// Bins for distances up to [`MAX_BITS`] and one bit of relevance. A power of two, so that no index is out of bounds.
const BINS: usize = (2 * (MAX_BITS as usize + 1)).next_power_of_two();
/// The number of histograms that are filled in turn, so that increments of one bin need not wait for each other.
const LANES: usize = 4;

/// A ranking, with buffers that are reused.
pub(super) struct Ranking {
    /// For each distance, the numbers of items and of relevant items.
    pub(super) histogram: Vec<[u32; 2]>,
    /// The relevance of the first places, with ties in database order.
    pub(super) head: Vec<bool>,
    lanes: Box<[[u32; BINS]; LANES]>,
    /// The same lanes for codes that stand for several items. The lower half of a word counts items, and the upper half counts relevant ones.
    pairs: Box<[[u64; BINS / 2]; LANES]>,
    distances: Vec<u32>,
    places: Vec<usize>,
    /// For each distance, the numbers of the codes at that distance.
    near: Vec<Vec<u32>>,
    ties: Ties,
}

impl Ranking {
    pub(super) fn new() -> Self {
        let (histogram, head, places, near) = (vec![], vec![], vec![], vec![]);
        let (lanes, pairs) = (Box::new([[0; BINS]; LANES]), Box::new([[0; BINS / 2]; LANES]));
        let (distances, ties) = (vec![0; BLOCK], Ties::default());
        Self { histogram, head, lanes, pairs, distances, places, near, ties }
    }

    /// Ranks the database by its distance to `query`, and lists the first `places` places.
    ///
    /// # Shapes
    /// `relevant`: `[database.len()]` of 0 and 1.
    pub(super) fn rank(&mut self, database: &Codes, query: &[u8], relevant: &[u8], places: usize) {
        let bins = 2 * (database.bits() as usize + 1);
        self.lanes.iter_mut().for_each(|lane| lane[..bins].fill(0));
        let Self { lanes, distances, .. } = self;
        blocks(database, query, relevant, distances, |distances, relevant| {
            let [a, b, c, d] = &mut **lanes;
            let bin = |distance: u32, relevant: u8| {
                (2 * distance as usize + usize::from(relevant)) % BINS
            };
            let (distances, last) = distances.as_chunks::<LANES>();
            let (relevant, last_relevant) = relevant.as_chunks::<LANES>();
            for (distance, relevant) in distances.iter().zip(relevant) {
                a[bin(distance[0], relevant[0])] += 1;
                b[bin(distance[1], relevant[1])] += 1;
                c[bin(distance[2], relevant[2])] += 1;
                d[bin(distance[3], relevant[3])] += 1;
            }
            for (distance, relevant) in last.iter().zip(last_relevant) {
                a[bin(*distance, *relevant)] += 1;
            }
        });
        self.histogram.clear();
        let count = |bin: usize| self.lanes.iter().map(|lane| lane[bin]).sum::<u32>();
        self.histogram.extend((0..bins / 2).map(|distance| {
            let relevant = count(2 * distance + 1);
            [count(2 * distance) + relevant, relevant]
        }));
        self.list(database, query, relevant, places.min(database.len()));
    }

    /// As [`Self::rank`], from the distances of each distinct code.
    pub(super) fn rank_distinct(
        &mut self,
        distinct: &Distinct,
        query: &[u8],
        relevant: &Relevant<'_>,
        places: usize,
    ) {
        let (codes, bins) = (&distinct.codes, distinct.codes.bits() as usize + 1);
        self.distances.resize(codes.len().max(BLOCK), 0);
        let distances = &mut self.distances[..codes.len()];
        hamming::distances_into(query, codes.as_bytes(), distances);
        self.pairs.iter_mut().for_each(|lane| lane[..bins].fill(0));
        let parts = distances.chunks(LANES).zip(relevant.counts.chunks(LANES));
        for (distances, counts) in parts {
            for ((distance, count), lane) in distances.iter().zip(counts).zip(&mut *self.pairs) {
                let [items, relevant] = count.map(u64::from);
                lane[*distance as usize % (BINS / 2)] += items | relevant << 32;
            }
        }
        self.histogram.clear();
        self.histogram.extend((0..bins).map(|distance| {
            let pair: u64 = self.pairs.iter().map(|lane| lane[distance]).sum();
            [pair as u32, (pair >> 32) as u32]
        }));
        self.list_distinct(distinct, &relevant.bits, places.min(relevant.items.len()));
    }

    /// Lists the first places of [`Self::rank_distinct`], from the items of the near codes.
    fn list_distinct(&mut self, distinct: &Distinct, relevant: &[u64], places: usize) {
        let reached = self.begin_list(places);
        let Self { histogram, head, distances, near, ties, .. } = self;
        near.resize_with(reached.max(near.len()), Vec::new);
        near.iter_mut().for_each(Vec::clear);
        let near = &mut near[..reached];
        for (number, distance) in distances[..distinct.codes.len()].iter().enumerate() {
            if let Some(tie) = near.get_mut(*distance as usize) {
                tie.push(number as u32);
            }
        }
        let mut listed = head.iter_mut();
        for (codes, [items, _]) in near.iter().zip(histogram) {
            let codes = codes.iter().map(|code| distinct.items(*code as usize));
            ties.list(codes, *items as usize, relevant, &mut listed);
        }
    }

    /// A counting sort of the items up to the distance of the last place. It is stable, so that ties stay in database order.
    fn list(&mut self, database: &Codes, query: &[u8], relevant: &[u8], places: usize) {
        self.begin_list(places);
        let Self { places: next, head, distances, .. } = self;
        blocks(database, query, relevant, distances, |distances, relevant| {
            for (distance, relevant) in distances.iter().zip(relevant) {
                place(next, head, *distance, *relevant);
            }
        });
    }

    /// Clears the list, sets the first place of each distance that it reaches, and returns the number of these distances.
    fn begin_list(&mut self, places: usize) -> usize {
        self.head.clear();
        self.head.resize(places, false);
        self.places.clear();
        let mut before = 0;
        for [items, _] in &self.histogram {
            if before >= places {
                break;
            }
            self.places.push(before);
            before += *items as usize;
        }
        self.places.len()
    }
}

/// Lists the items at one distance in database order.
#[derive(Default)]
struct Ties {
    few: Vec<u32>,
    /// One bit for each item, all 0 between uses.
    marks: Vec<u64>,
}

impl Ties {
    /// Lists the relevance of `count` items, given by their codes, as long as there is room. Few items are sorted. Many are marked in a bit set,
    /// which is then read from its beginning.
    ///
    /// # Shapes
    /// `relevant`: one bit for each item.
    fn list<'a>(
        &mut self,
        codes: impl Iterator<Item = &'a [u32]>,
        count: usize,
        relevant: &[u64],
        listed: &mut slice::IterMut<'_, bool>,
    ) {
        /// Sorting an item takes as long as reading this number of words.
        const SORTED: usize = 16;
        let Self { few, marks } = self;
        if count * SORTED < relevant.len() {
            few.clear();
            codes.for_each(|items| few.extend_from_slice(items));
            few.sort_unstable();
            // `zip` would take one place too many from the list if that came first.
            for (item, listed) in few.iter().zip(listed) {
                *listed = relevant[*item as usize / 64] >> (item % 64) & 1 != 0;
            }
            return;
        }
        marks.resize(relevant.len(), 0);
        for items in codes {
            items.iter().for_each(|item| marks[*item as usize / 64] |= 1 << (item % 64));
        }
        for (word, relevant) in marks.iter_mut().zip(relevant) {
            let mut left = std::mem::take(word);
            while left != 0
                && let Some(listed) = listed.next()
            {
                *listed = relevant >> left.trailing_zeros() & 1 != 0;
                left &= left - 1;
            }
        }
    }
}

/// Puts the next item into the list, if there is a place for its distance.
fn place(next: &mut [usize], head: &mut [bool], distance: u32, relevant: u8) {
    if let Some(place) = next.get_mut(distance as usize) {
        if let Some(listed) = head.get_mut(*place) {
            *listed = relevant != 0;
        }
        *place += 1;
    }
}

/// Calls `f` with the distances and the relevance of one block of codes after the other.
fn blocks(
    database: &Codes,
    query: &[u8],
    relevant: &[u8],
    distances: &mut [u32],
    mut f: impl FnMut(&[u32], &[u8]),
) {
    let codes = database.as_bytes().chunks(BLOCK * query.len());
    for (codes, relevant) in codes.zip(relevant.chunks(BLOCK)) {
        let distances = &mut distances[..relevant.len()];
        hamming::distances_into(query, codes, distances);
        f(distances, relevant);
    }
}

#[cfg(test)]
mod tests {
    use super::super::relevance::Relevance;
    use super::*;
    use dhih_index::{CodeSet, Labels};
    use dhih_model::named_rng;
    use rand::Rng;

    #[test]
    fn it_is_that_of_a_stable_sort() {
        let mut rng = named_rng(1, "ranking");
        for (bits, n) in [(1u32, 3), (12, 5000), (48, 4099), (1024, 2049), (4096, 300)] {
            let width = bits.div_ceil(8) as usize;
            let mask = if bits.is_multiple_of(8) { 255 } else { (1u8 << (bits % 8)) - 1 };
            let mut code = || -> Vec<u8> {
                let mut code: Vec<u8> = (0..width).map(|_| rng.random()).collect();
                code[width - 1] &= mask;
                code
            };
            let database = Codes::new(bits, (0..n).flat_map(|_| code()).collect()).unwrap();
            let query = code();
            let relevant: Vec<u8> = (0..n).map(|i| u8::from(i % 3 == 0)).collect();
            let distance = |i: &usize| hamming::distance(&query, database.get(*i)) as usize;
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by_key(distance);
            let mut ranking = Ranking::new();
            for places in [0, 1, 100, n, n + 5] {
                ranking.rank(&database, &query, &relevant, places);
                let expected = order.iter().take(places).map(|i| relevant[*i] == 1);
                assert!(ranking.head.iter().copied().eq(expected), "{bits} {places}");
            }
            let mut histogram = vec![[0; 2]; bits as usize + 1];
            for i in 0..n {
                histogram[distance(&i)][0] += 1;
                histogram[distance(&i)][1] += u32::from(relevant[i]);
            }
            assert_eq!(ranking.histogram, histogram);
        }
    }

    #[test]
    fn codes_that_repeat_are_ranked_as_their_items_are() {
        let mut rng = named_rng(2, "ranking");
        for (bits, n, distinct) in
            [(8u32, 3000, 20), (48, 4099, 300), (1024, 1000, 9), (4096, 90, 7)]
        {
            let width = bits as usize / 8;
            let some: Vec<Vec<u8>> =
                (0..distinct).map(|_| (0..width).map(|_| rng.random()).collect()).collect();
            let database = (0..n).flat_map(|_| some[rng.random_range(0..distinct)].clone());
            let database = Codes::new(bits, database.collect()).unwrap();
            let labels = |n: usize, rng: &mut dyn rand::RngCore| {
                Labels::Single((0..n).map(|_| rng.random_range(0..4)).collect())
            };
            let labelled = |codes: Codes, labels: Labels| {
                let mut set = CodeSet::new(codes);
                set.labels = Some(labels);
                set
            };
            let items = labelled(database.clone(), labels(n, &mut rng));
            let first = Codes::new(bits, database.as_bytes()[..5 * width].to_vec()).unwrap();
            let queries = labelled(first, labels(5, &mut rng));
            let relevance = Relevance::new(&items, &queries).unwrap();
            let distinct = Distinct::of(&database);
            let mut relevant = Relevant::new(&relevance, Some(&distinct));
            let (mut ranking, mut expected) = (Ranking::new(), Ranking::new());
            for row in 0..5 {
                // From a few places, for which items are sorted, to all places, for which bits are read.
                for places in [0, 1, 40, n / 2, n + 5] {
                    let (query, relevant) = (database.get(row), relevant.to(row));
                    ranking.rank_distinct(&distinct, query, relevant, places);
                    expected.rank(&database, query, &relevant.items, places);
                    assert_eq!(ranking.histogram, expected.histogram);
                    assert_eq!(ranking.head, expected.head, "{bits} bits, {places} places");
                }
            }
        }
    }
}
