//! What all searches share: hits, how far a search goes, and which rows may be hits. `flat/`, `search/` and `index/` use it, so that
//! they need not know each other. How hits are found is theirs.

use std::ops::Index;

use roaring::RoaringBitmap;
use serde::Serialize;

/// An item that a search found. Hits are ordered by distance, then by id.
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

/// The hits of many queries in one vector, the list of one query after that of the one before it.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0011, 0b1111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let lists = Index::open(&dir)?.within_batch_flat(&set.codes, 2)?;
/// assert_eq!((lists.len(), lists.offsets()), (3, &[0, 2, 5, 7][..]));
/// assert_eq!((lists[2][0].distance, lists[2][0].id), (0, 2));
/// assert_eq!((lists[2][1].distance, lists[2][1].id), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HitLists {
    hits: Vec<Hit>,
    offsets: Vec<usize>,
}

impl HitLists {
    /// The number of lists, which is that of the queries.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lists one by one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[Hit]> {
        (0..self.len()).map(|query| &self[query])
    }

    /// The hits of all queries.
    pub fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// Where the list of each query starts in [`hits`](Self::hits), and where the last one ends: one number more than queries.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The hits and the offsets.
    pub fn into_parts(self) -> (Vec<Hit>, Vec<usize>) {
        (self.hits, self.offsets)
    }

    /// Adds a list, which `append` appends to the hits.
    pub(crate) fn push_with<E>(
        &mut self,
        append: impl FnOnce(&mut Vec<Hit>) -> Result<(), E>,
    ) -> Result<(), E> {
        append(&mut self.hits)?;
        self.offsets.push(self.hits.len());
        Ok(())
    }

    /// The lists of some after those of others.
    pub(crate) fn concat(some: &[Self]) -> Self {
        let (hits, lists) = (some.iter().map(|some| some.hits.len()), some.iter().map(Self::len));
        let mut all = Self {
            hits: Vec::with_capacity(hits.sum()),
            offsets: Vec::with_capacity(1 + lists.sum::<usize>()),
        };
        all.offsets.push(0);
        for Self { hits, offsets } in some {
            let first = all.hits.len();
            all.hits.extend_from_slice(hits);
            all.offsets.extend(offsets[1..].iter().map(|offset| first + offset));
        }
        all
    }
}

impl Default for HitLists {
    /// No list.
    fn default() -> Self {
        Self { hits: Vec::new(), offsets: vec![0] }
    }
}

impl Index<usize> for HitLists {
    type Output = [Hit];

    /// The hits of a query.
    ///
    /// # Panics
    /// Panics if there is no such query, as slices do.
    fn index(&self, query: usize) -> &[Hit] {
        &self.hits[self.offsets[query]..self.offsets[query + 1]]
    }
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
    /// The rows that a filter selects, if there is one.
    pub(crate) wanted: Option<&'a RoaringBitmap>,
}

impl Accept<'_> {
    /// Whether every row may be a hit.
    #[inline]
    pub(crate) fn all(self) -> bool {
        self.deleted.is_none() && self.wanted.is_none()
    }

    /// Whether this row may be a hit.
    #[inline]
    pub(crate) fn row(self, row: u32) -> bool {
        self.wanted.is_none_or(|wanted| wanted.contains(row))
            && self.deleted.is_none_or(|deleted| !deleted.contains(row))
    }
}
