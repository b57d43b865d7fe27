//! Listing: the ids of an index or of a selection page by page, ascending. The cost depends on the size of the page and not on that of the
//! index.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::index::Index;
use crate::index::component::{Component, Data};
use crate::index::selection::Selection;

impl Index {
    /// The ids of the items from `first` on, ascending, at most `most` of them.
    ///
    /// ```
    /// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("index");
    /// let set = CodeSet { ids: Some(vec![30, 10, 20]), ..CodeSet::new(Codes::new(8, vec![1, 2, 3])?) };
    /// IndexBuilder::default().build(&set, &dir)?;
    ///
    /// let index = Index::open(&dir)?;
    /// assert_eq!(index.ids_from(0, 2), [10, 20]);
    /// assert_eq!(index.ids_from(21, 2), [30]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ids_from(&self, first: u64, most: usize) -> Vec<u64> {
        let of = |component| Page { component, selected: None }.ids_from(first, most);
        merged(self.components.iter().map(of), most)
    }

    /// Whether this is the same snapshot: the same items in the same files. False if that cannot be determined, as for two handles that
    /// were opened separately.
    pub fn is_same_snapshot(&self, other: &Self) -> bool {
        let is_same = |(a, b): (&Component, &Component)| {
            let is_same_data = match (&a.data, &b.data) {
                (Data::Segment(a), Data::Segment(b)) => Arc::ptr_eq(a, b),
                (Data::MemTable(a), Data::MemTable(b)) => Arc::ptr_eq(a, b),
                _ => false,
            };
            is_same_data && Arc::ptr_eq(&a.tombstones, &b.tombstones)
        };
        self.components.len() == other.components.len()
            && self.components.iter().zip(&other.components).all(is_same)
    }
}

impl Selection {
    /// The ids of the items from `first` on, ascending, at most `most` of them.
    pub fn ids_from(&self, first: u64, most: usize) -> Vec<u64> {
        let of = |(component, selected)| Page { component, selected }.ids_from(first, most);
        merged(self.selected_rows().map(of), most)
    }
}

/// A component, of which some items are listed.
struct Page<'a> {
    component: &'a Component,
    /// The rows that may be listed; `None` stands for all that were not removed.
    selected: Option<&'a RoaringBitmap>,
}

impl Page<'_> {
    fn ids_from(&self, first: u64, most: usize) -> Vec<u64> {
        let start = self.component.first_row(first);
        let id = |row: usize| self.component.id(row);
        match self.selected {
            Some(rows) => {
                rows.range(start as u32..).take(most).map(|row| id(row as usize)).collect()
            }
            None => {
                let rows = start..self.component.rows();
                rows.filter(|&row| self.component.is_live(row)).take(most).map(id).collect()
            }
        }
    }
}

/// The least ids of several lists, of which no two share one.
fn merged(lists: impl Iterator<Item = Vec<u64>>, most: usize) -> Vec<u64> {
    let mut all: Vec<u64> = lists.flatten().collect();
    all.sort_unstable();
    all.truncate(most);
    all
}

#[cfg(test)]
mod tests {
    use crate::test_numbers::Numbers;
    use crate::{Batch, CodeSet, Codes, Filter, IndexBuilder, IndexWriter};

    #[test]
    fn pages_are_what_a_list_of_all_ids_has() {
        let dir = tempfile::tempdir().unwrap();
        let mut numbers = Numbers(5);
        let codes = |count: usize| Codes::new(16, vec![7; 2 * count]).unwrap();
        IndexBuilder::default().build(&CodeSet::new(codes(50)), dir.path()).unwrap();
        let mut writer = IndexWriter::open(dir.path()).unwrap();
        for round in 0..30 {
            let ids: Vec<u64> = (0..3).map(|i| 40 + 7 * round + i).collect();
            let set = CodeSet { ids: Some(ids), ..CodeSet::new(codes(3)) };
            let gone = numbers.below(60);
            writer.apply(&Batch::new().remove([gone]).upsert(set)).unwrap();
            let index = writer.snapshot();
            assert!(
                index.is_same_snapshot(&writer.snapshot())
                    && index.is_same_snapshot(&index.clone())
            );
            let all = index.ids();
            let odd: Vec<u64> = all.iter().copied().filter(|id| id % 2 == 1).collect();
            let chosen = index.select(&Filter::default().ids(odd.clone()));
            for first in [0, 1, 39, 40, 41, 100, 251, u64::MAX] {
                for most in [0, 1, 5, 1000] {
                    let page = |ids: &[u64]| -> Vec<u64> {
                        ids.iter().copied().filter(|&id| id >= first).take(most).collect()
                    };
                    assert_eq!(index.ids_from(first, most), page(&all));
                    assert_eq!(chosen.ids_from(first, most), page(&odd));
                }
            }
            writer.apply(&Batch::new().remove([40 + 7 * round])).unwrap();
            assert!(!index.is_same_snapshot(&writer.snapshot()));
        }
    }
}
