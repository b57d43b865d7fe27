//! What all searches share: a hit, how far a search goes, and which rows may be hits. `flat/`, `search/` and `index/` use it, so that they need not know one another.

use roaring::RoaringBitmap;
use serde::Serialize;

/// A neighbour. Ordered by distance, then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Hit {
    /// Hamming distance to the query.
    pub distance: u32,
    /// The item.
    pub id: u64,
}

/// How far a search goes: to the `k` nearest items, to all within `radius`, or to whichever is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) k: usize,
    pub(crate) radius: u32,
}

impl Bound {
    pub(crate) fn nearest(k: usize) -> Self {
        Self { k, radius: u32::MAX }
    }

    pub(crate) fn within(radius: u32) -> Self {
        Self { k: usize::MAX, radius }
    }
}

/// Which rows of a part are looked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Accept<'a> {
    /// Not these.
    pub(crate) deleted: Option<&'a RoaringBitmap>,
    /// Only these.
    pub(crate) wanted: Option<&'a RoaringBitmap>,
}

impl Accept<'_> {
    /// Whether every row is.
    #[inline]
    pub(crate) fn all(self) -> bool {
        self.deleted.is_none() && self.wanted.is_none()
    }

    /// Whether this row is.
    #[inline]
    pub(crate) fn row(self, row: u32) -> bool {
        self.wanted.is_none_or(|wanted| wanted.contains(row))
            && self.deleted.is_none_or(|deleted| !deleted.contains(row))
    }
}
