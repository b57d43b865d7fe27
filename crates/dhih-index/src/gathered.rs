//! What a search has found so far: codes by distance, with the number of their items, so that the greatest distance that still
//! matters is known at any moment. How codes are found: `search.rs`.

use crate::error::Result;
use crate::part::Accept;
use crate::segment::Segment;
use crate::topk::Hit;

/// How far a search goes: to the `k` nearest items, to all within `radius`, or to whichever is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) k: usize,
    pub(crate) radius: u32,
}

impl Reach {
    pub(crate) fn nearest(k: usize) -> Self {
        Self { k, radius: u32::MAX }
    }

    pub(crate) fn within(radius: u32) -> Self {
        Self { k: usize::MAX, radius }
    }
}

/// The codes found so far; its memory is kept from one search to the next.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    k: u64,
    radius: u32,
    limit: u32,
    /// Items at each distance, and in all up to the limit.
    items: Vec<u64>,
    within: u64,
    /// Distance and number of each code.
    codes: Vec<(u32, u32)>,
}

impl Gathered {
    /// Nothing found yet in codes of `bits` bits.
    pub(crate) fn begin(&mut self, reach: Reach, bits: u32) {
        self.k = reach.k as u64;
        self.radius = reach.radius.min(bits);
        self.items.resize(bits as usize + 1, 0);
        self.clear();
    }

    /// Forgets what was found.
    pub(crate) fn clear(&mut self) {
        self.limit = self.radius;
        self.items.fill(0);
        self.within = 0;
        self.codes.clear();
    }

    /// The greatest distance at which a code still matters.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Takes a code within the limit.
    #[inline]
    pub(crate) fn add(&mut self, distance: u32, code: u32, items: usize) {
        self.codes.push((distance, code));
        self.items[distance as usize] += items as u64;
        self.within += items as u64;
        while self.limit > 0 && self.within - self.items[self.limit as usize] >= self.k {
            self.within -= self.items[self.limit as usize];
            self.limit -= 1;
        }
    }

    /// The items in order: by distance, then id.
    pub(crate) fn hits(&mut self, segment: &Segment, accept: Accept) -> Result<Vec<Hit>> {
        let limit = self.limit;
        self.codes.retain(|(distance, _)| *distance <= limit);
        self.codes.sort_unstable();
        let count = self.within.min(self.k) as usize;
        let mut hits: Vec<Hit> = Vec::with_capacity(count.min(segment.rows));
        let mut rows: Vec<u32> = Vec::new();
        for group in self.codes.chunk_by(|a, b| a.0 == b.0) {
            let wanted = count - hits.len();
            rows.clear();
            for &(_, code) in group {
                // Ascending by id, so the first of each code are enough.
                let of_code = segment.rows_of(code)?.iter().filter(|&&row| accept.row(row));
                rows.extend(of_code.take(wanted));
            }
            if group.len() > 1 {
                ascending(&mut rows, segment.rows);
            }
            rows.truncate(wanted);
            for &row in &rows {
                hits.push(Hit { distance: group[0].0, id: segment.id(row)? });
            }
        }
        Ok(hits)
    }
}

/// Sorts different numbers, most of which are below `end`.
fn ascending(numbers: &mut [u32], end: usize) {
    /// Where there is one in so many numbers, looking at all of them is faster than sorting.
    const DENSE: usize = 256;
    let known = numbers.iter().all(|&number| (number as usize) < end);
    if numbers.len() < end / DENSE || !known {
        numbers.sort_unstable();
        return;
    }
    let mut there = vec![0_u64; end.div_ceil(64)];
    numbers.iter().for_each(|&number| there[number as usize / 64] |= 1 << (number % 64));
    let mut places = numbers.iter_mut();
    for (word, first) in there.iter_mut().zip((0_u32..).step_by(64)) {
        while *word != 0 {
            if let Some(place) = places.next() {
                *place = first + word.trailing_zeros();
            }
            *word &= *word - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorted_either_way(
            numbers in prop::collection::hash_set(0..5000_u32, 0..200), end in 1..6000_usize,
        ) {
            let mut sorted: Vec<u32> = numbers.iter().copied().collect();
            ascending(&mut sorted, end);
            let mut expected: Vec<u32> = numbers.into_iter().collect();
            expected.sort_unstable();
            prop_assert_eq!(sorted, expected);
        }

        #[test]
        fn the_limit_is_the_distance_of_the_kth_item(
            found in prop::collection::vec((0..9_u32, 1..4_usize), 0..60),
            k in 1..20_usize, radius in 0..12_u32,
        ) {
            let mut gathered = Gathered::default();
            for reach in [Reach { k, radius }, Reach::nearest(k), Reach::within(radius)] {
                gathered.begin(reach, 8);
                let mut all: Vec<u32> = Vec::new();
                for (code, &(distance, items)) in found.iter().enumerate() {
                    all.extend(std::iter::repeat_n(distance, items));
                    if distance <= gathered.limit() {
                        gathered.add(distance, code as u32, items);
                    }
                    let mut near: Vec<u32> =
                        all.iter().copied().filter(|&distance| distance <= reach.radius).collect();
                    near.sort_unstable();
                    let kth = near.get(reach.k.saturating_sub(1)).copied();
                    prop_assert_eq!(gathered.limit(), kth.unwrap_or(reach.radius.min(8)));
                }
            }
        }
    }
}
