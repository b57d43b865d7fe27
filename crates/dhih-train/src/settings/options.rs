//! What a user may set of a training run: flags, environment and a TOML file, to a [`TrainConfig`] with every default
//! filled in.

use std::path::{Path, PathBuf};

use clap::Args;
use dhih_model::Backbone;
use serde::Deserialize;

use crate::dataset::DatasetName;
use crate::error::{Error, Result, by_name};
use crate::protocol::Protocol;
use crate::run::gallery::GalleryChoice;
use crate::run::run_dir::RunDir;
use crate::settings::config::TrainConfig;
use crate::settings::loss_options::{LossOptions, LossParam};
use crate::train::optim::OptimizerName;
use crate::train::schedule::ScheduleName;
use crate::train::weights::WeightsSource;

/// What a user may set; the same names as flags, as `DHIH_...` variables and in the TOML file. What is not set gets the
/// dataset's default.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainOptions {
    /// Dataset; `list datasets` shows all [default: demo]
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
    /// Side to which images are cropped and scaled, in pixels [default: what the backbone was made for, 32 or 224;
    /// small images keep their size where it is 32]
    #[arg(long, env = "DHIH_IMAGE_SIDE", value_name = "PIXELS")]
    pub image_side: Option<usize>,
    /// Longest side of a picture that is taken, in pixels [default: 65535]
    #[arg(long, env = "DHIH_MAX_SIDE", value_name = "PIXELS")]
    pub max_side: Option<u32>,
    /// Largest area of a picture that is taken, in pixels [default: 250000000]
    #[arg(long, env = "DHIH_MAX_PIXELS", value_name = "N")]
    pub max_pixels: Option<u64>,
    /// Folder in which decoded pictures are kept for the next run [default: none]
    #[arg(long, env = "DHIH_CACHE", value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Which thumbnails the run keeps: none, queries or all [default: all up to 100,000 images, else queries]
    #[arg(long, env = "DHIH_GALLERY", value_name = "WHICH")]
    pub gallery: Option<GalleryChoice>,
    /// Pretrained backbone: FILE or hf:OWNER/REPO; behind the latter @REVISION and /FILE, behind both #sha256=HEX
    #[arg(long, env = "DHIH_WEIGHTS", value_name = "SOURCE")]
    pub weights: Option<String>,
    /// Train the hash layer alone, on features that the pretrained backbone computes once
    #[arg(long, env = "DHIH_FREEZE_BACKBONE", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    pub freeze_backbone: Option<bool>,
    /// Folder in which runs share the features of a frozen backbone [default: the run's own]
    #[arg(long, env = "DHIH_FEATURES_DIR", value_name = "DIR")]
    pub features_dir: Option<PathBuf>,
    /// Learning rate of the backbone, as a part of the others' [default: 1]
    #[arg(long, env = "DHIH_BACKBONE_LR_SCALE", value_name = "X")]
    pub backbone_lr_scale: Option<f64>,
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
    /// Part of the labels' weight that is spread over all classes; for losses with class weights [default: 0]
    #[arg(long, env = "DHIH_LABEL_SMOOTHING", value_name = "X")]
    pub label_smoothing: Option<f64>,
    /// Code length in bits, 1 to 1024 [default: 48]
    #[arg(long, env = "DHIH_BITS", value_name = "K")]
    pub bits: Option<usize>,
    /// Units of a hidden layer before the hash layer's outputs; 0 is none [default: 0]
    #[arg(long, env = "DHIH_HASH_HIDDEN", value_name = "N")]
    pub hash_hidden: Option<usize>,
    /// Make a code of an image and its mirror image, also when searching: twice the work [default: false]
    #[arg(long, env = "DHIH_MIRROR", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    pub mirror: Option<bool>,
    /// Passes over the training images
    #[arg(long, env = "DHIH_EPOCHS", value_name = "N")]
    pub epochs: Option<usize>,
    /// Images a step [default: 64; 256 with --freeze-backbone]
    #[arg(long, env = "DHIH_BATCH_SIZE", value_name = "N")]
    pub batch_size: Option<usize>,
    /// Parts into which a step's images are cut, to go through the network one after the other in less memory; losses and batch
    /// norm see a part each [default: 1]
    #[arg(long, env = "DHIH_ACCUMULATE", value_name = "N")]
    pub accumulate: Option<usize>,
    /// Optimizer: sgd or adamw [default: sgd]
    #[arg(long, env = "DHIH_OPTIMIZER", value_name = "NAME")]
    pub optimizer: Option<String>,
    /// Learning rate after warm-up [default: 0.05, or 0.01 with --weights; 0.001 with adamw]
    #[arg(long, env = "DHIH_LEARNING_RATE", value_name = "X", alias = "lr")]
    pub learning_rate: Option<f64>,
    /// How the learning rate goes after warm-up: cosine (to 0), one-cycle (a line to 0) or constant [default: cosine]
    #[arg(long, env = "DHIH_SCHEDULE", value_name = "NAME")]
    pub schedule: Option<String>,
    /// Epochs over which the learning rate rises from 0 [default: 1]
    #[arg(long, env = "DHIH_WARMUP_EPOCHS", value_name = "X")]
    pub warmup_epochs: Option<f64>,
    /// Nesterov momentum; with adamw the decay of its first moment [default: 0.9]
    #[arg(long, env = "DHIH_MOMENTUM", value_name = "X")]
    pub momentum: Option<f64>,
    /// Length to which the gradients of a step, taken together, are cut; 0 leaves them as they are [default: 0]
    #[arg(long, env = "DHIH_CLIP_NORM", value_name = "X")]
    pub clip_norm: Option<f64>,
    /// L2 penalty of weights, with adamw decoupled from the gradient; not of scales and shifts [default: the
    /// dataset's; 0.01 with adamw]
    #[arg(long, env = "DHIH_WEIGHT_DECAY", value_name = "X")]
    pub weight_decay: Option<f64>,
    /// The network takes a moving average of the weights over the steps, of this decay; 0 takes the last weights
    /// [default: 0]
    #[arg(long, env = "DHIH_EMA_DECAY", value_name = "X")]
    pub ema_decay: Option<f64>,
    /// Part of the training images, of each class, that is held out to watch training by [default: 0]
    #[arg(long, env = "DHIH_VALIDATION", value_name = "X")]
    pub validation: Option<f64>,
    /// Stop after so many epochs without a better mAP of the held-out part, and take the best epoch's weights; 0 never
    /// stops and takes the last [default: 0]
    #[arg(long, env = "DHIH_PATIENCE", value_name = "EPOCHS")]
    pub patience: Option<usize>,
    /// Mirror images in every second epoch
    #[arg(long, env = "DHIH_FLIP", value_name = "BOOL")]
    pub flip: Option<bool>,
    /// Shift images at random by up to so many pixels
    #[arg(long, env = "DHIH_SHIFT", value_name = "PIXELS")]
    pub shift: Option<usize>,
    /// Paint over a square of so many pixels at a random place; 0 is none [default: 0]
    #[arg(long, env = "DHIH_CUTOUT", value_name = "PIXELS")]
    pub cutout: Option<usize>,
    /// Multiply brightness, contrast and saturation by random factors within 1 - X to 1 + X [default: 0]
    #[arg(long, env = "DHIH_COLOR_JITTER", value_name = "X")]
    pub color_jitter: Option<f64>,
    /// Crop images at random to no less than this part of their area, and scale them back; 1 is none [default: 1]
    #[arg(long, env = "DHIH_CROP_SCALE", value_name = "X")]
    pub crop_scale: Option<f64>,
    /// Mix this part of the batches: pairs of images exchange a rectangle, and their labels count by area; for losses of single
    /// images [default: 0]
    #[arg(long, env = "DHIH_CUTMIX", value_name = "X")]
    pub cutmix: Option<f64>,
    /// Seed of weights, order and augmentation [default: 0]
    #[arg(long, env = "DHIH_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// Device: auto, cpu or cuda:N [default: auto]
    #[arg(long, env = "DHIH_DEVICE", value_name = "DEVICE")]
    pub device: Option<String>,
}

impl TrainOptions {
    /// Reads options from a TOML file.
    ///
    /// # Errors
    /// When it cannot be read, or holds an unknown name or a value of the wrong type.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&std::fs::read_to_string(path).map_err(Error::io(path))?, path)
    }

    /// Reads options from TOML that came from `path`.
    ///
    /// # Errors
    /// When it holds an unknown name or a value of the wrong type.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|error| Error::Data {
            path: path.to_owned(),
            reason: error.to_string(),
            cure: "`dhih-train train --help` shows the names and what they take".to_owned(),
        })
    }

    /// The settings of a run, as options.
    ///
    /// # Errors
    /// When they have no such form.
    pub fn of(config: &TrainConfig) -> Result<Self> {
        let wrong = |reason: String| Error::Data {
            path: RunDir::CONFIG.into(),
            reason,
            cure: "begin a new run".to_owned(),
        };
        let text = toml::to_string(config).map_err(|error| wrong(error.to_string()))?;
        toml::from_str(&text).map_err(|error| wrong(error.to_string()))
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
            max_side,
            max_pixels,
            cache,
            gallery,
            weights,
            freeze_backbone,
            features_dir,
            backbone_lr_scale,
            backbone,
            hi_mode,
            hi_alpha,
            hi_lambda_q,
            label_smoothing,
            bits,
            hash_hidden,
            mirror,
            epochs,
            batch_size,
            accumulate,
            optimizer,
            learning_rate,
            schedule,
            warmup_epochs,
            momentum,
            clip_norm,
            weight_decay,
            ema_decay,
            validation,
            patience,
            flip,
            shift,
            cutout,
            color_jitter,
            crop_scale,
            cutmix,
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
            DatasetName::Svhn => (30, false, 2, 5e-4),
            _ => (30, true, 3, 5e-3),
        };
        let protocol = match &self.protocol {
            Some(name) => Protocol::parse(name)?,
            None => Protocol::default_for(dataset),
        };
        let weights = self.weights.as_deref().map(str::parse::<WeightsSource>).transpose()?;
        let freeze_backbone = self.freeze_backbone.unwrap_or(false);
        // Pretrained features are worth keeping, and larger than random ones: they stand a lower rate only.
        let optimizer =
            self.optimizer.as_deref().map_or(Ok(OptimizerName::Sgd), OptimizerName::parse)?;
        let (rate, weight_decay) = match (optimizer, &weights) {
            (OptimizerName::AdamW, _) => (0.001, 0.01),
            (OptimizerName::Sgd, Some(_)) => (0.01, weight_decay),
            (OptimizerName::Sgd, None) => (0.05, weight_decay),
        };
        let backbone = parse_backbone(self.backbone.as_deref().unwrap_or("small"))?;
        // Images of a size of their own keep it, unless the backbone was made for photographs.
        let side = backbone.default_side();
        let wanted = weights.is_some() || dataset.is_of_pictures() || side > 32;
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
            image_side: self.image_side.or(wanted.then_some(side)),
            max_side: self.max_side,
            max_pixels: self.max_pixels,
            cache: self.cache,
            gallery: self.gallery,
            weights,
            freeze_backbone,
            features_dir: self.features_dir,
            backbone_lr_scale: self.backbone_lr_scale.unwrap_or(1.0),
            backbone,
            bits,
            hash_hidden: self.hash_hidden.unwrap_or(0),
            label_smoothing: self.label_smoothing.unwrap_or(0.0),
            mirror: self.mirror.unwrap_or(false),
            epochs: self.epochs.unwrap_or(epochs),
            batch_size: self.batch_size.unwrap_or(if freeze_backbone { 256 } else { 64 }),
            accumulate: self.accumulate.unwrap_or(1),
            optimizer,
            learning_rate: self.learning_rate.unwrap_or(rate),
            schedule: self
                .schedule
                .as_deref()
                .map_or(Ok(ScheduleName::Cosine), ScheduleName::parse)?,
            warmup_epochs: self.warmup_epochs.unwrap_or(1.0),
            momentum: self.momentum.unwrap_or(0.9),
            clip_norm: self.clip_norm.unwrap_or(0.0),
            weight_decay: self.weight_decay.unwrap_or(weight_decay),
            ema_decay: self.ema_decay.unwrap_or(0.0),
            validation: self.validation.unwrap_or(0.0),
            patience: self.patience.unwrap_or(0),
            flip: self.flip.unwrap_or(flip),
            shift: self.shift.unwrap_or(shift),
            cutout: self.cutout.unwrap_or(0),
            color_jitter: self.color_jitter.unwrap_or(0.0),
            crop_scale: self.crop_scale.unwrap_or(1.0),
            cutmix: self.cutmix.unwrap_or(0.0),
            seed: self.seed.unwrap_or(0),
            device: self.device.unwrap_or_else(|| "auto".to_owned()),
            loss: loss.resolve(bits)?,
        };
        config.check()?;
        Ok(config)
    }
}

fn parse_backbone(name: &str) -> Result<Backbone> {
    by_name("backbone", name, Backbone::ALL.into_iter().map(|known| (known.name(), known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_optimizer_decides_the_defaults_and_misspelt_names_are_answered() {
        let resolved = |optimizer: Option<&str>| {
            let optimizer = optimizer.map(str::to_owned);
            TrainOptions { optimizer, ..TrainOptions::default() }.resolve()
        };
        let rates = |config: TrainConfig| (config.learning_rate, config.weight_decay);
        assert_eq!(rates(resolved(None).unwrap()), (0.05, 5e-3));
        assert_eq!(rates(resolved(Some("adamw")).unwrap()), (0.001, 0.01));
        let error = resolved(Some("adam")).unwrap_err().to_string();
        assert!(error.contains("adamw"), "{error}");
        let options = TrainOptions { schedule: Some("onecycle".into()), ..TrainOptions::default() };
        let error = options.resolve().unwrap_err().to_string();
        assert!(error.contains("one-cycle"), "{error}");
        for clip_norm in [-1.0, f64::NAN, f64::INFINITY] {
            let options = TrainOptions { clip_norm: Some(clip_norm), ..TrainOptions::default() };
            let error = options.resolve().unwrap_err().to_string();
            assert!(error.contains("clip_norm"), "{error}");
        }
    }
}
