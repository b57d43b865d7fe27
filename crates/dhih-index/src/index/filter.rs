//! `Filter`: which items are searched, by their labels and their ids. Searches among them: `selection.rs`.

use std::collections::{BTreeMap, BTreeSet};

use roaring::{MultiOps, RoaringBitmap, RoaringTreemap};

use crate::codes::labels::Label;
use crate::index::component::{Component, Data};

/// A segment keeps the rows of each label if it has at most this many labels; with more, each selection by labels reads all labels.
const MAX_LABELS_KEPT: usize = 1 << 16;
/// Ids are looked up one by one if they are fewer than one in this many of the rows; otherwise all rows are passed through.
const ROWS_PER_LOOKUP: usize = 16;

/// Which items are searched: all of them, except those that its methods exclude.
///
/// ```
/// let filter = dhih_index::Filter::default().labels([3, 5]).ids(100..200).not_ids([150]);
/// # let _ = filter;
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    labels: Option<BTreeSet<i64>>,
    ids: Option<RoaringTreemap>,
    excluded: RoaringTreemap,
}

impl Filter {
    /// Only the items with these ids, which are already in a bitmap.
    ///
    /// ```
    /// use dhih_index::{Filter, RoaringTreemap};
    ///
    /// let ids = RoaringTreemap::from_iter([1, 5, 1 << 40]);
    /// assert_eq!(Filter::of_ids(ids), Filter::default().ids([5, 1 << 40, 1]));
    /// ```
    pub fn of_ids(ids: RoaringTreemap) -> Self {
        Self { ids: Some(ids), ..Self::default() }
    }

    /// All items except those with these ids, which are already in a bitmap.
    ///
    /// ```
    /// use dhih_index::{Filter, RoaringTreemap};
    ///
    /// let ids = RoaringTreemap::from_iter([1, 5, 1 << 40]);
    /// assert_eq!(Filter::all_but(ids), Filter::default().not_ids([5, 1 << 40, 1]));
    /// ```
    pub fn all_but(ids: RoaringTreemap) -> Self {
        Self { excluded: ids, ..Self::default() }
    }

    /// Only items with one of these labels, which are numbers of classes. Replaces the labels of an earlier call.
    #[must_use]
    pub fn labels(self, labels: impl IntoIterator<Item = i64>) -> Self {
        Self { labels: Some(labels.into_iter().collect()), ..self }
    }

    /// Only items with one of these ids. Replaces the ids of an earlier call.
    #[must_use]
    pub fn ids(self, ids: impl IntoIterator<Item = u64>) -> Self {
        Self { ids: Some(ids.into_iter().collect()), ..self }
    }

    /// Only items with none of these ids, nor of those of an earlier call.
    #[must_use]
    pub fn not_ids(self, ids: impl IntoIterator<Item = u64>) -> Self {
        let mut excluded = self.excluded;
        excluded.extend(ids);
        Self { excluded, ..self }
    }

    /// The rows of a component that pass the filter, without those that were removed.
    pub(crate) fn rows(&self, component: &Component) -> RoaringBitmap {
        let mut rows = match (&self.labels, &self.ids) {
            (None, None) => {
                let mut all = RoaringBitmap::new();
                all.insert_range(0..component.rows() as u32);
                all
            }
            (Some(labels), None) => rows_with_labels(labels, component),
            (None, Some(ids)) => rows_with_ids(ids, component),
            (Some(labels), Some(ids)) => {
                let rows = rows_with_ids(ids, component).into_iter();
                rows.filter(|&row| has_label(labels, component, row)).collect()
            }
        };
        if !self.excluded.is_empty() {
            rows -= rows_with_ids(&self.excluded, component);
        }
        rows - &*component.tombstones
    }
}

/// The rows with one of some labels.
fn rows_with_labels(labels: &BTreeSet<i64>, component: &Component) -> RoaringBitmap {
    if let Data::Segment(segment) = &component.data
        && let Some(by_label) = segment.by_label.get_or_init(|| rows_by_label(component))
    {
        return labels.iter().filter_map(|label| by_label.get(label)).union();
    }
    (0..component.rows() as u32).filter(|&row| has_label(labels, component, row)).collect()
}

/// Whether a row has one of some labels.
fn has_label(labels: &BTreeSet<i64>, component: &Component, row: u32) -> bool {
    match component.label(row as usize) {
        Some(Label::Single(label)) => labels.contains(&label),
        Some(Label::MultiHot(columns)) => labels.iter().any(|&label| {
            usize::try_from(label).is_ok_and(|at| columns.get(at).is_some_and(|&x| x != 0))
        }),
        None => false,
    }
}

/// The rows with each label; `None` if there are too many labels to keep them.
fn rows_by_label(component: &Component) -> Option<BTreeMap<i64, RoaringBitmap>> {
    let mut rows: BTreeMap<i64, RoaringBitmap> = BTreeMap::new();
    let mut add = |label: i64, row: usize| {
        rows.entry(label).or_default().insert(row as u32);
        rows.len() <= MAX_LABELS_KEPT
    };
    for row in 0..component.rows() {
        let fits = match component.label(row) {
            Some(Label::Single(label)) => add(label, row),
            Some(Label::MultiHot(columns)) => {
                let labels = (0..).zip(columns).filter(|(_, column)| **column != 0);
                labels.fold(true, |_, (label, _)| add(label, row))
            }
            None => true,
        };
        if !fits {
            return None;
        }
    }
    Some(rows)
}

/// The rows with one of some ids. Rows ascend by id.
fn rows_with_ids(ids: &RoaringTreemap, component: &Component) -> RoaringBitmap {
    match &component.data {
        Data::Segment(segment) => match segment.ids() {
            Some(of_rows) => places_of_ids(ids, of_rows),
            None => {
                // The ids are the numbers of the rows: those below 2^32, of which the segment has the first.
                let low = ids.bitmaps().find(|(high, _)| *high == 0);
                let mut rows = low.map(|(_, low)| low.clone()).unwrap_or_default();
                rows.remove_range(segment.rows as u32..);
                rows
            }
        },
        Data::MemTable(table) if is_worth_looking_up(ids.len(), table.len()) => {
            ids.iter().filter_map(|id| table.row(id)).map(|row| row as u32).collect()
        }
        Data::MemTable(table) => {
            side_by_side(ids.iter(), (0..).zip(table.iter().map(|(id, ..)| id)))
        }
    }
}

/// Where some ids are in a list of ascending ids.
fn places_of_ids(ids: &RoaringTreemap, list: &[u64]) -> RoaringBitmap {
    let (Some(&first), Some(&last)) = (list.first(), list.last()) else {
        return RoaringBitmap::new();
    };
    let mut wanted = ids.iter();
    wanted.advance_to(first);
    let wanted = wanted.take_while(|&id| id <= last);
    if last.checked_sub(first) == Some(list.len() as u64 - 1) {
        // The list has no gaps.
        return wanted.map(|id| (id - first) as u32).collect();
    }
    if is_worth_looking_up(ids.len(), list.len()) {
        let mut from = 0;
        return wanted
            .filter_map(|id| {
                from += list[from..].partition_point(|&of| of < id);
                (list.get(from) == Some(&id)).then_some(from as u32)
            })
            .collect();
    }
    side_by_side(wanted, (0..).zip(list.iter().copied()))
}

/// Whether so many ids are looked up one by one, instead of passing through all rows.
fn is_worth_looking_up(ids: u64, rows: usize) -> bool {
    (ids as usize) < rows / ROWS_PER_LOOKUP
}

/// The rows whose ids are wanted. Both iterators ascend by id.
fn side_by_side(
    wanted: impl Iterator<Item = u64>,
    rows: impl Iterator<Item = (u32, u64)>,
) -> RoaringBitmap {
    let mut wanted = wanted.peekable();
    let is_wanted = |&(_, id): &(u32, u64)| {
        while wanted.next_if(|wanted| *wanted < id).is_some() {}
        wanted.peek() == Some(&id)
    };
    rows.filter(is_wanted).map(|(row, _)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ids_are_found_where_they_are(
            ids in prop::collection::btree_set(0..200_u64, 0..60),
            list in prop::collection::btree_set(0..200_u64, 0..200),
            base in prop::sample::select(vec![0_u64, 40, u64::from(u32::MAX) - 100, u64::MAX - 200]),
        ) {
            let moved = |set: &BTreeSet<u64>| -> Vec<u64> { set.iter().map(|id| id + base).collect() };
            let (ids, list) = (moved(&ids), moved(&list));
            let expected: Vec<u32> =
                (0..).zip(&list).filter(|(_, id)| ids.contains(id)).map(|(row, _)| row).collect();
            let wanted: RoaringTreemap = ids.iter().copied().collect();
            prop_assert_eq!(places_of_ids(&wanted, &list).iter().collect::<Vec<_>>(), &expected[..]);
            // The same list without gaps.
            let Some((&first, &last)) = list.first().zip(list.last()) else { return Ok(()) };
            let dense: Vec<u64> = (first..=last).collect();
            let expected: Vec<u32> =
                (0..).zip(&dense).filter(|(_, id)| ids.contains(id)).map(|(row, _)| row).collect();
            prop_assert_eq!(places_of_ids(&wanted, &dense).iter().collect::<Vec<_>>(), expected);
        }
    }
}
