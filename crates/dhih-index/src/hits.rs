//! Types that all searches share: hits, how far a search goes, when it stops, and which rows may be hits. `flat/`, `search/` and `index/`
//! use them, so that they need not know one another. Nothing here finds hits.

use std::time::Instant;

use roaring::RoaringBitmap;

use crate::chosen_codes::ChosenCodes;
use serde::Serialize;

/// An item that a search found. Hits are ordered by distance, then by id.
///
/// ```
/// use dhih_index::Hit;
///
/// let mut hits = [Hit::new(3, 1), Hit::new(2, 9), Hit::new(2, 4)];
/// hits.sort();
/// assert_eq!(hits.map(|hit| hit.id), [4, 9, 1]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub struct Hit {
    /// Hamming distance of the item's code to the query.
    pub distance: u32,
    /// The item's id.
    pub id: u64,
}

impl Hit {
    /// The item `id` at this distance.
    pub fn new(distance: u32, id: u64) -> Self {
        Self { distance, id }
    }
}

/// An item that was rescored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RescoredHit {
    /// How similar its vector is to the query's.
    pub similarity: f32,
    /// Hamming distance of its code to the query's.
    pub distance: u32,
    /// Its id.
    pub id: u64,
}

/// How far a search goes: to the `k` nearest items, to all items within `radius`, or to the `k` nearest of those within `radius`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    /// `usize::MAX` if all items within the radius are wanted.
    pub(crate) k: usize,
    pub(crate) radius: u32,
}

impl Bound {
    /// The `k` nearest items.
    pub(crate) fn nearest(k: usize) -> Self {
        Self { k, radius: u32::MAX }
    }

    /// All items within a radius.
    pub(crate) fn within(radius: u32) -> Self {
        Self { k: usize::MAX, radius }
    }

    /// The `k` nearest of the items within a radius.
    pub(crate) fn nearest_within(k: usize, radius: u32) -> Self {
        Self { k, radius }
    }
}

/// When a search stops, whatever it has found by then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(pub(crate) Instant);

impl Deadline {
    /// Whether the search has to stop.
    #[inline]
    pub(crate) fn is_past(self) -> bool {
        #[cfg(test)]
        if let Some(past) = countdown::next() {
            return past;
        }
        Instant::now() >= self.0
    }
}

/// Deadlines of this thread that are past after a number of checks. Tests use them to stop a search at every possible place.
#[cfg(test)]
pub(crate) mod countdown {
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Lets deadlines be past after this number of checks. With `None`, the clock decides again.
    pub(crate) fn set(looks: Option<u32>) {
        LEFT.set(looks);
    }

    /// Counts a check, and says whether the deadline is past; `None` if the clock decides.
    pub(super) fn next() -> Option<bool> {
        let left = LEFT.get()?;
        LEFT.set(Some(left.saturating_sub(1)));
        Some(left == 0)
    }
}

/// How far a search has come: all codes within its radius and nearer than this were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reach(pub(crate) u32);

impl Reach {
    /// A search that has not begun.
    pub(crate) const NOTHING: Self = Self(0);
    /// A search that has come to its end.
    pub(crate) const ALL: Self = Self(u32::MAX);
}

/// Rows of a component that a search found at one distance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundRows<'a> {
    pub(crate) distance: u32,
    pub(crate) rows: &'a [u32],
    /// The id of each row of the component; `None` if it is the row's own number.
    pub(crate) ids: Option<&'a [u64]>,
}

impl FoundRows<'_> {
    /// Visits the items of the rows.
    #[inline]
    pub(crate) fn for_each(self, mut visit: impl FnMut(Hit)) {
        let Self { distance, rows, ids } = self;
        match ids {
            None => rows.iter().for_each(|&row| visit(Hit { distance, id: u64::from(row) })),
            Some(ids) => {
                rows.iter().for_each(|&row| visit(Hit { distance, id: ids[row as usize] }))
            }
        }
    }
}

/// Which rows of a component may be hits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Accept<'a> {
    /// The rows that were removed, if any were.
    pub(crate) deleted: Option<&'a RoaringBitmap>,
    /// The rows that a filter selects, if there is one; none of them was removed.
    pub(crate) wanted: Option<&'a RoaringBitmap>,
    /// The codes of these rows; absent for a memtable, which has rows alone.
    pub(crate) codes: Option<&'a ChosenCodes>,
}

impl Accept<'_> {
    /// Whether every row may be a hit.
    #[inline]
    pub(crate) fn all(self) -> bool {
        self.deleted.is_none() && self.wanted.is_none()
    }

    /// Whether a code has rows that may be hits, as far as can be said without looking at them.
    #[inline(always)]
    pub(crate) fn code(self, number: u32) -> bool {
        self.codes.is_none_or(|codes| codes.has(number))
    }

    /// Whether this row may be a hit.
    #[inline]
    pub(crate) fn row(self, row: u32) -> bool {
        self.wanted.is_none_or(|wanted| wanted.contains(row))
            && self.deleted.is_none_or(|deleted| !deleted.contains(row))
    }
}
