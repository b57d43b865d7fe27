//! Searches among some of the items: those with certain labels, or certain ids.

use std::collections::{BTreeMap, BTreeSet};

use roaring::{MultiOps, RoaringBitmap, RoaringTreemap};

use crate::codes::labels::Label;
use crate::index::component::{Component, Data};

/// Which items are looked for. All, until it is told otherwise; both at once must hold.
///
/// ```
/// let filter = dhih_index::Filter::default().labels([3, 5]).ids(100..200);
/// # let _ = filter;
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    labels: Option<BTreeSet<i64>>,
    ids: Option<RoaringTreemap>,
}

impl Filter {
    /// Only items with one of these labels: numbers of classes.
    #[must_use]
    pub fn labels(self, labels: impl IntoIterator<Item = i64>) -> Self {
        Self { labels: Some(labels.into_iter().collect()), ..self }
    }

    /// Only these items.
    #[must_use]
    pub fn ids(self, ids: impl IntoIterator<Item = u64>) -> Self {
        Self { ids: Some(ids.into_iter().collect()), ..self }
    }

    /// The rows of a part that it lets through; removed ones may be among them.
    pub(crate) fn rows(&self, part: &Component) -> RoaringBitmap {
        if let (Some(labels), None, Data::Segment(segment)) = (&self.labels, &self.ids, &part.data)
            && let Some(rows) = segment.by_label.get_or_init(|| by_label(part))
        {
            return labels.iter().filter_map(|label| rows.get(label)).union();
        }
        let labelled = |row: &usize| match &self.labels {
            None => true,
            Some(labels) => match part.label(*row) {
                Some(Label::Single(label)) => labels.contains(&label),
                Some(Label::MultiHot(columns)) => labels.iter().any(|&label| {
                    usize::try_from(label).is_ok_and(|at| columns.get(at).is_some_and(|&x| x != 0))
                }),
                None => false,
            },
        };
        let rows = |rows: &mut dyn Iterator<Item = usize>| -> RoaringBitmap {
            rows.filter(labelled).map(|row| row as u32).collect()
        };
        match &self.ids {
            None => rows(&mut (0..part.rows())),
            // Whichever is less to look at.
            Some(ids) if (ids.len() as usize) < part.rows() / 16 => {
                rows(&mut ids.iter().filter_map(|id| part.row(id)))
            }
            Some(ids) => rows(&mut (0..part.rows()).filter(|&row| ids.contains(part.id(row)))),
        }
    }
}

/// So many labels have their rows kept; with more, each search looks at all rows again.
const MOST_LABELS: usize = 1 << 16;

/// The rows of each label.
fn by_label(part: &Component) -> Option<BTreeMap<i64, RoaringBitmap>> {
    let mut rows: BTreeMap<i64, RoaringBitmap> = BTreeMap::new();
    let mut add = |label: i64, row: usize| {
        rows.entry(label).or_default().insert(row as u32);
        rows.len() <= MOST_LABELS
    };
    for row in 0..part.rows() {
        let fits = match part.label(row) {
            Some(Label::Single(label)) => add(label, row),
            Some(Label::MultiHot(columns)) => {
                let held = (0..).zip(columns).filter(|(_, held)| **held != 0);
                held.fold(true, |_, (label, _)| add(label, row))
            }
            None => true,
        };
        if !fits {
            return None;
        }
    }
    Some(rows)
}
