//! Trains a hash layer on labelled vectors, such as embeddings, into a codec. The losses, the optimiser and the schedule are those of networks.
//! `train/trainer` trains a network with a frozen backbone in the same way, on features that it computes itself.

mod targets;
mod training;

use std::time::Instant;

use dhih_index::Labels;
use dhih_model::codec::{Codec, Rows};
use dhih_model::{HashLayerConfig, Loss};
use rand::seq::SliceRandom;

use self::targets::Targets;
use self::training::Training;
use super::steps::LEAST_BATCH;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::settings::loss_options::LossOptions;
use crate::settings::options::Frozen;

/// The settings of the training.
#[derive(Debug, Clone)]
pub struct HeadConfig {
    /// Code length in bits.
    pub bits: usize,
    /// Shorter code lengths, ascending, whose first bits are codes of their own. Each length has its own loss, and the mean of all losses is
    /// trained.
    pub nested: Vec<usize>,
    /// Whether vectors are normalised to length 1 first.
    pub normalize: bool,
    /// The loss, and those of its constants that differ from its defaults.
    pub loss: LossOptions,
    /// Units of a hidden layer; 0 means none.
    pub hidden: usize,
    /// Passes over the vectors.
    pub epochs: usize,
    /// Vectors of a step.
    pub batch_size: usize,
    /// The highest learning rate, after the first epoch.
    pub learning_rate: f64,
    /// L2 penalty of weights.
    pub weight_decay: f64,
    /// The share of the labels' weight that is spread over all classes.
    pub label_smoothing: f64,
    /// The share of the labelled vectors that is held out for validation.
    pub validation: f64,
    /// The seed of weights and order.
    pub seed: u64,
}

impl Default for HeadConfig {
    /// 64 bits of normalised vectors by the HI loss, trained like a hash layer on a frozen backbone.
    fn default() -> Self {
        Self {
            bits: 64,
            nested: Vec::new(),
            normalize: true,
            loss: LossOptions::default(),
            hidden: Frozen::HASH_HIDDEN,
            epochs: Frozen::EPOCHS,
            batch_size: Frozen::BATCH_SIZE,
            learning_rate: Frozen::LEARNING_RATE,
            weight_decay: Frozen::WEIGHT_DECAY,
            label_smoothing: 0.0,
            validation: 0.0,
            seed: 0,
        }
    }
}

/// Vectors with their labels.
#[derive(Clone, Copy)]
pub struct Labelled<'a> {
    /// The vectors.
    pub rows: &'a dyn Rows,
    /// The labels of each vector. Vectors without a label are not trained on.
    pub labels: &'a Labels,
}

/// The result of training.
pub struct TrainedHead {
    /// The codec.
    pub codec: Codec,
    /// The number of vectors that were trained on.
    pub trained: usize,
    /// The results on the held-out vectors, where there are some.
    pub validation: Option<Validation>,
}

/// The results of a hash layer on held-out vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validation {
    /// The mAP of their codes among themselves, each compared with all others except itself.
    pub map: f64,
    /// The share of vectors that the classifier of the loss classifies correctly; absent where the loss is pairwise and knows no classes.
    pub accuracy: Option<f64>,
}

/// Trains a hash layer and returns it as a codec.
///
/// # Errors
/// [`Error::Config`] where a setting is out of range, the number of labels is not that of vectors, there are fewer than two classes, or fewer
/// labelled vectors than a step needs; [`Error::Diverged`] where the loss is no longer finite; those of the vectors.
pub fn train_head(
    data: Labelled<'_>,
    config: &HeadConfig,
    progress: Progress,
) -> Result<TrainedHead> {
    config.check()?;
    let targets = Targets::new(data)?;
    let mut rows: Vec<usize> = (0..data.rows.len()).filter(|row| targets.has_label(*row)).collect();
    rows.shuffle(&mut dhih_model::named_rng(config.seed, "held out"));
    let held_out = rows.split_off(rows.len() - (rows.len() as f64 * config.validation) as usize);
    rows.sort_unstable();
    if rows.len() < LEAST_BATCH {
        let (name, got) = ("the number of labelled vectors to train on", rows.len().to_string());
        return Err(Error::Config { name, got, expected: format!("at least {LEAST_BATCH}") });
    }
    let training = Training::new(data, config, &targets, progress)?;
    let started = Instant::now();
    let mut validation = None;
    for epoch in 1..=config.epochs {
        let loss = training.epoch(epoch, &rows)?;
        validation = training.validate(&held_out)?;
        let mut line = format!("epoch {epoch}/{}  loss {loss:.4}", config.epochs);
        if let Some(Validation { map, accuracy }) = validation {
            line += &format!("  validation mAP {map:.4}");
            let accuracy = accuracy.map(|share| format!("  validation accuracy {share:.4}"));
            line += &accuracy.unwrap_or_default();
        }
        progress.line(line);
    }
    let seconds = started.elapsed().as_secs_f64();
    progress.line(format!("trained on {} vectors in {seconds:.1} s", rows.len()));
    let codec = Codec::of_hash_layer(training.codec, &training.layer)?;
    Ok(TrainedHead { codec, trained: rows.len(), validation })
}

impl HeadConfig {
    fn check(&self) -> Result<()> {
        let rate = |x: f64| x.is_finite() && x > 0.0;
        let part = |x: f64| (0.0..1.0).contains(&x);
        let checks = [
            ("epochs", self.epochs.to_string(), self.epochs > 0, "at least 1".to_owned()),
            (
                "batch_size",
                self.batch_size.to_string(),
                self.batch_size >= LEAST_BATCH,
                format!("at least {LEAST_BATCH}"),
            ),
            (
                "learning_rate",
                self.learning_rate.to_string(),
                rate(self.learning_rate),
                "a positive number".to_owned(),
            ),
            (
                "weight_decay",
                self.weight_decay.to_string(),
                part(self.weight_decay),
                "0 to below 1".to_owned(),
            ),
            (
                "validation",
                self.validation.to_string(),
                (0.0..=0.9).contains(&self.validation),
                "0 (nothing is held out) to 0.9".to_owned(),
            ),
            (
                "label_smoothing",
                self.label_smoothing.to_string(),
                self.label_smoothing == 0.0
                    || part(self.label_smoothing) && !self.loss_of(self.bits)?.is_pairwise(),
                "0 to below 1, and 0 with a pairwise loss, which knows no classes".to_owned(),
            ),
            (
                "hidden",
                self.hidden.to_string(),
                self.hidden <= 65_536,
                "0 (none) to 65536".to_owned(),
            ),
        ];
        match checks.into_iter().find(|(_, _, fine, _)| !fine) {
            Some((name, got, _, expected)) => Err(Error::Config { name, got, expected }),
            None => Ok(()),
        }
    }

    /// The loss for codes of `bits`, checked.
    fn loss_of(&self, bits: usize) -> Result<Loss> {
        let loss = self.loss.clone().resolve(bits)?;
        loss.check()?;
        Ok(loss)
    }

    fn layer(&self, loss: &Loss) -> HashLayerConfig {
        let hidden = (self.hidden > 0).then_some(self.hidden);
        // Vectors from elsewhere may have any mean and scale.
        HashLayerConfig { feature_norm: true, hidden, norm: loss.hash_norm() }
    }
}

#[cfg(test)]
mod tests;
