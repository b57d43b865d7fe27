//! The classes of images: one or several for each.

use dhih_index::Labels;

/// The classes of images, as numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassLabels {
    /// One class for each image.
    Single(Vec<u32>),
    /// Any number of classes for each image, in ascending order without repetition.
    Multiple(Vec<Vec<u32>>),
}

impl ClassLabels {
    /// The number of images.
    pub fn len(&self) -> usize {
        match self {
            Self::Single(labels) => labels.len(),
            Self::Multiple(labels) => labels.len(),
        }
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The classes of an image.
    pub fn of(&self, image: usize) -> &[u32] {
        match self {
            Self::Single(labels) => std::slice::from_ref(&labels[image]),
            Self::Multiple(labels) => &labels[image],
        }
    }

    /// Labels of rows as 0 and 1, `[rows, classes]`.
    pub(crate) fn multi_hot(&self, rows: &[usize], classes: usize) -> Vec<f32> {
        let mut values = vec![0.0; rows.len() * classes];
        for (row, values) in rows.iter().zip(values.chunks_exact_mut(classes)) {
            self.of(*row).iter().for_each(|class| values[*class as usize] = 1.0);
        }
        values
    }

    /// Labels of rows in the form in which codes carry them.
    pub(crate) fn of_codes(&self, rows: &[usize], classes: usize) -> Labels {
        match self {
            Self::Single(labels) => {
                Labels::Single(rows.iter().map(|row| i64::from(labels[*row])).collect())
            }
            Self::Multiple(_) => {
                let values = self.multi_hot(rows, classes).into_iter().map(|x| x as u8).collect();
                Labels::MultiHot { classes, values }
            }
        }
    }
}

impl From<Vec<u32>> for ClassLabels {
    fn from(labels: Vec<u32>) -> Self {
        Self::Single(labels)
    }
}
