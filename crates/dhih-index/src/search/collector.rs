//! What a search has found so far: codes by distance, with the number of their items, so that the greatest distance that still
//! matters is known at any moment. How codes are found: `search.rs`.

use crate::error::Result;
use crate::hits::Hit;
use crate::hits::{Accept, Bound};
use crate::search::row_bits::RowBitset;
use crate::store::segment::Segment;

/// The codes found so far; its memory is kept from one search to the next.
#[derive(Debug, Default)]
pub(crate) struct HitCollector {
    k: u64,
    radius: u32,
    limit: u32,
    /// Items at each distance, and in all up to the limit.
    items: Vec<u64>,
    within: u64,
    /// At each distance: the numbers of the codes.
    codes: Vec<Vec<u32>>,
    /// The items' rows, distance by distance, and where those of each distance end. What is behind the last is left over.
    rows: Vec<u32>,
    ends: Vec<usize>,
    marks: RowBitset,
}

impl HitCollector {
    /// Nothing found yet in codes of `bits` bits.
    pub(crate) fn begin(&mut self, bound: Bound, bits: u32) {
        self.k = bound.k as u64;
        self.radius = bound.radius.min(bits);
        self.items.resize(bits as usize + 1, 0);
        self.codes.resize_with(bits as usize + 1, Vec::new);
        self.clear();
    }

    /// Forgets what was found, but not how far it was: what is to be found is no further.
    pub(crate) fn forget(&mut self) {
        self.radius = self.limit;
        self.clear();
    }

    fn clear(&mut self) {
        self.limit = self.radius;
        self.items.fill(0);
        self.within = 0;
        self.codes.iter_mut().for_each(Vec::clear);
    }

    /// The greatest distance at which a code still matters.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether all items within the radius are wanted, so that nobody asks how many a code has before they are looked up.
    #[inline]
    pub(crate) fn takes_all(&self) -> bool {
        self.k == u64::MAX
    }

    /// Takes a code within the limit where all are wanted.
    #[inline]
    pub(crate) fn add_one_of_all(&mut self, distance: u32, code: u32) {
        self.codes[distance as usize].push(code);
    }

    /// Takes a code within the limit, and how many of its items are looked for.
    #[inline]
    pub(crate) fn add(&mut self, distance: u32, code: u32, items: usize) {
        self.codes[distance as usize].push(code);
        self.items[distance as usize] += items as u64;
        self.within += items as u64;
        while self.limit > 0 && self.within - self.items[self.limit as usize] >= self.k {
            self.within -= self.items[self.limit as usize];
            self.limit -= 1;
        }
    }

    /// The items in order: by distance, then id.
    pub(crate) fn hits(&mut self, segment: &Segment, accept: Accept) -> Result<Vec<Hit>> {
        let Self { k, limit, codes, rows, ends, marks, .. } = self;
        let (postings, k) = (segment.postings(), usize::try_from(*k).unwrap_or(usize::MAX));
        let codes = &mut codes[..=*limit as usize];
        let mut end = 0;
        ends.clear();
        for codes in &mut *codes {
            // Those of a scan are in order, in which memory is read faster.
            if !codes.is_sorted() {
                codes.sort_unstable();
            }
            // Ascending by id, so of each code the first are enough.
            let most = k.saturating_sub(end);
            if accept.all() {
                let written = postings.write(codes, most, rows, end);
                end = written.ok_or_else(|| segment.outside())?;
            } else {
                rows.truncate(end);
                for &code in &*codes {
                    let of_code = segment.rows_of(code)?.iter().filter(|&&row| accept.row(row));
                    rows.extend(of_code.take(most));
                    // A row is one code's.
                    if rows.len() > segment.rows {
                        return Err(segment.outside());
                    }
                }
                end = rows.len();
            }
            ends.push(end);
        }
        let rows = &mut rows[..end];
        if rows.iter().fold(false, |any, &row| any | (row as usize >= segment.rows)) {
            return Err(segment.outside());
        }
        let (mut hits, mut start) = (Vec::with_capacity(rows.len().min(k)), 0);
        for ((distance, codes), &end) in (0..).zip(codes).zip(&*ends) {
            let (rows, count) = (&mut rows[start..end], end.min(k));
            start = end;
            if codes.len() > 1 && rows.len() >= DENSE.max(segment.rows / SPARSE) {
                marks.reserve(segment.rows);
                marks.set(rows);
                marks.drain(|rows| extend(&mut hits, rows, distance, count, segment.ids()));
                continue;
            }
            if codes.len() > 1 {
                rows.sort_unstable();
            }
            extend(&mut hits, rows, distance, count, segment.ids());
        }
        Ok(hits)
    }
}

/// From so many items on, and where an item in so many is found, marking them is faster than sorting them.
const DENSE: usize = 64;
const SPARSE: usize = 1 << 15;

/// Adds rows until there are `count` hits.
fn extend(hits: &mut Vec<Hit>, rows: &[u32], distance: u32, count: usize, ids: Option<&[u64]>) {
    let rows = &rows[..rows.len().min(count - hits.len())];
    match ids {
        None => hits.extend(rows.iter().map(|&row| Hit { distance, id: u64::from(row) })),
        Some(ids) => hits.extend(rows.iter().map(|&row| Hit { distance, id: ids[row as usize] })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_limit_is_the_distance_of_the_kth_item(
            found in prop::collection::vec((0..9_u32, 1..4_usize), 0..60),
            k in 1..20_usize, radius in 0..12_u32,
        ) {
            let mut collector = HitCollector::default();
            for bound in [Bound { k, radius }, Bound::nearest(k), Bound::within(radius)] {
                collector.begin(bound, 8);
                let mut all: Vec<u32> = Vec::new();
                for (code, &(distance, items)) in found.iter().enumerate() {
                    all.extend(std::iter::repeat_n(distance, items));
                    if distance <= collector.limit() {
                        collector.add(distance, code as u32, items);
                    }
                    let mut near: Vec<u32> =
                        all.iter().copied().filter(|&distance| distance <= bound.radius).collect();
                    near.sort_unstable();
                    let kth = near.get(bound.k.saturating_sub(1)).copied();
                    prop_assert_eq!(collector.limit(), kth.unwrap_or(bound.radius.min(8)));
                }
            }
        }
    }
}
