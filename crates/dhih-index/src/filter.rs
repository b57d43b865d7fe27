//! Searches among some of the items: those with certain labels, or certain ids.

use std::collections::BTreeSet;

use roaring::{RoaringBitmap, RoaringTreemap};

use crate::part::{Label, Part};

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
    pub(crate) fn rows(&self, part: &Part) -> RoaringBitmap {
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
