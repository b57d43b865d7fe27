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
    /// At each distance: the numbers of the codes.
    codes: Vec<Vec<u32>>,
    rows: Vec<u32>,
    /// A bit a row, all 0 between uses.
    marks: Vec<u64>,
}

impl Gathered {
    /// Nothing found yet in codes of `bits` bits.
    pub(crate) fn begin(&mut self, reach: Reach, bits: u32) {
        self.k = reach.k as u64;
        self.radius = reach.radius.min(bits);
        self.items.resize(bits as usize + 1, 0);
        self.codes.resize_with(bits as usize + 1, Vec::new);
        self.clear();
    }

    /// Forgets what was found.
    pub(crate) fn clear(&mut self) {
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

    /// Takes a code within the limit.
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
        let Self { codes, rows, marks, .. } = self;
        let count = self.within.min(self.k) as usize;
        let mut hits: Vec<Hit> = Vec::with_capacity(count.min(segment.rows));
        let tied = (0..=self.limit).zip(codes.iter_mut().zip(&self.items));
        for (distance, (codes, &items)) in tied {
            // Those of a scan are in order, in which memory is read faster.
            if !codes.is_sorted() {
                codes.sort_unstable();
            }
            let found = Found { segment, accept, distance, codes };
            let taken = codes.len().saturating_mul(count - hits.len()).min(items as usize);
            if codes.len() > 1 && taken >= segment.rows / DENSE {
                let done = found.marked(marks, count, &mut hits);
                done.inspect_err(|_| marks.clear())?;
            } else {
                found.sorted(rows, count, &mut hits)?;
            }
        }
        Ok(hits)
    }
}

/// Where an item in so many is found, marking them and looking at all marks is faster than sorting them.
const DENSE: usize = if cfg!(test) { 8 } else { 1024 };

/// Codes at one distance.
struct Found<'a> {
    segment: &'a Segment,
    accept: Accept<'a>,
    distance: u32,
    codes: &'a [u32],
}

impl Found<'_> {
    /// Adds their items in order, until there are `count` hits.
    fn sorted(&self, rows: &mut Vec<u32>, count: usize, hits: &mut Vec<Hit>) -> Result<()> {
        let (segment, distance, wanted) = (self.segment, self.distance, count - hits.len());
        rows.clear();
        for &code in self.codes {
            // Ascending by id, so the first of each code are enough.
            let of_code = segment.rows_of(code)?.iter().filter(|&&row| self.accept.row(row));
            rows.extend(of_code.take(wanted));
        }
        if self.codes.len() > 1 {
            rows.sort_unstable();
        }
        for &row in rows.iter().take(wanted) {
            hits.push(Hit { distance, id: segment.id(row)? });
        }
        Ok(())
    }

    /// The same by `marks`, a bit a row, which are all 0 before and after.
    fn marked(&self, marks: &mut Vec<u64>, count: usize, hits: &mut Vec<Hit>) -> Result<()> {
        let (segment, distance) = (self.segment, self.distance);
        let (postings, all) = (segment.postings(), self.accept.all());
        marks.resize(segment.rows.div_ceil(64), 0);
        for &code in self.codes {
            for &row in postings.of(code).ok_or_else(|| segment.outside())? {
                if row as usize >= segment.rows {
                    return Err(segment.outside());
                }
                if all || self.accept.row(row) {
                    marks[row as usize / 64] |= 1 << (row % 64);
                }
            }
        }
        let ids = segment.ids();
        for (word, first) in marks.iter_mut().zip((0_u32..).step_by(64)) {
            let mut left = std::mem::take(word);
            while left != 0 && hits.len() < count {
                let row = first + left.trailing_zeros();
                left &= left - 1;
                let id = ids.map_or(u64::from(row), |ids| ids[row as usize]);
                hits.push(Hit { distance, id });
            }
        }
        Ok(())
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
