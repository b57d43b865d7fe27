//! The labels of vectors as targets of training.

use std::collections::BTreeSet;

use dhih_index::Labels;

use super::Labelled;
use crate::error::{Error, Result};

/// The classes of vectors, numbered among those that occur.
pub(super) struct Targets<'a> {
    labels: &'a Labels,
    /// The labels that occur, in ascending order. Of labels in columns, these are all columns.
    pub(super) classes: Vec<i64>,
}

impl<'a> Targets<'a> {
    pub(super) fn new(data: Labelled<'a>) -> Result<Self> {
        let wrong = |name, got: String, expected: &str| {
            Err(Error::Config { name, got, expected: expected.to_owned() })
        };
        let Labelled { rows, labels } = data;
        if labels.len() != rows.len() {
            let expected = format!("{}, one for each vector", rows.len());
            return wrong("the number of labels", labels.len().to_string(), &expected);
        }
        let classes: Vec<i64> = match labels {
            Labels::Single(labels) => {
                let occurring: BTreeSet<i64> = labels.iter().copied().collect();
                if let Some(label) = occurring.iter().find(|label| **label < Labels::NONE) {
                    return wrong("label", label.to_string(), "a class from 0 on, or -1 for none");
                }
                occurring.into_iter().filter(|label| *label != Labels::NONE).collect()
            }
            Labels::MultiHot { classes, .. } => (0..*classes as i64).collect(),
            _ => Vec::new(),
        };
        if classes.len() < 2 {
            return wrong("the number of classes", classes.len().to_string(), "at least 2");
        }
        Ok(Self { labels, classes })
    }

    /// The numbers of the classes of a vector.
    fn of(&self, row: usize) -> Vec<usize> {
        match self.labels {
            Labels::Single(labels) => {
                self.classes.binary_search(&labels[row]).into_iter().collect()
            }
            Labels::MultiHot { classes, values } => {
                let columns = values[row * classes..(row + 1) * classes].iter().enumerate();
                columns.filter(|(_, value)| **value != 0).map(|(class, _)| class).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn has_label(&self, row: usize) -> bool {
        !self.of(row).is_empty()
    }

    /// The classes of rows as `[n, classes]` of 0 and 1.
    pub(super) fn multi_hot(&self, rows: &[usize]) -> Vec<u8> {
        let mut values = vec![0; rows.len() * self.classes.len()];
        for (row, values) in rows.iter().zip(values.chunks_exact_mut(self.classes.len())) {
            self.of(*row).into_iter().for_each(|class| values[class] = 1);
        }
        values
    }
}
