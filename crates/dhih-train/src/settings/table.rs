//! Every setting of a training run, declared once: its flag, its environment variable, its name in a TOML file, what a user may give
//! ([`TrainOptions`]), and what it is resolved to ([`TrainConfig`]). `options.rs` resolves defaults and names, `config.rs` checks ranges. To add
//! a setting, add a line here, a line in `options.rs`, and a check in `config.rs`.

use std::path::PathBuf;

use clap::Args;
use dhih_model::image::Fit;
use dhih_model::ops::BatchNorm;
use dhih_model::{Backbone, Loss};
use serde::{Deserialize, Serialize};

use crate::dataset::DatasetName;
use crate::protocol::Protocol;
use crate::settings::gallery::GalleryChoice;
use crate::settings::hash_norm::HashNormChoice;
use crate::settings::loss_options::{LossOptions, LossParam};
use crate::train::optim::OptimizerName;
use crate::train::schedule::ScheduleName;
use crate::train::weights::WeightsSource;

const DATA: &str = "Data";
const NETWORK: &str = "Network";
const LOSS: &str = "Loss";
const TRAINING: &str = "Training";
const VARIATION: &str = "Variation of images";

/// Declares the settings. A row of `values` is `name: type given => type resolved`. Its `arg` attribute describes the flag; its `serde`
/// attribute says what a missing value in older `config.toml` files means. A row of `switches` is a pair of flags without a value. A row of
/// `given` is not resolved to a setting of its own.
macro_rules! settings {
    (
        values {
            $($(#[doc = $doc:expr])+ #[arg($($arg:tt)*)] $(#[serde($($serde:tt)*)])?
            $name:ident: $given:ty => $resolved:ty;)+
        }
        switches {
            $($(#[doc = $on_doc:expr])+ #[arg($($on_arg:tt)*)] $(#[serde($($on_serde:tt)*)])? $on:ident;
            $(#[doc = $off_doc:expr])+ $off:ident;)+
        }
        given {
            $($(#[doc = $only_doc:expr])+ #[arg($($only_arg:tt)*)] $only:ident: $only_given:ty;)+
        }
    ) => {
        /// What a user may set; the same names as flags, as `DHIH_...` variables and in the TOML file. What is not set gets the
        /// dataset's default.
        #[derive(Debug, Clone, Default, Args, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct TrainOptions {
            $($(#[doc = $doc])+ #[arg($($arg)*)] pub $name: Option<$given>,)+
            $(
                $(#[doc = $on_doc])+
                #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL",
                    hide_possible_values = true, overrides_with = stringify!($off), $($on_arg)*)]
                pub $on: Option<bool>,
                $(#[doc = $off_doc])+
                #[arg(long, overrides_with = stringify!($on), $($on_arg)*, env = None::<&str>)]
                #[serde(skip)]
                pub $off: bool,
            )+
            /// Loss, and constants of it: NAME or NAME:CONSTANT=VALUE:...; `list losses` shows all [default: hi]
            #[arg(long, env = "DHIH_LOSS", value_name = "LOSS", help_heading = LOSS)]
            pub loss: Option<LossOptions>,
            /// Constant of the loss, repeatable; in a file, an entry of the table loss
            #[arg(long, env = "DHIH_LOSS_PARAM", value_name = "NAME=VALUE", value_delimiter = ',', help_heading = LOSS)]
            #[serde(skip)]
            pub loss_param: Vec<LossParam>,
            $($(#[doc = $only_doc])+ #[arg($($only_arg)*)] pub $only: Option<$only_given>,)+
        }

        /// All settings of a run, resolved and checked; written to `config.toml`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct TrainConfig {
            $($(#[doc = $doc])+ $(#[serde($($serde)*)])? pub $name: $resolved,)+
            $($(#[doc = $on_doc])+ $(#[serde($($on_serde)*)])? pub $on: bool,)+
            /// The loss with its constants.
            pub loss: Loss,
        }

        impl TrainOptions {
            /// The names of all settings in files.
            pub const NAMES: &'static [&'static str] = &[
                $(stringify!($name),)+ $(stringify!($on),)+ "loss", $(stringify!($only),)+
            ];

            /// These options, completed by `other`.
            pub fn or(self, other: Self) -> Self {
                let (own, mut other) = (self.with_switches(), other.with_switches());
                // Both options set the length of warm-up, so that either of them overrides both of `other`.
                if own.warmup.is_some() || own.warmup_epochs.is_some() {
                    (other.warmup, other.warmup_epochs) = (None, None);
                }
                let loss = match (own.loss, other.loss) {
                    (Some(loss), Some(other)) => Some(loss.or(other)),
                    (loss, other) => loss.or(other),
                };
                Self {
                    loss,
                    loss_param: [other.loss_param, own.loss_param].concat(),
                    $($name: own.$name.or(other.$name),)+
                    $($on: own.$on.or(other.$on), $off: false,)+
                    $($only: own.$only.or(other.$only),)+
                }
            }

            /// The same options with each `--no-SWITCH` as a value of its switch.
            pub(super) fn with_switches(mut self) -> Self {
                $(if std::mem::take(&mut self.$off) {
                    self.$on = Some(false);
                })+
                self
            }
        }
    };
}

fn one() -> f64 {
    1.0
}

fn one_part() -> usize {
    1
}

pub(super) fn muon_learning_rate() -> f64 {
    0.24
}

pub(super) fn muon_momentum() -> f64 {
    0.6
}

fn norm_momentum() -> f64 {
    BatchNorm::MOMENTUM
}

fn yes() -> bool {
    true
}

fn ten_minutes() -> f64 {
    10.0
}

settings! {
values {
    /// Dataset; `list datasets` shows all [default: demo]
    #[arg(long, env = "DHIH_DATASET", value_name = "NAME", help_heading = DATA)]
    dataset: String => DatasetName;
    /// Folder of the dataset [default: data/NAME]
    #[arg(long, env = "DHIH_DATA_DIR", value_name = "DIR", help_heading = DATA)]
    data_dir: PathBuf => PathBuf;
    /// Protocol: which images are for training, which are the database and which are queries [default: the dataset's own]
    #[arg(long, env = "DHIH_PROTOCOL", value_name = "NAME", help_heading = DATA)]
    protocol: String => Protocol;
    /// Seed of the split, where the protocol draws one [default: 0]
    #[arg(long, env = "DHIH_SPLIT_SEED", value_name = "N", help_heading = DATA)]
    split_seed: u64 => u64;
    /// Number of images of the demo set [default: 10000]
    #[arg(long, env = "DHIH_DEMO_IMAGES", value_name = "N", help_heading = DATA)]
    demo_images: usize => usize;
    /// Side to which images are cropped and scaled, in pixels [default: what the backbone was made for, 32 or 224;
    /// small images keep their size where it is 32]
    #[arg(long, env = "DHIH_IMAGE_SIDE", value_name = "PIXELS", help_heading = DATA)]
    image_side: usize => Option<usize>;
    /// How pictures are scaled to that side: `linear` or `bicubic`, then `middle`, `whole` or the part of the sides whose middle is taken, as in
    /// `bicubic 0.875` [default: as pretrained weights were evaluated, or `linear middle`]
    #[arg(long, env = "DHIH_FIT", value_name = "FIT", help_heading = DATA)]
    #[serde(default)]
    fit: String => Fit;
    /// Longest side of a picture that is taken, in pixels [default: 65535]
    #[arg(long, env = "DHIH_MAX_SIDE", value_name = "PIXELS", help_heading = DATA)]
    max_side: u32 => Option<u32>;
    /// Largest area of a picture that is taken, in pixels [default: 250000000]
    #[arg(long, env = "DHIH_MAX_PIXELS", value_name = "N", help_heading = DATA)]
    max_pixels: u64 => Option<u64>;
    /// Folder in which decoded pictures are kept for the next run [default: none]
    #[arg(long, env = "DHIH_CACHE", value_name = "DIR", help_heading = DATA)]
    cache: PathBuf => Option<PathBuf>;
    /// Which thumbnails the run keeps: none, queries or all [default: all up to 100,000 images, else queries]
    #[arg(long, env = "DHIH_GALLERY", value_name = "WHICH", help_heading = DATA)]
    gallery: GalleryChoice => Option<GalleryChoice>;
    /// Leave out the classes that have fewer images than this, and say how many; 0 leaves none out [default: 0]
    #[arg(long, env = "DHIH_MIN_CLASS_IMAGES", value_name = "N", help_heading = DATA)]
    #[serde(default)]
    min_class_images: usize => usize;
    /// Pretrained backbone: a file, a model's folder or hf:OWNER/REPO(@REVISION)(/FILE); #sha256=HEX at the end demands a checksum
    #[arg(long, env = "DHIH_WEIGHTS", value_name = "SOURCE", help_heading = NETWORK)]
    weights: String => Option<WeightsSource>;
    /// Train the last N blocks of the pretrained backbone and the hash layer, and keep the blocks before them as they are [default: all blocks]
    #[arg(long, env = "DHIH_TRAIN_LAST", value_name = "N", help_heading = NETWORK)]
    train_last: usize => Option<usize>;
    /// Folder in which runs share the features of a frozen backbone [default: the run's own]
    #[arg(long, env = "DHIH_FEATURES_DIR", value_name = "DIR", help_heading = NETWORK)]
    features_dir: PathBuf => Option<PathBuf>;
    /// Learning rate of the backbone, as a part of the others' [default: 1]
    #[arg(long, env = "DHIH_BACKBONE_LR_SCALE", value_name = "X", help_heading = TRAINING)]
    #[serde(default = "one")]
    backbone_lr_scale: f64 => f64;
    /// Learning rate of the shifts of the backbone's batch norm, as a multiple of that of its weights; other than 1 they decay as weights do
    /// [default: 1]
    #[arg(long, env = "DHIH_NORM_SHIFT_LR_SCALE", value_name = "X", help_heading = TRAINING)]
    #[serde(default = "one")]
    norm_shift_lr_scale: f64 => f64;
    /// Share of a step's images in the running statistics of batch norm [default: 0.1]
    #[arg(long, env = "DHIH_NORM_MOMENTUM", value_name = "X", help_heading = TRAINING)]
    #[serde(default = "norm_momentum")]
    norm_momentum: f64 => f64;
    /// Backbone [default: small]
    #[arg(long, env = "DHIH_BACKBONE", value_name = "NAME", help_heading = NETWORK)]
    backbone: String => Backbone;
    /// Part of the labels' weight that is spread over all classes [default: 0]
    #[arg(long, env = "DHIH_LABEL_SMOOTHING", value_name = "X", help_heading = LOSS)]
    #[serde(default)]
    label_smoothing: f64 => f64;
    /// Code length in bits, 1 to 1024 [default: 48]
    #[arg(long, env = "DHIH_BITS", value_name = "K", help_heading = NETWORK)]
    bits: usize => usize;
    /// Units of a hidden layer before the hash layer's outputs; 0 is none [default: 0; 1024 with --freeze-backbone]
    #[arg(long, env = "DHIH_HASH_HIDDEN", value_name = "N", help_heading = NETWORK)]
    #[serde(default)]
    hash_hidden: usize => usize;
    /// What the hash layer ends in: batch (batch norm), none, or auto (what the loss asks for) [default: auto]
    #[arg(long, env = "DHIH_HASH_NORM", value_name = "NORM", help_heading = NETWORK)]
    #[serde(default)]
    hash_norm: String => HashNormChoice;
    /// Passes over the training images [default: the dataset's; 15 with --freeze-backbone]
    #[arg(long, env = "DHIH_EPOCHS", value_name = "N", help_heading = TRAINING)]
    epochs: usize => usize;
    /// Images a step [default: 64; 256 with --freeze-backbone]
    #[arg(short, long, env = "DHIH_BATCH_SIZE", value_name = "N", help_heading = TRAINING)]
    batch_size: usize => usize;
    /// Parts into which a step's images are cut, to go through the network one after the other in less memory; losses and batch
    /// norm see a part each [default: 1]
    #[arg(long, env = "DHIH_ACCUMULATE", value_name = "N", help_heading = TRAINING)]
    #[serde(default = "one_part")]
    accumulate: usize => usize;
    /// Optimizer: sgd, adamw, or muon, which is sgd but for the filters of convolutions [default: sgd]
    #[arg(long, env = "DHIH_OPTIMIZER", value_name = "NAME", help_heading = TRAINING)]
    #[serde(default)]
    optimizer: String => OptimizerName;
    /// Learning rate after warm-up [default: 0.05; 0.01 with --weights; 0.1 with --freeze-backbone; 0.001 with adamw]
    #[arg(long, env = "DHIH_LEARNING_RATE", value_name = "X", visible_alias = "lr", help_heading = TRAINING)]
    learning_rate: f64 => f64;
    /// Learning rate of the filters with muon, as a part of their length [default: 0.24]
    #[arg(long, env = "DHIH_MUON_LEARNING_RATE", value_name = "X", help_heading = TRAINING)]
    #[serde(default = "muon_learning_rate")]
    muon_learning_rate: f64 => f64;
    /// Nesterov momentum of the filters with muon [default: 0.6]
    #[arg(long, env = "DHIH_MUON_MOMENTUM", value_name = "X", help_heading = TRAINING)]
    #[serde(default = "muon_momentum")]
    muon_momentum: f64 => f64;
    /// How the learning rate goes after warm-up: cosine (along half a cosine to 0), linear (to 0) or constant [default: cosine]
    #[arg(long, env = "DHIH_SCHEDULE", value_name = "NAME", help_heading = TRAINING)]
    #[serde(default)]
    schedule: String => ScheduleName;
    /// The same as a number of epochs, which does not shrink with --epochs
    #[arg(long, env = "DHIH_WARMUP_EPOCHS", value_name = "X", hide = true, help_heading = TRAINING)]
    warmup_epochs: f64 => f64;
    /// Nesterov momentum; with adamw the decay of its first moment [default: 0.9]
    #[arg(long, env = "DHIH_MOMENTUM", value_name = "X", help_heading = TRAINING)]
    momentum: f64 => f64;
    /// Length to which all gradients of a step together are cut; 0 leaves them as they are [default: 0]
    #[arg(long, env = "DHIH_CLIP_NORM", value_name = "X", help_heading = TRAINING)]
    #[serde(default)]
    clip_norm: f64 => f64;
    /// L2 penalty of weights, with adamw decoupled from the gradient; not of scales and shifts [default: the
    /// dataset's; 0.01 with --freeze-backbone or adamw]
    #[arg(long, env = "DHIH_WEIGHT_DECAY", value_name = "X", visible_alias = "wd", help_heading = TRAINING)]
    weight_decay: f64 => f64;
    /// The network takes a moving average of the weights over the steps, of this decay; 0 takes the last weights
    /// [default: 0]
    #[arg(long, env = "DHIH_EMA_DECAY", value_name = "X", help_heading = TRAINING)]
    #[serde(default)]
    ema_decay: f64 => f64;
    /// Move slow copies of the weights towards the trained ones every so many steps, continue from them,
    /// and take them at the end (Lookahead); 0 is off
    /// [default: 0]
    #[arg(long, env = "DHIH_LOOKAHEAD", value_name = "STEPS", help_heading = TRAINING)]
    #[serde(default)]
    lookahead: usize => usize;
    /// Part of the training images of each class that is held out to watch training by [default: 0]
    #[arg(long, env = "DHIH_VALIDATION", value_name = "X", help_heading = TRAINING)]
    #[serde(default)]
    validation: f64 => f64;
    /// Stop after this many epochs without a better mAP of the held-out part, and take the best epoch's weights; 0 never
    /// stops and takes the last [default: 0]
    #[arg(long, env = "DHIH_PATIENCE", value_name = "EPOCHS", help_heading = TRAINING)]
    #[serde(default)]
    patience: usize => usize;
    /// Shift images at random by up to this many pixels [default: the dataset's]
    #[arg(long, env = "DHIH_SHIFT", value_name = "PIXELS", help_heading = VARIATION)]
    shift: usize => usize;
    /// Paint over a square of this many pixels at a random place; 0 paints none [default: 0]
    #[arg(long, env = "DHIH_CUTOUT", value_name = "PIXELS", help_heading = VARIATION)]
    #[serde(default)]
    cutout: usize => usize;
    /// Multiply brightness, contrast and saturation by random factors within 1 - X to 1 + X [default: 0]
    #[arg(long, env = "DHIH_COLOR_JITTER", value_name = "X", help_heading = VARIATION)]
    #[serde(default)]
    color_jitter: f64 => f64;
    /// Crop images at random, to this part of their area or more, and scale them back; 1 crops nothing [default: 1]
    #[arg(long, env = "DHIH_CROP_SCALE", value_name = "X", help_heading = VARIATION)]
    #[serde(default = "one")]
    crop_scale: f64 => f64;
    /// Mix this part of the batches: pairs of images exchange a rectangle, and their labels count by area; for losses of single
    /// images [default: 0]
    #[arg(long, env = "DHIH_CUTMIX", value_name = "X", help_heading = VARIATION)]
    #[serde(default)]
    cutmix: f64 => f64;
    /// Seed of weights, order and augmentation [default: 0]
    #[arg(long, env = "DHIH_SEED", value_name = "N", help_heading = TRAINING)]
    seed: u64 => u64;
    /// Device: auto, cpu or cuda:N [default: auto]
    #[arg(long, env = "DHIH_DEVICE", value_name = "DEVICE", help_heading = TRAINING)]
    device: String => String;
    /// Minutes after which the state of training is saved within an epoch, for --resume; 0 saves after whole epochs alone
    /// [default: 10]
    #[arg(long, env = "DHIH_CHECKPOINT_MINUTES", value_name = "X", help_heading = TRAINING)]
    #[serde(default = "ten_minutes")]
    checkpoint_minutes: f64 => f64;
}
switches {
    /// Refuse a dataset in which a file, folder or link cannot be used; without it they are left out and listed [default: false]
    #[arg(env = "DHIH_STRICT", help_heading = DATA)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    strict;
    /// Leave out what cannot be used, and list it
    no_strict;
    /// Train the hash layer alone, on features that the pretrained backbone computes once [default: false]
    #[arg(env = "DHIH_FREEZE_BACKBONE", help_heading = NETWORK)]
    #[serde(default)]
    freeze_backbone;
    /// Train the backbone, too
    no_freeze_backbone;
    /// Make a code of an image and its mirror image, also when searching: twice the work [default: false]
    #[arg(env = "DHIH_MIRROR", help_heading = NETWORK)]
    #[serde(default)]
    mirror;
    /// Make a code of an image alone
    no_mirror;
    /// Make a code of an image and of the image shifted by a pixel, two ways, also when searching: three times the work [default: false]
    #[arg(env = "DHIH_SHIFTED_VIEWS", help_heading = NETWORK)]
    #[serde(default)]
    shifted_views;
    /// Make a code without shifted images
    no_shifted_views;
    /// Train the scales of the backbone's batch norm [default: true]
    #[arg(env = "DHIH_NORM_SCALES", help_heading = TRAINING)]
    #[serde(default = "yes")]
    norm_scales;
    /// Leave the scales of the backbone's batch norm at 1
    no_norm_scales;
    /// Begin the hash layer with batch norm of the features [default: false]
    #[arg(env = "DHIH_FEATURE_NORM", help_heading = NETWORK)]
    #[serde(default)]
    feature_norm;
    /// Give the features to the hash layer as they are
    no_feature_norm;
    /// Mirror images in every second epoch [default: the dataset's]
    #[arg(env = "DHIH_FLIP", help_heading = VARIATION)]
    flip;
    /// Never mirror images
    no_flip;
}
given {
    /// Mode of the HI loss: target, global, cosine or cosine-weights [default: target]
    #[arg(long, env = "DHIH_HI_MODE", value_name = "MODE", help_heading = LOSS)]
    hi_mode: String;
    /// Sensitivity alpha of the HI loss [default: 0.8]
    #[arg(long, env = "DHIH_HI_ALPHA", value_name = "X", help_heading = LOSS)]
    hi_alpha: f64;
    /// Weight of the HI loss's quantisation term [default: 0 where supervised quantisation (mu) takes its place, and for cosines;
    /// else 0.01]
    #[arg(long, env = "DHIH_HI_LAMBDA_Q", value_name = "X", help_heading = LOSS)]
    hi_lambda_q: f64;
    /// Part of training in which the learning rate rises from 0 [default: one epoch]
    #[arg(long, env = "DHIH_WARMUP", value_name = "X", help_heading = TRAINING)]
    warmup: f64;
}
}
