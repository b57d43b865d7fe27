//! What a run reports about an epoch: its line of `metrics.jsonl`, and its line on the terminal.

use serde::{Deserialize, Serialize};

/// The line of an epoch in `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The number of the epoch, from 1.
    pub epoch: usize,
    /// The mean loss over the images of the epoch.
    pub loss: f64,
    /// The share of labelled training images for which the classifier of the loss predicts one of their labels, measured on augmented images
    /// while the weights change; absent where the loss is pairwise and knows no classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Training throughput.
    pub images_per_second: f64,
    /// Seconds of the epochs so far, over all parts of the run. Evaluating held-out images and saving the state after an epoch are not in it.
    pub seconds: f64,
    /// The mAP of the held-out images among themselves, each compared with all others except itself; absent where none are held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_map: Option<f64>,
    /// The share of labelled held-out images that are classified correctly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
}

impl EpochRecord {
    /// The line for a terminal, in a run of `epochs` epochs.
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
