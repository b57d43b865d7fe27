//! What a run tells of an epoch: its line of `metrics.jsonl`, and its line on the terminal.

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
    pub(crate) fn line(&self, epochs: usize) -> String {
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
