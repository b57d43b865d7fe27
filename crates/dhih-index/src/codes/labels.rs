//! The labels of items: one class for each item, or several. The codes that they belong to: `set.rs`.

use crate::error::{Error, Result};

/// The labels of items.
///
/// ```
/// use dhih_index::Labels;
///
/// let single = Labels::Single(vec![2, Labels::NONE, 0]);
/// let multi_hot = Labels::MultiHot { classes: 2, values: vec![1, 0, 1, 1] };
/// assert_eq!((single.len(), multi_hot.len()), (3, 2));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Labels {
    /// The number of a class for each item, or [`Labels::NONE`].
    Single(Vec<i64>),
    /// A row of zeros and ones for each item, with one column for each class; row-major.
    MultiHot {
        /// The number of columns.
        classes: usize,
        /// The rows, one after the other.
        values: Vec<u8>,
    },
}

impl Labels {
    /// What stands in place of the number of a class for an item without a label.
    pub const NONE: i64 = -1;

    /// The number of items.
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

    /// A copy of the labels of these rows, in this order.
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

    /// Appends labels of the same kind.
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

/// The label of one item.
///
/// ```
/// use dhih_index::Label;
///
/// let is_of_class = |label: Label, class: usize| match label {
///     Label::Single(number) => number == class as i64,
///     Label::MultiHot(columns) => columns[class] == 1,
///     _ => false,
/// };
/// assert!(is_of_class(Label::MultiHot(&[0, 1]), 1) && !is_of_class(Label::Single(0), 1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Label<'a> {
    /// The number of its class.
    Single(i64),
    /// A column for each class, with a one where the item is of that class.
    MultiHot(&'a [u8]),
}

/// Refuses numbers outside the classes, where these have names, and multi-hot rows that are not zeros and ones.
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
        return fail(format!("{} values are not rows of {columns} columns", values.len()));
    }
    if classes != 0 && classes != columns {
        return fail(format!(
            "{columns} columns for {classes} classes: there must be one for each"
        ));
    }
    match values.iter().position(|&value| value > 1) {
        Some(at) => fail(format!("item {} has a {}: use 0 and 1", at / columns, values[at])),
        None => Ok(()),
    }
}
