//! The labels of items: a class an item, or several.

use crate::error::{Error, Result};

/// The labels of `n` items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    /// One class number per item, `[n]`; [`Labels::NONE`] where an item has none.
    Single(Vec<i64>),
    /// A row of zeros and ones per item, `[n, classes]`, row-major.
    MultiHot {
        /// Number of columns.
        classes: usize,
        /// The rows.
        values: Vec<u8>,
    },
}

impl Labels {
    /// The class number of an item without a label.
    pub const NONE: i64 = -1;

    /// Number of items.
    pub fn len(&self) -> usize {
        match self {
            Self::Single(labels) => labels.len(),
            Self::MultiHot { classes, values } => values.len() / (*classes).max(1),
        }
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of these rows, in this order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Single(labels) => Self::Single(rows.iter().map(|&row| labels[row]).collect()),
            Self::MultiHot { classes, values } => {
                let of_row = |&row: &usize| &values[row * classes..(row + 1) * classes];
                let values = rows.iter().flat_map(of_row).copied().collect();
                Self::MultiHot { classes: *classes, values }
            }
        }
    }

    /// Adds others of the same kind.
    pub(crate) fn append(&mut self, others: Self) {
        match (self, others) {
            (Self::Single(labels), Self::Single(others)) => labels.extend(others),
            (Self::MultiHot { values, .. }, Self::MultiHot { values: others, .. }) => {
                values.extend(others);
            }
            _ => {}
        }
    }
}

/// The label of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label<'a> {
    /// The number of its class.
    Single(i64),
    /// A one for each class that it has.
    MultiHot(&'a [u8]),
}

/// Refuses labels outside the classes, where these have names, and multi-hot rows that are none.
pub(crate) fn check_labels(labels: &Labels, classes: usize) -> Result<()> {
    match labels {
        Labels::Single(labels) => check_single(labels, classes),
        Labels::MultiHot { classes: columns, values } => check_multi_hot(*columns, values, classes),
    }
}

fn check_single(labels: &[i64], classes: usize) -> Result<()> {
    let inside = |&label: &i64| {
        label == Labels::NONE || usize::try_from(label).is_ok_and(|label| label < classes)
    };
    match labels.iter().position(|label| !inside(label)) {
        Some(row) if classes > 0 => Err(Error::Label { row, label: labels[row], classes }),
        _ => Ok(()),
    }
}

fn check_multi_hot(columns: usize, values: &[u8], classes: usize) -> Result<()> {
    let fail = |reason| Err(Error::MultiHot { reason });
    if columns == 0 || !values.len().is_multiple_of(columns) {
        return fail(format!("{} values are no rows of {columns} columns", values.len()));
    }
    if classes != 0 && classes != columns {
        return fail(format!("{columns} columns for {classes} classes: there must be one each"));
    }
    match values.iter().position(|&value| value > 1) {
        Some(at) => fail(format!("item {} has a {}: use 0 and 1", at / columns, values[at])),
        None => Ok(()),
    }
}
