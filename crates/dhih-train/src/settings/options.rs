//! From what a user gives to a [`TrainConfig`]: reads files of options, looks up names, and fills in every default. `table.rs` declares the
//! settings; `fitting.rs` knows which of them a loss can use.

use std::path::Path;

use dhih_model::Backbone;
use dhih_model::image::Fit;
use dhih_model::ops::BatchNorm;

use crate::dataset::DatasetName;
use crate::error::{Error, Result, by_name};
use crate::protocol::Protocol;
use crate::run::run_dir::RunDir;
use crate::settings::hash_norm::HashNormChoice;
use crate::settings::table::{TrainConfig, TrainOptions, muon_learning_rate, muon_momentum};
use crate::train::optim::OptimizerName;
use crate::train::schedule::ScheduleName;
use crate::train::weights::WeightsSource;

/// Defaults of training on features of a frozen backbone. They were chosen on held-out images of four sets:
/// `docs/results/tables/frozen-heads.md`.
pub(crate) struct Frozen;

impl Frozen {
    pub(crate) const HASH_HIDDEN: usize = 1024;
    pub(crate) const LEARNING_RATE: f64 = 0.1;
    pub(crate) const WEIGHT_DECAY: f64 = 0.01;
    pub(crate) const EPOCHS: usize = 15;
    pub(crate) const BATCH_SIZE: usize = 256;
}

impl TrainOptions {
    /// Reads options from a TOML file.
    ///
    /// # Errors
    /// When the file cannot be read, or contains an unknown name or a value of the wrong type.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&std::fs::read_to_string(path).map_err(Error::io(path))?, path)
    }

    /// Parses options in TOML that came from `path`.
    ///
    /// # Errors
    /// When the text contains an unknown name or a value of the wrong type.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|error| Error::Data {
            path: path.to_owned(),
            reason: in_words(error.to_string().trim_end()),
            cure: Error::SETTINGS.to_owned(),
        })
    }

    /// Options that flags gave by name, as in a TOML file; `origin` says which flags.
    ///
    /// # Errors
    /// An unknown name, with similar known names, or a value of the wrong type.
    pub fn of_table(table: toml::Table, origin: &str) -> Result<Self> {
        table.try_into().map_err(|error: toml::de::Error| Error::Setting {
            origin: origin.to_owned(),
            // The message gives a position in a table that the user has not written; only the name of the setting is kept.
            reason: in_words(error.to_string().trim_end()).replace("\nin ", " in "),
        })
    }

    /// The settings of a run, as options.
    ///
    /// # Errors
    /// When they cannot be written as options.
    pub fn of(config: &TrainConfig) -> Result<Self> {
        let wrong = |reason: String| Error::Data {
            path: RunDir::CONFIG.into(),
            reason,
            cure: "begin a new run".to_owned(),
        };
        let text = toml::to_string(config).map_err(|error| wrong(error.to_string()))?;
        toml::from_str(&text).map_err(|error| wrong(error.to_string()))
    }

    /// The same options with all constants of the loss as parts of the loss, whichever flags gave them. Only then [`Self::or`] lets them override
    /// those of other options.
    ///
    /// # Errors
    /// When two flags give a constant different values, or a flag of the HI loss is given with another loss.
    pub fn with_constants(mut self) -> Result<Self> {
        let params = std::mem::take(&mut self.loss_param);
        let mut loss = self.loss.take().unwrap_or_default().with_params(params);
        loss.set_hi("hi_mode", "mode", self.hi_mode.take().map(Into::into))?;
        loss.set_hi("hi_alpha", "alpha", self.hi_alpha.take().map(Into::into))?;
        loss.set_hi("hi_lambda_q", "lambda_q", self.hi_lambda_q.take().map(Into::into))?;
        Ok(Self { loss: Some(loss), ..self })
    }

    /// Fills in the defaults and checks every value.
    ///
    /// # Errors
    /// Unknown names, with the nearest known one, and values out of range.
    pub fn resolve(self) -> Result<TrainConfig> {
        let options = self.with_switches().with_constants()?;
        let dataset = DatasetName::parse(options.dataset.as_deref().unwrap_or("demo"))?;
        // Small sets need a stronger weight decay; centred images should not be shifted.
        let (epochs, flip, shift, weight_decay) = match dataset {
            DatasetName::Demo => (8, true, 2, 5e-3),
            DatasetName::FashionMnist => (8, false, 0, 2e-3),
            DatasetName::Cifar10 | DatasetName::Cifar100 | DatasetName::Cifar100Coarse => {
                (30, true, 4, 5e-4)
            }
            DatasetName::Svhn => (30, false, 2, 5e-4),
            _ => (30, true, 3, 5e-3),
        };
        let freeze_backbone = options.freeze_backbone.unwrap_or(false);
        let default_epochs = if freeze_backbone { Frozen::EPOCHS } else { epochs };
        let epochs = options.epochs.unwrap_or(default_epochs);
        let warmup_epochs = options.warmup_epochs(epochs)?;
        let data_dir = options.data_dir.unwrap_or_else(|| Path::new("data").join(dataset.folder()));
        let protocol = match &options.protocol {
            Some(name) => Protocol::parse(name)?,
            None => Protocol::default_in(dataset, &data_dir),
        };
        let weights = options.weights.as_deref().map(str::parse::<WeightsSource>).transpose()?;
        // A lower rate preserves pretrained features. They are also larger than random ones, so that a higher rate diverges.
        let optimizer =
            options.optimizer.as_deref().map_or(Ok(OptimizerName::Sgd), OptimizerName::parse)?;
        let (rate, weight_decay) = match (optimizer, &weights) {
            (OptimizerName::AdamW, _) => (0.001, 0.01),
            _ if freeze_backbone => (Frozen::LEARNING_RATE, Frozen::WEIGHT_DECAY),
            (OptimizerName::Sgd | OptimizerName::Muon, Some(_)) => (0.01, weight_decay),
            (OptimizerName::Sgd | OptimizerName::Muon, None) => (0.05, weight_decay),
        };
        let backbone = parse_backbone(options.backbone.as_deref().unwrap_or("small"))?;
        // Images of a set with one fixed size keep it, unless the backbone was designed for photographs.
        let side = backbone.default_side();
        let wanted = weights.is_some() || dataset.is_of_pictures() || side > 32;
        let bits = options.bits.unwrap_or(48);
        let loss = options.loss.unwrap_or_default();
        let config = TrainConfig {
            strict: options.strict.unwrap_or(false),
            data_dir,
            dataset,
            protocol,
            split_seed: options.split_seed.unwrap_or(0),
            demo_images: options.demo_images.unwrap_or(10_000),
            image_side: options.image_side.or(wanted.then_some(side)),
            fit: parse_fit(options.fit.as_deref())?.unwrap_or(match weights {
                Some(_) => backbone.pretrained_fit(),
                None => Fit::default(),
            }),
            max_side: options.max_side,
            max_pixels: options.max_pixels,
            cache: options.cache,
            gallery: options.gallery,
            min_class_images: options.min_class_images.unwrap_or(0),
            weights,
            freeze_backbone,
            train_last: options.train_last,
            features_dir: options.features_dir,
            backbone_lr_scale: options.backbone_lr_scale.unwrap_or(1.0),
            norm_shift_lr_scale: options.norm_shift_lr_scale.unwrap_or(1.0),
            norm_momentum: options.norm_momentum.unwrap_or(BatchNorm::MOMENTUM),
            norm_scales: options.norm_scales.unwrap_or(true),
            backbone,
            bits,
            feature_norm: options.feature_norm.unwrap_or(false),
            hash_hidden: options.hash_hidden.unwrap_or(if freeze_backbone {
                Frozen::HASH_HIDDEN
            } else {
                0
            }),
            hash_norm: options
                .hash_norm
                .as_deref()
                .map_or(Ok(HashNormChoice::Auto), HashNormChoice::parse)?,
            label_smoothing: options.label_smoothing.unwrap_or(0.0),
            mirror: options.mirror.unwrap_or(false),
            shifted_views: options.shifted_views.unwrap_or(false),
            epochs,
            batch_size: options.batch_size.unwrap_or(if freeze_backbone {
                Frozen::BATCH_SIZE
            } else {
                64
            }),
            accumulate: options.accumulate.unwrap_or(1),
            optimizer,
            learning_rate: options.learning_rate.unwrap_or(rate),
            muon_learning_rate: options.muon_learning_rate.unwrap_or_else(muon_learning_rate),
            muon_momentum: options.muon_momentum.unwrap_or_else(muon_momentum),
            schedule: options
                .schedule
                .as_deref()
                .map_or(Ok(ScheduleName::Cosine), ScheduleName::parse)?,
            warmup_epochs,
            momentum: options.momentum.unwrap_or(0.9),
            clip_norm: options.clip_norm.unwrap_or(0.0),
            weight_decay: options.weight_decay.unwrap_or(weight_decay),
            ema_decay: options.ema_decay.unwrap_or(0.0),
            lookahead: options.lookahead.unwrap_or(0),
            validation: options.validation.unwrap_or(0.0),
            patience: options.patience.unwrap_or(0),
            flip: options.flip.unwrap_or(flip),
            shift: options.shift.unwrap_or(shift),
            cutout: options.cutout.unwrap_or(0),
            color_jitter: options.color_jitter.unwrap_or(0.0),
            crop_scale: options.crop_scale.unwrap_or(1.0),
            cutmix: options.cutmix.unwrap_or(0.0),
            seed: options.seed.unwrap_or(0),
            device: options.device.unwrap_or_else(|| "auto".to_owned()),
            checkpoint_minutes: options.checkpoint_minutes.unwrap_or(10.0),
            loss: loss.resolve(bits)?,
        };
        config.check()?;
        Ok(config)
    }

    /// The number of epochs in which the learning rate rises, given directly or as a share of `epochs`.
    fn warmup_epochs(&self, epochs: usize) -> Result<f64> {
        let wrong = |got: String, expected: &str| {
            Err(Error::Config { name: "warmup", got, expected: expected.to_owned() })
        };
        match (self.warmup, self.warmup_epochs) {
            (Some(part), Some(number)) => {
                wrong(format!("{part}, and warmup_epochs {number}"), "one of the two")
            }
            (Some(part), None) if !(0.0..=1.0).contains(&part) => {
                wrong(part.to_string(), "a part of training, 0 to 1")
            }
            (Some(part), None) => Ok(part * epochs as f64),
            (None, number) => Ok(number.unwrap_or(1.0)),
        }
    }
}

/// An error of the TOML reader in the words of settings: with the most similar names in place of the list of all names, which is longer than a
/// screen, and without type names of the code.
fn in_words(message: &str) -> String {
    let mut message = message.to_owned();
    if let Some((before, _)) = message.split_once(", expected one of `dataset`") {
        let unknown =
            before.rsplit_once("unknown field `").map(|(_, name)| name.trim_end_matches('`'));
        let known = TrainOptions::NAMES.iter().copied();
        let proposed = unknown.map(|got| dhih_manual::did_you_mean(got, known));
        message =
            before.replace("unknown field", "unknown setting") + &proposed.unwrap_or_default();
    }
    for (kind, words) in [
        ("usize", "a whole number"),
        ("u64", "a whole number"),
        ("u32", "a whole number"),
        ("f64", "a number"),
    ] {
        message = message.replace(&format!("expected {kind}"), &format!("expected {words}"));
    }
    message
}

fn parse_backbone(name: &str) -> Result<Backbone> {
    by_name("backbone", name, Backbone::ALL.iter().copied().map(|known| (known.name(), known)))
}

fn parse_fit(text: Option<&str>) -> Result<Option<Fit>> {
    let wrong = |reason| Error::Setting { origin: "fit".to_owned(), reason };
    text.map(|text| text.parse().map_err(wrong)).transpose()
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
        let options =
            TrainOptions { schedule: Some("constantly".into()), ..TrainOptions::default() };
        let error = options.resolve().unwrap_err().to_string();
        assert!(error.contains("constant"), "{error}");
        for clip_norm in [-1.0, f64::NAN, f64::INFINITY] {
            let options = TrainOptions { clip_norm: Some(clip_norm), ..TrainOptions::default() };
            let error = options.resolve().unwrap_err().to_string();
            assert!(error.contains("clip_norm"), "{error}");
        }
    }

    /// A seed that TOML cannot have was written to `config.toml`, which then could not be read: the evaluation of a finished training was lost.
    #[test]
    fn what_a_file_cannot_have_is_refused_before_training() {
        let most = i64::MAX as u64;
        let of = |seed: u64, patience: usize| TrainOptions {
            seed: Some(seed),
            split_seed: Some(seed),
            max_pixels: Some(seed),
            patience: Some(patience),
            validation: Some(0.1),
            ..TrainOptions::default()
        };
        let config = of(most, most as usize).resolve().unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), config);
        let error = of(0, usize::MAX).resolve().unwrap_err().to_string();
        assert!(error.starts_with("patience is 18446744073709551615, expected at most"), "{error}");
        for name in ["split_seed", "max_pixels", "seed"] {
            let mut wrong = config.clone();
            match name {
                "split_seed" => wrong.split_seed = most + 1,
                "max_pixels" => wrong.max_pixels = Some(most + 1),
                _ => wrong.seed = most + 1,
            }
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} is 9223372036854775808")), "{error}");
            // Two settings of which one cannot be written were taken for equal.
            assert!(wrong.differences(&config).is_err(), "{name}");
        }
        assert!(config.differences(&config).unwrap().is_empty());
    }

    #[test]
    fn warm_up_is_a_part_of_training_and_old_files_say_epochs() {
        let of = |text: &str| TrainOptions::parse(text, "t.toml".as_ref()).unwrap();
        let epochs = |options: TrainOptions| options.resolve().map(|config| config.warmup_epochs);
        assert_eq!(epochs(of("epochs = 32\nwarmup = 0.1875")).unwrap(), 6.0);
        assert_eq!(epochs(of("epochs = 4\nwarmup = 0.1875")).unwrap(), 0.75);
        assert_eq!(epochs(of("epochs = 4\nwarmup_epochs = 3")).unwrap(), 3.0);
        assert_eq!(epochs(of("epochs = 4")).unwrap(), 1.0);
        // A flag overrides the file, whichever of the two forms it has.
        let file = || of("warmup_epochs = 3");
        assert_eq!(epochs(of("epochs = 10\nwarmup = 0.5").or(file())).unwrap(), 5.0);
        assert_eq!(epochs(file().or(of("warmup = 0.5"))).unwrap(), 3.0);
        for (text, part) in [
            ("warmup = 1.5", "warmup is 1.5, expected a part"),
            ("warmup = 0.5\nwarmup_epochs = 3", "warmup is 0.5, and warmup_epochs 3"),
            ("epochs = 4\nwarmup_epochs = 6", "warmup_epochs is 6"),
        ] {
            let error = of(text).resolve().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn schedules_of_older_versions_are_still_read() {
        let of = |text: &str| TrainOptions::parse(text, "t.toml".as_ref()).unwrap().resolve();
        let [new, old] = ["linear", "one-cycle"].map(|name| of(&format!("schedule = '{name}'")));
        let (new, old) = (new.unwrap(), old.unwrap());
        assert_eq!(new, old);
        let text = toml::to_string(&new).unwrap();
        assert!(text.contains("schedule = \"linear\""), "{text}");
        let written = text.replace("\"linear\"", "\"one-cycle\"");
        assert_eq!(toml::from_str::<TrainConfig>(&written).unwrap(), new);
    }

    #[test]
    fn a_switch_that_is_off_overrides_one_that_is_on() {
        let on = TrainOptions { mirror: Some(true), ..TrainOptions::default() };
        let off = TrainOptions { no_mirror: true, ..TrainOptions::default() };
        assert!(on.clone().resolve().unwrap().mirror);
        assert!(!off.clone().or(on.clone()).resolve().unwrap().mirror);
        assert!(on.or(off).resolve().unwrap().mirror);
    }
}
