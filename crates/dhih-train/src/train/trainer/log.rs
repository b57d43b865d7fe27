//! What is told of an epoch: sums over its batches, its line of `metrics.jsonl`, and its line on the terminal.

use serde::{Deserialize, Serialize};

/// One epoch's line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean over the epoch's images.
    pub loss: f64,
    /// The share of the labelled training images for which the loss's classifier predicts one of their labels, as they are varied and
    /// while the weights change; absent where the loss is pairwise and knows no classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The rate of the last step.
    pub learning_rate: f64,
    /// Training throughput.
    pub images_per_second: f64,
    /// Since the run began, over all its parts.
    pub seconds: f64,
    /// mAP of the held-out images among themselves, each compared with all others but itself; absent where none are held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_map: Option<f64>,
    /// The share of the labelled held-out images that are classified right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
}

impl EpochRecord {
    /// The line of a terminal, in a run of `epochs` epochs.
    pub(super) fn line(&self, epochs: usize) -> String {
        let Self { epoch, loss, images_per_second, seconds, .. } = self;
        let left = (epochs - epoch) as f64 * seconds / *epoch as f64;
        let mut line = format!("epoch {epoch}/{epochs}  loss {loss:.4}");
        for (name, value) in [
            ("accuracy", self.accuracy),
            ("validation mAP", self.validation_map),
            ("validation accuracy", self.validation_accuracy),
        ] {
            line += &value.map(|value| format!("  {name} {value:.4}")).unwrap_or_default();
        }
        line + &format!("  {images_per_second:.0} images/s  ETA {left:.0} s")
    }
}

/// Sums over the batches of an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    /// Of the loss, an image at a time.
    pub(super) loss: f64,
    pub(super) hits: Hits,
    /// Time spent on them.
    pub(super) seconds: f64,
}

/// Labelled images, and those of them that are classified right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hits {
    pub(super) right: usize,
    pub(super) labelled: usize,
}

impl Hits {
    /// Of a batch.
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

    /// The share that is right; `None` where nothing was classified.
    pub(super) fn share(self) -> Option<f64> {
        (self.labelled > 0).then(|| self.right as f64 / self.labelled as f64)
    }
}
