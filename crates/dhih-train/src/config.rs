//! Settings of a training run, every one resolved and checked, as they are written out.

use std::path::PathBuf;

use dhih_model::{Backbone, HashLayerConfig, HashNorm, InputShape, Loss};
use serde::{Deserialize, Serialize};

use crate::dataset::{DatasetConfig, DatasetName};
use crate::error::{Error, Result};
use crate::optim::{OptimizerConfig, OptimizerName};
use crate::protocol::Protocol;
use crate::schedule::ScheduleName;
use crate::weights::WeightsSource;

/// All settings of a run, resolved and checked; written to `config.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of TrainOptions, documented there")]
pub struct TrainConfig {
    pub dataset: DatasetName,
    pub data_dir: PathBuf,
    pub protocol: Protocol,
    pub split_seed: u64,
    pub demo_images: usize,
    pub image_side: Option<usize>,
    pub weights: Option<WeightsSource>,
    #[serde(default)]
    pub freeze_backbone: bool,
    pub features_dir: Option<PathBuf>,
    #[serde(default = "one")]
    pub backbone_lr_scale: f64,
    pub backbone: Backbone,
    pub bits: usize,
    #[serde(default)]
    pub hash_hidden: usize,
    pub epochs: usize,
    pub batch_size: usize,
    #[serde(default)]
    pub optimizer: OptimizerName,
    pub learning_rate: f64,
    #[serde(default)]
    pub schedule: ScheduleName,
    pub warmup_epochs: f64,
    pub momentum: f64,
    #[serde(default)]
    pub clip_norm: f64,
    pub weight_decay: f64,
    pub flip: bool,
    pub shift: usize,
    pub seed: u64,
    pub device: String,
    pub loss: Loss,
}

fn one() -> f64 {
    1.0
}

impl TrainConfig {
    /// Checks every value's range.
    ///
    /// # Errors
    /// [`Error::Config`], or for the loss's constants [`dhih_model::Error::Config`], names the first that is out of range.
    pub fn check(&self) -> Result<()> {
        // Batches differ in size by at most one, and batch norm needs two values a bit.
        let (batch, least) = match self.loss.hash_norm() {
            HashNorm::None => ("at least 2", 2),
            HashNorm::Batch => ("at least 3 with a loss that needs batch norm", 3),
        };
        let rate = |x: f64| x.is_finite() && x > 0.0;
        let part = |x: f64| (0.0..1.0).contains(&x);
        let side = self.image_side.unwrap_or(32);
        let scale = self.backbone_lr_scale;
        let frozen = self.freeze_backbone;
        let checks: [(&'static str, String, bool, &str); 13] = [
            ("bits", self.bits.to_string(), (1..=1024).contains(&self.bits), "1 to 1024"),
            ("epochs", self.epochs.to_string(), self.epochs > 0, "at least 1"),
            ("batch_size", self.batch_size.to_string(), self.batch_size >= least, batch),
            (
                "learning_rate",
                self.learning_rate.to_string(),
                rate(self.learning_rate),
                "a positive number",
            ),
            (
                "warmup_epochs",
                self.warmup_epochs.to_string(),
                (0.0..=self.epochs as f64).contains(&self.warmup_epochs),
                "0 up to the number of epochs",
            ),
            (
                "clip_norm",
                self.clip_norm.to_string(),
                self.clip_norm == 0.0 || rate(self.clip_norm),
                "a positive number, or 0",
            ),
            ("momentum", self.momentum.to_string(), part(self.momentum), "0 up to below 1"),
            (
                "weight_decay",
                self.weight_decay.to_string(),
                part(self.weight_decay),
                "0 to below 1",
            ),
            (
                "hash_hidden",
                self.hash_hidden.to_string(),
                self.hash_hidden <= 65_536,
                "0 (none) to 65536",
            ),
            ("image_side", side.to_string(), (8..=1024).contains(&side), "8 to 1024"),
            (
                "freeze_backbone",
                "given without weights".to_owned(),
                !frozen || self.weights.is_some(),
                "--weights with it: features of a random backbone are not worth a run",
            ),
            (
                "features_dir",
                "given without a frozen backbone".to_owned(),
                frozen || self.features_dir.is_none(),
                "--freeze-backbone with it",
            ),
            (
                "backbone_lr_scale",
                scale.to_string(),
                rate(scale) && (!frozen || scale == 1.0),
                "a positive number, and none with --freeze-backbone",
            ),
        ];
        match checks.into_iter().find(|(_, _, fine, _)| !fine) {
            Some((name, got, _, expected)) => {
                Err(Error::Config { name, got, expected: expected.to_owned() })
            }
            None => Ok(self.loss.check()?),
        }
    }

    /// The form of the hash layer: the user's choice and what the loss needs.
    pub fn hash_layer(&self) -> HashLayerConfig {
        let hidden = (self.hash_hidden > 0).then_some(self.hash_hidden);
        HashLayerConfig { hidden, norm: self.loss.hash_norm() }
    }

    /// What the optimiser works with.
    pub(crate) fn optimizer_config(&self) -> OptimizerConfig {
        OptimizerConfig {
            method: self.optimizer,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            clip_norm: (self.clip_norm > 0.0).then_some(self.clip_norm),
            backbone_scale: if self.freeze_backbone { 0.0 } else { self.backbone_lr_scale },
        }
    }

    /// Where and how the dataset is read.
    pub fn dataset_config(&self) -> DatasetConfig {
        let side = self.image_side.unwrap_or(32);
        DatasetConfig {
            dir: self.data_dir.clone(),
            demo_images: self.demo_images,
            folder_shape: InputShape { height: side, width: side, channels: 3 },
        }
    }

    /// The shape in which the network takes images of the shape `images`: pretrained networks want RGB.
    pub fn input_shape(&self, images: InputShape) -> InputShape {
        let InputShape { height, width, channels } = images;
        let (height, width) = self.image_side.map_or((height, width), |side| (side, side));
        InputShape { height, width, channels: if self.weights.is_some() { 3 } else { channels } }
    }
}
