//! The pairs of the items of tables with one another. Every bucket is compared with itself and with the near buckets of greater values, so
//! that no item is looked up and each two buckets meet once.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::{Found, PORTION, Scratch, TASK, Table, Tables, portion_len};
use crate::hamming::{self, CodeRange, Near, NearRequest};
use crate::table::probe::Masks;

/// Places of a table between two reports of progress.
const ROUND: usize = if cfg!(test) { 100 } else { 1 << 19 };

/// Pairs that are wanted of the items of tables with one another.
#[derive(Debug, Clone, Copy)]
pub(in crate::pairs) struct Wanted {
    pub(in crate::pairs) radius: u32,
    /// The most pairs that may be found.
    pub(in crate::pairs) most: usize,
}

impl Tables {
    /// The pairs of the items with one another, in no order; `None` where they are more than may be found. The items are all of the join.
    /// `progress` is called now and then with the share of the work that is done.
    ///
    /// # Errors
    /// Those of `progress`.
    pub(in crate::pairs) fn find_within<E>(
        &self,
        wanted: Wanted,
        mut progress: impl FnMut(f64) -> Result<(), E>,
    ) -> Result<Option<Vec<Found>>, E> {
        debug_assert_eq!(self.block.first, 0);
        let (count, items) = (AtomicUsize::new(0), self.block.len());
        let mut found: Vec<Vec<Found>> = Vec::new();
        for table in 0..self.tables.len() {
            let search = WithinSearch { tables: self, table, wanted, count: &count };
            for first in (0..items).step_by(ROUND) {
                let end = items.min(first + ROUND);
                let tasks = (first..end).into_par_iter().step_by(TASK);
                let task = |scratch: &mut Scratch, first: usize| {
                    let mut found = Vec::new();
                    // The search stops if there are too many pairs.
                    let _ = search.places(first..end.min(first + TASK), scratch, &mut found);
                    found
                };
                let tasks = tasks.map_init(Scratch::default, task);
                found.par_extend(tasks.filter(|found| !found.is_empty()));
                if count.load(Ordering::Relaxed) > wanted.most {
                    return Ok(None);
                }
                let done = table as f64 + end as f64 / items as f64;
                progress(done / self.tables.len() as f64)?;
            }
        }
        Ok(Some(found.concat()))
    }
}

impl Table {
    /// The value whose bucket has a place.
    fn value_at(&self, place: u32) -> u32 {
        self.ends.partition_point(|&end| end <= place) as u32
    }

    /// The near buckets of greater values than `value`, cut into pieces of at most `most` codes.
    fn buckets_behind(&self, value: u32, most: u32, out: &mut Vec<CodeRange>) {
        for weight in 1..=self.weight.min(self.bits) {
            for mask in Masks::new(self.bits, weight).filter(|mask| value ^ mask > value) {
                self.cut(value ^ mask, most, out);
            }
        }
    }
}

/// A search of the items of one table for pairs with one another.
struct WithinSearch<'a> {
    tables: &'a Tables,
    table: usize,
    wanted: Wanted,
    /// The pairs that all threads have found.
    count: &'a AtomicUsize,
}

/// Consecutive items of a bucket, which are compared with the items behind them.
struct Group {
    places: Range<u32>,
    /// The end of their bucket.
    end: u32,
}

impl WithinSearch<'_> {
    fn table(&self) -> &Table {
        &self.tables.tables[self.table]
    }

    /// Finds the pairs of the items at some places with the items behind them in their buckets, and in the near buckets of greater values.
    /// `None` where all pairs together are too many.
    fn places(
        &self,
        places: Range<usize>,
        scratch: &mut Scratch,
        found: &mut Vec<Found>,
    ) -> Option<()> {
        let table = self.table();
        let most = (PORTION / table.width).max(1) as u32;
        let (mut place, last) = (places.start as u32, places.end as u32);
        let mut value = table.value_at(place);
        self.look_ahead(value, most, scratch);
        while place < last {
            let end = table.ends[value as usize];
            let group = Group { places: place..end.min(last), end };
            std::mem::swap(&mut scratch.buckets, &mut scratch.next_buckets);
            place = group.places.end;
            if place < last {
                // The next value that has a bucket.
                value += 1;
                while table.ends[value as usize] == place {
                    value += 1;
                }
                self.look_ahead(value, most, scratch);
            }
            let before = found.len();
            self.own_bucket(&group, most, scratch, found);
            self.near_buckets(&group, most, scratch, found);
            let new = found.len() - before;
            if new > 0 && self.count.fetch_add(new, Ordering::Relaxed) + new > self.wanted.most {
                return None;
            }
        }
        Some(())
    }

    /// The near buckets of a value are on their way into the cache while those of the value before it are searched.
    fn look_ahead(&self, value: u32, most: u32, scratch: &mut Scratch) {
        scratch.next_buckets.clear();
        if self.table().weight > 0 {
            self.table().buckets_behind(value, most, &mut scratch.next_buckets);
            self.table().prefetch(&scratch.next_buckets);
        }
    }

    /// The pairs of a group with the items behind each in their own bucket.
    fn own_bucket(&self, group: &Group, most: u32, scratch: &mut Scratch, found: &mut Vec<Found>) {
        let (table, Group { places, end }) = (self.table(), group);
        let mut start = places.start + 1;
        while start < *end {
            let stop = start.saturating_add(most).min(*end);
            for place in places.start..places.end.min(stop - 1) {
                let range = CodeRange { start: start.max(place + 1), end: stop };
                self.compare(place, &table.codes, range, &mut scratch.near);
                for Near { at, distance } in scratch.near.drain(..) {
                    self.keep([place, at], distance, found);
                }
            }
            start = stop;
        }
    }

    /// The pairs of a group with the items of near buckets.
    fn near_buckets(
        &self,
        group: &Group,
        most: u32,
        scratch: &mut Scratch,
        found: &mut Vec<Found>,
    ) {
        let Scratch { buckets, near, gathered, .. } = scratch;
        let mut rest = &buckets[..];
        while !rest.is_empty() {
            let pieces;
            (pieces, rest) = rest.split_at(portion_len(rest, most));
            let portion = gathered.gather(self.table(), pieces);
            for place in group.places.clone() {
                self.compare(place, portion.codes, portion.range, near);
                for Near { at, distance } in near.drain(..) {
                    self.keep([place, portion.place(at)], distance, found);
                }
            }
        }
    }

    #[inline]
    fn compare(&self, place: u32, codes: &[u8], range: CodeRange, near: &mut Vec<Near>) {
        let (query, ranges) = (self.table().code(place), std::slice::from_ref(&range));
        let limit = self.wanted.radius;
        hamming::collect_near(&NearRequest { query, codes, ranges, limit }, near);
    }

    /// Keeps the pair of two places, unless an earlier table finds it too.
    fn keep(&self, places: [u32; 2], distance: u32, found: &mut Vec<Found>) {
        let table = self.table();
        let [a, b] = places.map(|place| table.code(place));
        if !self.tables.is_found_before(self.table, a, b) {
            let mut rows = places.map(|place| table.rows[place as usize]);
            rows.sort_unstable();
            let right = self.tables.block.ids[rows[1] as usize];
            found.push(Found { left: rows[0], right, distance });
        }
    }
}
