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
    if let Data::Segment(segment) = &component.data
        && segment.ids().is_none()
    {
        // The ids are the numbers of the rows: those below 2^32, of which the segment has the first.
        let low = ids.bitmaps().find(|(high, _)| *high == 0);
        let mut rows = low.map(|(_, low)| low.clone()).unwrap_or_default();
        rows.remove_range(component.rows() as u32..);
        return rows;
    }
    if (ids.len() as usize) < component.rows() / ROWS_PER_LOOKUP {
        return ids.iter().filter_map(|id| component.row(id)).map(|row| row as u32).collect();
    }
    // Rows and ids are passed through side by side.
    let mut wanted = ids.iter().peekable();
    let is_wanted = |row: &u32| {
        let id = component.id(*row as usize);
        while wanted.next_if(|wanted| *wanted < id).is_some() {}
        wanted.peek() == Some(&id)
    };
    (0..component.rows() as u32).filter(is_wanted).collect()
}
