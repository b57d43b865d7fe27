//! Checks the resolved settings of a run, and derives the configurations of its parts from them. `table.rs` declares the settings.

use std::collections::BTreeSet;
use std::fmt::Display;

use dhih_model::image::Limits;
use dhih_model::{HashLayerConfig, InputShape, Views};

use crate::dataset::DatasetConfig;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::settings::table::{TrainConfig, TrainOptions};
use crate::train::augment::Augmentation;
use crate::train::optim::{FilterRates, OptimizerConfig};
use crate::train::weight_average::Averaging;

/// The most bytes of pixels that are kept in memory; larger sets are decoded anew in each epoch.
const KEPT_PIXELS: usize = 4 << 30;
/// The most images of the demo set, which take 3 GB.
const MOST_DEMO_IMAGES: usize = 1_000_000;

impl TrainConfig {
    /// Checks the range of every value.
    ///
    /// # Errors
    /// [`Error::Config`], or for constants of the loss [`dhih_model::Error::Config`], names the first value that is out of range.
    pub fn check(&self) -> Result<()> {
        let least = self.least_part();
        let batch = match self.hash_layer().has_norm() {
            false => "at least 2 for each part of a step",
            true => "at least 3 for each part of a step: the hash layer has batch norm",
        };
        let rate = |x: f64| x.is_finite() && x > 0.0;
        let part = |x: f64| (0.0..1.0).contains(&x);
        let side = self.image_side.unwrap_or(32);
        let scale = self.backbone_lr_scale;
        let frozen = self.freeze_backbone;
        let check = |name: &'static str, got: &dyn Display, fine: bool, expected: &'static str| {
            (name, got.to_string(), fine, expected)
        };
        let smoothing = self.label_smoothing;
        let checks = [
            check("bits", &self.bits, (1..=1024).contains(&self.bits), "1 to 1024"),
            check("epochs", &self.epochs, self.epochs > 0, "at least 1"),
            check("accumulate", &self.accumulate, self.accumulate > 0, "at least 1"),
            check(
                "batch_size",
                &self.batch_size,
                self.batch_size / self.accumulate.max(1) >= least,
                batch,
            ),
            check(
                "learning_rate",
                &self.learning_rate,
                rate(self.learning_rate),
                "a positive number",
            ),
            check(
                "muon_learning_rate",
                &self.muon_learning_rate,
                rate(self.muon_learning_rate),
                "a positive number",
            ),
            check(
                "muon_momentum",
                &self.muon_momentum,
                part(self.muon_momentum),
                "0 up to below 1",
            ),
            check(
                "warmup_epochs",
                &self.warmup_epochs,
                (0.0..=self.epochs as f64).contains(&self.warmup_epochs),
                "0 up to the number of epochs",
            ),
            check(
                "clip_norm",
                &self.clip_norm,
                self.clip_norm == 0.0 || rate(self.clip_norm),
                "a positive number, or 0",
            ),
            check("momentum", &self.momentum, part(self.momentum), "0 up to below 1"),
            check("weight_decay", &self.weight_decay, part(self.weight_decay), "0 to below 1"),
            check("ema_decay", &self.ema_decay, part(self.ema_decay), "0 to below 1"),
            check(
                "lookahead",
                &self.lookahead,
                self.lookahead == 0 || self.ema_decay == 0.0,
                "0 with --ema-decay: one of the two averages weights",
            ),
            check(
                "norm_momentum",
                &self.norm_momentum,
                self.norm_momentum > 0.0 && self.norm_momentum <= 1.0,
                "above 0, at most 1",
            ),
            check(
                "norm_shift_lr_scale",
                &self.norm_shift_lr_scale,
                rate(self.norm_shift_lr_scale) && (!frozen || self.norm_shift_lr_scale == 1.0),
                "a positive number, and 1 with --freeze-backbone",
            ),
            check(
                "label_smoothing",
                &smoothing,
                smoothing == 0.0 || part(smoothing) && !self.loss.is_pairwise(),
                "0 to below 1, and 0 with a pairwise loss, which knows no classes",
            ),
            check(
                "validation",
                &self.validation,
                (0.0..=0.9).contains(&self.validation),
                "0 (nothing is held out) to 0.9",
            ),
            check(
                "patience",
                &self.patience,
                self.patience == 0 || self.validation > 0.0,
                "--validation with it: epochs are never chosen by the queries",
            ),
            check(
                "checkpoint_minutes",
                &self.checkpoint_minutes,
                (0.0..=1e6).contains(&self.checkpoint_minutes),
                "0 (after whole epochs alone) to 1000000",
            ),
            check("cutout", &self.cutout, self.cutout <= 1024, "0 (none) to 1024"),
            check("color_jitter", &self.color_jitter, part(self.color_jitter), "0 to below 1"),
            check(
                "crop_scale",
                &self.crop_scale,
                self.crop_scale > 0.0 && self.crop_scale <= 1.0,
                "above 0, at most 1",
            ),
            check(
                "cutmix",
                &self.cutmix,
                self.cutmix == 0.0
                    || (0.0..=1.0).contains(&self.cutmix) && !frozen && !self.loss.is_pairwise(),
                "0 to 1, and 0 with a frozen backbone or a pairwise loss",
            ),
            check(
                "hash_hidden",
                &self.hash_hidden,
                self.hash_hidden <= 65_536,
                "0 (none) to 65536",
            ),
            check(
                "demo_images",
                &self.demo_images,
                self.demo_images <= MOST_DEMO_IMAGES,
                "at most 1000000, whose pixels are in memory",
            ),
            check("image_side", &side, (8..=1024).contains(&side), "8 to 1024"),
            check(
                "freeze_backbone",
                &"given without weights",
                !frozen || self.weights.is_some(),
                "--weights with it: features of a random backbone are not worth a run",
            ),
            check(
                "train_last",
                &self.train_last.unwrap_or(0),
                self.train_last.is_none() || self.weights.is_some() && !frozen,
                "--weights with it, and no --freeze-backbone: blocks that keep random weights are not worth a run",
            ),
            check(
                "features_dir",
                &"given without a frozen backbone",
                frozen || self.features_dir.is_none(),
                "--freeze-backbone with it",
            ),
            check(
                "backbone_lr_scale",
                &scale,
                rate(scale) && (!frozen || scale == 1.0),
                "a positive number, and none with --freeze-backbone",
            ),
        ];
        match checks.into_iter().find(|(_, _, fine, _)| !fine) {
            Some((name, got, _, expected)) => {
                return Err(Error::Config { name, got, expected: expected.to_owned() });
            }
            None => self.loss.check()?,
        }
        self.check_as_toml()?;
        let Some(last) = self.train_last else { return Ok(()) };
        let (backbone, blocks) = (self.backbone.name(), self.backbone.blocks()?);
        match (1..=blocks).contains(&last) {
            true => Ok(()),
            false => Err(Error::Config {
                name: "train_last",
                got: last.to_string(),
                expected: format!("1 to {blocks}, the number of blocks of {backbone}"),
            }),
        }
    }

    /// Checks that `config.toml` can have every value. TOML has no numbers of 2^63 or more.
    fn check_as_toml(&self) -> Result<()> {
        let json = serde_json::to_value(self).unwrap_or_default();
        let is_too_large =
            |name: &&&str| json[**name].as_u64().is_some_and(|n| i64::try_from(n).is_err());
        match TrainOptions::NAMES.iter().find(is_too_large) {
            Some(&name) => Err(Error::Config {
                name,
                got: json[name].to_string(),
                expected: format!("at most {}", i64::MAX),
            }),
            None => self.as_toml().map(drop),
        }
    }

    /// The settings as in `config.toml`.
    fn as_toml(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).map_err(|error| Error::Config {
            name: "a setting",
            got: format!("not as TOML can have it: {error}"),
            expected: "paths in UTF-8 and numbers below 2^63".to_owned(),
        })
    }

    /// Whether some weights stay as in the pretrained file; the training state of a run does not contain these.
    pub(crate) fn keeps_weights(&self) -> bool {
        self.freeze_backbone || self.train_last.is_some()
    }

    /// The fewest images of a part of a step. The sizes of batches differ by at most one, and batch norm needs two values.
    pub(crate) fn least_part(&self) -> usize {
        if self.hash_layer().has_norm() { 3 } else { 2 }
    }

    /// The form of the hash layer: the user's choice, or the loss's where the user leaves the choice to it.
    pub fn hash_layer(&self) -> HashLayerConfig {
        let hidden = (self.hash_hidden > 0).then_some(self.hash_hidden);
        let (feature_norm, norm) = (self.feature_norm, self.hash_norm.for_loss(&self.loss));
        HashLayerConfig { feature_norm, hidden, norm }
    }

    /// The differences to `other`, as lines of `name: ours, theirs` in the order of `config.toml`. The place of the data does not count; its
    /// digest tells whether it is the same.
    ///
    /// # Errors
    /// When a setting is none that `config.toml` can have.
    pub fn differences(&self, other: &Self) -> Result<Vec<String>> {
        let (ours, theirs) = (self.as_toml()?, other.as_toml()?);
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let shown =
            |value: Option<&toml::Value>| value.map_or("none".to_owned(), |v| v.to_string());
        let differing = names
            .into_iter()
            .filter(|name| *name != "data_dir" && ours.get(*name) != theirs.get(*name));
        Ok(differing
            .map(|name| format!("{name}: {}, {}", shown(ours.get(name)), shown(theirs.get(name))))
            .collect())
    }

    /// The augmentation of images whose channels have the means `means`, on a scale of 0 to 1.
    pub(crate) fn augmentation(&self, means: &[f32]) -> Augmentation {
        let Self { flip, shift, cutout, color_jitter, crop_scale, cutmix, .. } = *self;
        let paint = means.iter().map(|mean| (mean * 255.0).round() as u8).collect();
        Augmentation { flip, shift, cutout, paint, color_jitter, crop_scale, cutmix }
    }

    /// The constants of the optimiser.
    pub(crate) fn optimizer_config(&self) -> OptimizerConfig {
        OptimizerConfig {
            method: self.optimizer,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            clip_norm: (self.clip_norm > 0.0).then_some(self.clip_norm),
            backbone_scale: if self.freeze_backbone { 0.0 } else { self.backbone_lr_scale },
            norm_shift_scale: self.norm_shift_lr_scale,
            trains_norm_scales: self.norm_scales,
            filters: FilterRates {
                rate_scale: self.muon_learning_rate / self.learning_rate,
                momentum: self.muon_momentum,
            },
        }
    }

    /// The views of an image from which a code is made.
    pub(crate) fn views(&self) -> Views {
        Views { mirror: self.mirror, shifted: self.shifted_views }
    }

    /// How weights are averaged over the steps, if they are.
    pub(crate) fn averaging(&self) -> Option<Averaging> {
        match (self.ema_decay, self.lookahead) {
            (0.0, 0) => None,
            (0.0, every) => Some(Averaging::Lookahead { every }),
            (decay, _) => Some(Averaging::Moving { decay }),
        }
    }

    /// Where and how the dataset is read.
    pub fn dataset_config(&self) -> DatasetConfig {
        let side = self.image_side.unwrap_or(32);
        DatasetConfig {
            dir: self.data_dir.clone(),
            demo_images: self.demo_images,
            picture_shape: InputShape::new(side, side, 3).with_fit(self.fit),
            memory: KEPT_PIXELS,
            strict: self.strict,
            min_class_images: self.min_class_images,
            limits: Limits::of_files(
                self.max_side.unwrap_or(Limits::FILE_SIDE),
                self.max_pixels.unwrap_or(Limits::FILE_PIXELS),
            ),
            cache: self.cache.clone(),
            progress: Progress::Silent,
        }
    }

    /// The shape in which the network takes images of the shape `images`. Pretrained networks take RGB.
    pub fn input_shape(&self, images: InputShape) -> InputShape {
        let InputShape { height, width, channels, .. } = images;
        let (height, width) = self.image_side.map_or((height, width), |side| (side, side));
        let channels = if self.weights.is_some() { 3 } else { channels };
        InputShape::new(height, width, channels).with_fit(self.fit)
    }
}
