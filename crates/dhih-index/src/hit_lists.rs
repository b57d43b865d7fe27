//! The hits of many queries, one list each, without an allocation a query.

use std::ops::Index;

use crate::hits::Hit;

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

    /// The same lists, in which the given lists take the place of those with their numbers. The numbers ascend.
    pub(crate) fn filled(self, lists: &[(usize, Vec<Hit>)]) -> Self {
        let more = lists.iter().map(|(_, hits)| hits.len()).sum::<usize>();
        let (mut all, mut lists) = (Self::default(), lists.iter().peekable());
        all.hits.reserve(self.hits.len() + more);
        all.offsets.reserve(self.len());
        for (number, own) in self.iter().enumerate() {
            let given = lists.next_if(|(of, _)| *of == number);
            all.hits.extend_from_slice(given.map_or(own, |(_, hits)| hits));
            all.offsets.push(all.hits.len());
        }
        all
    }

    /// All lists of these, in their order.
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
