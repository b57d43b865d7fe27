//! Sums over the batches of an epoch.

/// Sums over the batches of an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    /// The sum of the losses of all images.
    pub(super) loss: f64,
    pub(super) hits: Hits,
    /// The time of the batches, in seconds.
    pub(super) seconds: f64,
}

/// The number of labelled images, and of those that are classified correctly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hits {
    pub(super) right: usize,
    pub(super) labelled: usize,
}

impl Hits {
    /// Counts the images of a batch.
    ///
    /// # Shapes
    /// `predicted`: `[n]` classes; `targets`: `[n, classes]` of 0 and 1.
    pub(super) fn count(predicted: &[u32], targets: &[f32]) -> Self {
        let classes = targets.len() / predicted.len().max(1);
        let mut hits = Self::default();
        for (class, labels) in predicted.iter().zip(targets.chunks_exact(classes.max(1))) {
            hits.labelled += usize::from(labels.iter().any(|label| *label != 0.0));
            hits.right += usize::from(labels.get(*class as usize).is_some_and(|l| *l != 0.0));
        }
        hits
    }

    pub(super) fn add(&mut self, other: Self) {
        self.right += other.right;
        self.labelled += other.labelled;
    }

    /// The share that is classified correctly; `None` where nothing was classified.
    pub(super) fn share(self) -> Option<f64> {
        (self.labelled > 0).then(|| self.right as f64 / self.labelled as f64)
    }
}
