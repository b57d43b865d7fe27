//! The codes that a search has found so far in a segment, by distance, with the number of their items. The greatest distance that still
//! matters is therefore known at any moment. `step.rs` and `buckets.rs` find the codes.

use std::slice;

use crate::error::Result;
use crate::hits::{Accept, Bound, FoundRows, Hit};
use crate::search::row_bits::RowBitset;
use crate::store::segment::Segment;
use crate::table::postings::RowBuffer;

/// The rows at one distance are put in order by a bitset instead of by sorting if there are at least this many of them, ...
const BITSET_MIN_ROWS: usize = 64;
/// ... and at least one for this many rows of the segment: the time that a bitset takes grows with both numbers.
const BITSET_ROWS_PER_ROW: usize = 1 << 15;

/// The codes found so far. Its memory is kept from one search to the next.
#[derive(Debug, Default)]
pub(crate) struct HitCollector {
    k: u64,
    radius: u32,
    limit: u32,
    /// The numbers of the codes at each distance.
    codes: Vec<Vec<u32>>,
    /// How many items these codes have, at each distance and in total up to the limit. Not counted if all items are wanted.
    items: Vec<u64>,
    items_within_limit: u64,
    /// Whether something may have been added since it was cleared.
    in_use: bool,
    /// For how many codes the lists have memory, as of when they were cleared.
    capacity: usize,
}

/// Puts the rows of the codes found in order. Its memory is kept from one search to the next.
#[derive(Debug, Default)]
pub(crate) struct RowSorter {
    /// The rows of the items, distance by distance, and where those of each distance end.
    rows: RowBuffer,
    ends: Vec<usize>,
    row_bits: RowBitset,
}

impl RowSorter {
    /// Bytes of memory that it holds, without the row bitset.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// Frees memory until at most `bytes` bytes are left, without the row bitset.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.rows.shrink_to(bytes);
    }
}

impl HitCollector {
    /// Begins a search among codes of `bits` bits.
    pub(crate) fn begin(&mut self, bound: Bound, bits: u32) {
        self.clear();
        self.k = bound.k as u64;
        self.radius = bound.radius.min(bits);
        self.limit = self.radius;
        self.items.resize(bits as usize + 1, 0);
        self.codes.resize_with(bits as usize + 1, Vec::new);
        self.in_use = true;
    }

    /// Removes the codes from a distance on, but keeps the limit that they led to: the hits of the search are known to be within it.
    pub(crate) fn forget_from(&mut self, distance: u32) {
        self.radius = self.limit;
        let from = self.codes.len().min(distance as usize);
        self.codes[from..].iter_mut().for_each(Vec::clear);
        self.items[from..].fill(0);
        let within = from.min(self.limit as usize + 1);
        self.items_within_limit = self.items[..within].iter().sum();
    }

    /// Removes everything but keeps the memory.
    pub(crate) fn clear(&mut self) {
        if self.in_use {
            self.items.fill(0);
            self.items_within_limit = 0;
            self.capacity = 0;
            for codes in &mut self.codes {
                codes.clear();
                self.capacity += codes.capacity();
            }
            self.in_use = false;
        }
    }

    /// The bytes of memory that its lists hold after it was cleared.
    pub(crate) fn bytes(&self) -> usize {
        debug_assert_eq!(self.capacity, self.codes.iter().map(Vec::capacity).sum::<usize>());
        4 * self.capacity
    }

    /// As [`bytes`](Self::bytes), with the bytes of the lists themselves.
    pub(crate) fn bytes_in_all(&self) -> usize {
        self.bytes() + (size_of::<Vec<u32>>() + size_of::<u64>()) * self.codes.capacity()
    }

    /// Frees memory until its lists hold at most `bytes` bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.clear();
        let per_list = bytes / self.codes.len().max(1);
        self.capacity = 0;
        for codes in &mut self.codes {
            codes.shrink_to(per_list / 4);
            self.capacity += codes.capacity();
        }
    }

    /// How far the search still goes.
    pub(crate) fn bound(&self) -> Bound {
        Bound { k: usize::try_from(self.k).unwrap_or(usize::MAX), radius: self.limit }
    }

    /// The greatest distance at which a code still matters.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// The share of the wanted items that were found within a distance.
    pub(crate) fn share_within(&self, distance: u32) -> f64 {
        let within = self.items.len().min(distance as usize + 1);
        self.items[..within].iter().sum::<u64>() as f64 / self.k as f64
    }

    /// Whether all items within the radius are wanted: then codes need not be counted as they are found.
    #[inline]
    pub(crate) fn takes_all(&self) -> bool {
        self.k == u64::MAX
    }

    /// Adds a code within the limit if all items are wanted.
    #[inline]
    pub(crate) fn add_uncounted(&mut self, distance: u32, code: u32) {
        self.codes[distance as usize].push(code);
    }

    /// Adds a code within the limit, with the number of its items that are wanted.
    #[inline]
    pub(crate) fn add(&mut self, distance: u32, code: u32, items: usize) {
        self.codes[distance as usize].push(code);
        self.items[distance as usize] += items as u64;
        self.items_within_limit += items as u64;
        self.fit_limit();
    }

    /// Adds what another collector of the same search found among other codes. The limit is that of both together.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.lower_limit(other.limit);
        for distance in 0..=self.limit as usize {
            self.codes[distance].extend_from_slice(&other.codes[distance]);
            self.items[distance] += other.items[distance];
            self.items_within_limit += other.items[distance];
        }
        self.fit_limit();
    }

    /// Learns that no code beyond a distance matters.
    pub(crate) fn lower_limit(&mut self, limit: u32) {
        while self.limit > limit {
            self.items_within_limit -= self.items[self.limit as usize];
            self.limit -= 1;
        }
    }

    /// Lowers the limit while the items below it are enough.
    #[inline]
    fn fit_limit(&mut self) {
        while self.limit > 0 && self.items_within_limit - self.items[self.limit as usize] >= self.k
        {
            self.items_within_limit -= self.items[self.limit as usize];
            self.limit -= 1;
        }
    }

    /// Appends the items to `out`, by distance, then id.
    pub(crate) fn append_hits(
        &mut self,
        segment: &Segment,
        accept: Accept,
        sorter: &mut RowSorter,
        out: &mut Vec<Hit>,
    ) -> Result<()> {
        self.collect_rows(segment, accept, sorter)?;
        let k = usize::try_from(self.k).unwrap_or(usize::MAX);
        let RowSorter { rows, ends, row_bits } = sorter;
        let (codes, rows) = (&self.codes[..=self.limit as usize], rows.rows());
        if rows.iter().fold(false, |any, &row| any | (row as usize >= segment.rows)) {
            return Err(segment.outside());
        }
        segment.request_ids(rows);
        out.reserve(rows.len().min(k));
        let (mut hits, mut start) = (Hits { first: out.len(), out, ids: segment.ids() }, 0);
        for ((distance, codes), &end) in (0..).zip(codes).zip(&*ends) {
            let rows = &mut rows[start..end];
            start = end;
            // The rows of one code are in order already.
            if codes.len() <= 1 {
                hits.append(distance, rows, end.min(k));
            } else if rows.len() >= BITSET_MIN_ROWS.max(segment.rows / BITSET_ROWS_PER_ROW) {
                row_bits.reserve(segment.rows);
                row_bits.set(rows);
                row_bits.drain(|rows| hits.append(distance, rows, end.min(k)));
            } else {
                rows.sort_unstable();
                hits.append(distance, rows, end.min(k));
            }
        }
        Ok(())
    }

    /// Writes down the rows of the codes, distance by distance, and where those of each distance end.
    fn collect_rows(
        &mut self,
        segment: &Segment,
        accept: Accept,
        sorter: &mut RowSorter,
    ) -> Result<()> {
        let Self { k, limit, codes, .. } = self;
        let RowSorter { rows, ends, .. } = sorter;
        let (postings, k) = (segment.postings(), usize::try_from(*k).unwrap_or(usize::MAX));
        ends.clear();
        rows.clear();
        let codes = &mut codes[..=*limit as usize];
        segment.request_rows(codes);
        for codes in codes {
            // The posting lists are read faster in the order in which they lie in memory. A scan finds codes in that order.
            if !codes.is_sorted() {
                codes.sort_unstable();
            }
            // The rows of a code ascend by id, so that the first ones of each code are enough.
            let most = k.saturating_sub(rows.len());
            if accept.all() {
                postings.write(codes, most, rows).ok_or_else(|| segment.outside())?;
            } else {
                for &code in &*codes {
                    let of_code = segment.rows_of(code)?.iter().copied();
                    rows.extend(of_code.filter(|&row| accept.row(row)).take(most));
                    // A row belongs to one code.
                    if rows.len() > segment.rows {
                        return Err(segment.outside());
                    }
                }
            }
            ends.push(rows.len());
        }
        Ok(())
    }

    /// The number of items of a search that wants all of them.
    pub(crate) fn count(&self, segment: &Segment, accept: Accept) -> Result<usize> {
        debug_assert!(self.takes_all());
        let (postings, mut count) = (segment.postings(), 0);
        segment.request_rows(&self.codes);
        for &code in self.codes.iter().flatten() {
            count += if accept.all() {
                postings.count(code).ok_or_else(|| segment.outside())?
            } else {
                segment.rows_of(code)?.iter().filter(|&&row| accept.row(row)).count()
            };
        }
        // A row belongs to one code.
        if count > segment.rows { Err(segment.outside()) } else { Ok(count) }
    }

    /// Calls `visit` with the items of a search that wants all of them, some at a time: by distance, but in no order among equal
    /// distances.
    pub(crate) fn for_each(
        &self,
        segment: &Segment,
        accept: Accept,
        visit: &mut dyn FnMut(FoundRows),
    ) -> Result<()> {
        debug_assert!(self.takes_all());
        let (ids, mut count) = (segment.ids(), 0);
        segment.request_rows(&self.codes);
        for (distance, codes) in (0..).zip(&self.codes) {
            for &code in codes {
                let rows = segment.rows_of(code)?;
                count += rows.len();
                // A row belongs to one code, and has an id.
                let outside =
                    rows.iter().fold(false, |any, &row| any | (row as usize >= segment.rows));
                if outside || count > segment.rows {
                    return Err(segment.outside());
                }
                if accept.all() {
                    visit(FoundRows { distance, rows, ids });
                    continue;
                }
                for row in rows.iter().filter(|row| accept.row(**row)) {
                    visit(FoundRows { distance, rows: slice::from_ref(row), ids });
                }
            }
        }
        Ok(())
    }
}

/// Hits that are being written down.
struct Hits<'a> {
    out: &'a mut Vec<Hit>,
    /// How many hits of other searches are before them.
    first: usize,
    /// The id of each row; `None` if it is the row's own number.
    ids: Option<&'a [u64]>,
}

impl Hits<'_> {
    /// Appends rows until there are `most` hits.
    fn append(&mut self, distance: u32, rows: &[u32], most: usize) {
        let rows = &rows[..rows.len().min(self.first + most - self.out.len())];
        let id = |&row: &u32| Hit { distance, id: u64::from(row) };
        match self.ids {
            None => self.out.extend(rows.iter().map(id)),
            Some(ids) => {
                self.out.extend(rows.iter().map(|&row| Hit { distance, id: ids[row as usize] }))
            }
        }
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
            for bound in [Bound::nearest_within(k, radius), Bound::nearest(k), Bound::within(radius)] {
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
