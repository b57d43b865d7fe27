//! Settings of a training run: from flags, environment and a TOML file, with every default resolved and written out.

use std::path::{Path, PathBuf};

use clap::Args;
use dhih_model::{Backbone, HashLayerConfig, HashNorm, InputShape, Loss};
use serde::{Deserialize, Serialize};

use crate::dataset::{DatasetConfig, DatasetName};
use crate::error::{Error, Result};
use crate::loss_options::{LossOptions, LossParam};
use crate::protocol::Protocol;

/// What a user may set; the same names as flags, as `DHIH_...` variables and in the TOML file. What is not set gets the
/// dataset's default.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainOptions {
    /// Dataset: demo, fashion-mnist, cifar10 or folder
    #[arg(long, env = "DHIH_DATASET", value_name = "NAME")]
    pub dataset: Option<String>,
    /// Folder of the dataset [default: data/NAME]
    #[arg(long, env = "DHIH_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Protocol: which images train, are searched, and ask [default: the dataset's own]
    #[arg(long, env = "DHIH_PROTOCOL", value_name = "NAME")]
    pub protocol: Option<String>,
    /// Seed of the split, where the protocol draws one [default: 0]
    #[arg(long, env = "DHIH_SPLIT_SEED", value_name = "N")]
    pub split_seed: Option<u64>,
    /// Number of images of the demo set [default: 10000]
    #[arg(long, env = "DHIH_DEMO_IMAGES", value_name = "N")]
    pub demo_images: Option<usize>,
    /// Side to which images of a folder are cropped and scaled, in pixels [default: 32]
    #[arg(long, env = "DHIH_IMAGE_SIDE", value_name = "PIXELS")]
    pub image_side: Option<usize>,
    /// Backbone [default: small]
    #[arg(long, env = "DHIH_BACKBONE", value_name = "NAME")]
    pub backbone: Option<String>,
    /// Loss; `list losses` shows all [default: hi]
    #[arg(long, env = "DHIH_LOSS", value_name = "NAME")]
    pub loss: Option<LossOptions>,
    /// Constant of the loss, repeatable; in a file, an entry of the table loss
    #[arg(long, env = "DHIH_LOSS_PARAM", value_name = "NAME=VALUE", value_delimiter = ',')]
    #[serde(skip)]
    pub loss_param: Vec<LossParam>,
    /// Mode of the HI loss: target or global [default: target]
    #[arg(long, env = "DHIH_HI_MODE", value_name = "MODE")]
    pub hi_mode: Option<String>,
    /// Sensitivity alpha of the HI loss [default: 0.8]
    #[arg(long, env = "DHIH_HI_ALPHA", value_name = "X")]
    pub hi_alpha: Option<f64>,
    /// Weight of the HI loss's quantisation term [default: 0.01]
    #[arg(long, env = "DHIH_HI_LAMBDA_Q", value_name = "X")]
    pub hi_lambda_q: Option<f64>,
    /// Code length in bits, 1 to 1024 [default: 48]
    #[arg(long, env = "DHIH_BITS", value_name = "K")]
    pub bits: Option<usize>,
    /// Units of a hidden layer before the hash layer's outputs; 0 is none [default: 0]
    #[arg(long, env = "DHIH_HASH_HIDDEN", value_name = "N")]
    pub hash_hidden: Option<usize>,
    /// Passes over the training images
    #[arg(long, env = "DHIH_EPOCHS", value_name = "N")]
    pub epochs: Option<usize>,
    /// Images a step [default: 64]
    #[arg(long, env = "DHIH_BATCH_SIZE", value_name = "N")]
    pub batch_size: Option<usize>,
    /// Learning rate after warm-up; falls to 0 along a cosine [default: 0.05]
    #[arg(long, env = "DHIH_LEARNING_RATE", value_name = "X", alias = "lr")]
    pub learning_rate: Option<f64>,
    /// Epochs over which the learning rate rises from 0 [default: 1]
    #[arg(long, env = "DHIH_WARMUP_EPOCHS", value_name = "X")]
    pub warmup_epochs: Option<f64>,
    /// Nesterov momentum [default: 0.9]
    #[arg(long, env = "DHIH_MOMENTUM", value_name = "X")]
    pub momentum: Option<f64>,
    /// L2 penalty of weights; not of scales and shifts
    #[arg(long, env = "DHIH_WEIGHT_DECAY", value_name = "X")]
    pub weight_decay: Option<f64>,
    /// Mirror images at random
    #[arg(long, env = "DHIH_FLIP", value_name = "BOOL")]
    pub flip: Option<bool>,
    /// Shift images at random by up to so many pixels
    #[arg(long, env = "DHIH_SHIFT", value_name = "PIXELS")]
    pub shift: Option<usize>,
    /// Seed of weights, order and augmentation [default: 0]
    #[arg(long, env = "DHIH_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// Device: auto, cpu or cuda:N [default: auto]
    #[arg(long, env = "DHIH_DEVICE", value_name = "DEVICE")]
    pub device: Option<String>,
}

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
    pub image_side: usize,
    pub backbone: Backbone,
    pub bits: usize,
    #[serde(default)]
    pub hash_hidden: usize,
    pub epochs: usize,
    pub batch_size: usize,
    pub learning_rate: f64,
    pub warmup_epochs: f64,
    pub momentum: f64,
    pub weight_decay: f64,
    pub flip: bool,
    pub shift: usize,
    pub seed: u64,
    pub device: String,
    pub loss: Loss,
}

impl TrainOptions {
    /// Reads options from a TOML file.
    ///
    /// # Errors
    /// When it cannot be read, or holds an unknown name or a value of the wrong type.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        toml::from_str(&text).map_err(|error| Error::Data {
            path: path.to_owned(),
            reason: error.to_string(),
            cure: "`dhih-train train --help` shows the names and what they take".to_owned(),
        })
    }

    /// These options, and those of `other` where these are silent.
    pub fn or(self, other: Self) -> Self {
        let loss = match (self.loss, other.loss) {
            (Some(loss), Some(other)) => Some(loss.or(other)),
            (loss, other) => loss.or(other),
        };
        let loss_param = [other.loss_param, self.loss_param].concat();
        macro_rules! merge {
            ($($field:ident),*) => {
                Self { loss, loss_param, $($field: self.$field.or(other.$field)),* }
            };
        }
        merge!(
            dataset,
            data_dir,
            protocol,
            split_seed,
            demo_images,
            image_side,
            backbone,
            hi_mode,
            hi_alpha,
            hi_lambda_q,
            bits,
            hash_hidden,
            epochs,
            batch_size,
            learning_rate,
            warmup_epochs,
            momentum,
            weight_decay,
            flip,
            shift,
            seed,
            device
        )
    }

    /// Fills in the defaults and checks every value.
    ///
    /// # Errors
    /// Unknown names with the nearest known one; values out of range.
    pub fn resolve(self) -> Result<TrainConfig> {
        let dataset = DatasetName::parse(self.dataset.as_deref().unwrap_or("demo"))?;
        // What each set needs and its images stand: small sets the stronger penalty, centred ones no shift.
        let (epochs, flip, shift, weight_decay) = match dataset {
            DatasetName::Demo => (8, true, 2, 5e-3),
            DatasetName::FashionMnist => (8, false, 0, 2e-3),
            DatasetName::Cifar10 => (30, true, 4, 5e-4),
            DatasetName::Folder => (30, true, 3, 5e-3),
        };
        let protocol = match &self.protocol {
            Some(name) => Protocol::parse(name)?,
            None => Protocol::default_for(dataset),
        };
        let bits = self.bits.unwrap_or(48);
        let mut loss = self.loss.unwrap_or_default();
        loss.set(self.loss_param);
        loss.set_hi("hi_mode", "mode", self.hi_mode.map(Into::into))?;
        loss.set_hi("hi_alpha", "alpha", self.hi_alpha.map(Into::into))?;
        loss.set_hi("hi_lambda_q", "lambda_q", self.hi_lambda_q.map(Into::into))?;
        let config = TrainConfig {
            data_dir: self.data_dir.unwrap_or_else(|| Path::new("data").join(dataset.name())),
            dataset,
            protocol,
            split_seed: self.split_seed.unwrap_or(0),
            demo_images: self.demo_images.unwrap_or(10_000),
            image_side: self.image_side.unwrap_or(32),
            backbone: parse_backbone(self.backbone.as_deref().unwrap_or("small"))?,
            bits,
            hash_hidden: self.hash_hidden.unwrap_or(0),
            epochs: self.epochs.unwrap_or(epochs),
            batch_size: self.batch_size.unwrap_or(64),
            learning_rate: self.learning_rate.unwrap_or(0.05),
            warmup_epochs: self.warmup_epochs.unwrap_or(1.0),
            momentum: self.momentum.unwrap_or(0.9),
            weight_decay: self.weight_decay.unwrap_or(weight_decay),
            flip: self.flip.unwrap_or(flip),
            shift: self.shift.unwrap_or(shift),
            seed: self.seed.unwrap_or(0),
            device: self.device.unwrap_or_else(|| "auto".to_owned()),
            loss: loss.resolve(bits)?,
        };
        config.check()?;
        Ok(config)
    }
}

fn parse_backbone(name: &str) -> Result<Backbone> {
    let names = || Backbone::ALL.iter().map(|backbone| backbone.name());
    let found = Backbone::ALL.into_iter().find(|backbone| backbone.name() == name);
    found.ok_or_else(|| Error::unknown("backbone", name, names()))
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
        let checks: [(&'static str, String, bool, &str); 9] = [
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
            (
                "image_side",
                self.image_side.to_string(),
                (8..=1024).contains(&self.image_side),
                "8 to 1024",
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

    /// Where and how the dataset is read.
    pub fn dataset_config(&self) -> DatasetConfig {
        let side = self.image_side;
        DatasetConfig {
            dir: self.data_dir.clone(),
            demo_images: self.demo_images,
            folder_shape: InputShape { height: side, width: side, channels: 3 },
        }
    }
}
