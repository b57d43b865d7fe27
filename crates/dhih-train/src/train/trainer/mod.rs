//! The training loop and its log. `state.rs` keeps what it needs to go on, `validation.rs` watches it.

mod state;
mod validation;

use std::time::Instant;

use candle_core::{Device, Tensor};
use dhih_model::checkpoint;
use dhih_model::pretrained::{BACKBONE, Loaded};
use dhih_model::{Mode, Network, NetworkConfig, Normalization, NormalizationMeasure, Pretrained};
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::protocol::Split;
use crate::report::tensorboard;
use crate::run::run_dir::RunDir;
use crate::settings::config::TrainConfig;
use crate::train::batches::{Batch, BatchConfig, Epoch};
use crate::train::ema::WeightAverage;
use crate::train::features::FeatureCache;
use crate::train::optim::{Optimizer, Step};
use crate::train::schedule::Schedule;

/// One epoch's line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean over the epoch's images.
    pub loss: f64,
    /// Of the last step.
    pub learning_rate: f64,
    /// Training throughput.
    pub images_per_second: f64,
    /// Since the run began, over all its parts.
    pub seconds: f64,
    /// mAP of the held-out images among themselves, where some are held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_map: Option<f64>,
}

/// The network before its first step, for the images `rows` of `dataset`: random, but for a pretrained backbone.
///
/// # Errors
/// When the configuration is out of range, or the weights are another backbone's.
pub(crate) fn network(
    config: &TrainConfig,
    (dataset, rows): (&Dataset, &[usize]),
    weights: Option<(&Pretrained, Progress)>,
    device: &Device,
) -> Result<Network> {
    let input = config.input_shape(dataset.shape);
    let normalization = match config.weights {
        Some(_) => Normalization::imagenet(),
        None => {
            // Streamed images are decoded for this alone: some are enough.
            let most = if dataset.is_streamed() { MEASURED } else { usize::MAX };
            let mut measure = NormalizationMeasure::new(dataset.shape.channels);
            // In parts: a copy of all images would take as much memory again as the set.
            for part in every_nth(rows, most).chunks(MEASURED) {
                measure.add(&dataset.gather(part)?);
            }
            measure.finish()
        }
    };
    let network_config = NetworkConfig {
        backbone: config.backbone,
        input,
        normalization,
        bits: config.bits,
        hash_layer: config.hash_layer(),
        loss: config.loss,
        mirror: config.mirror,
        classes: dataset.classes.clone(),
    };
    let network = Network::new(network_config, config.seed, device)?;
    if network.is_adaptable() {
        // Scaled up, all of them may not fit into memory.
        let is_whole = input == dataset.shape && !dataset.is_streamed();
        let some = every_nth(rows, if is_whole { usize::MAX } else { ADAPTED });
        network.adapt_to(&dataset.gather_fitted(&some, input)?)?;
    }
    if let Some((weights, progress)) = weights {
        let Loaded { loaded, unused } = weights.load_into(network.parameters())?;
        let sha256 = weights.sha256();
        let unused = if unused.is_empty() { "none".to_owned() } else { unused.join(", ") };
        progress.line(format!("weights: {loaded} tensors, unused: {unused}; sha256 {sha256}"));
    }
    Ok(network)
}

/// Trains a network on the training part of `split`, going on from the run's checkpoint where there is one.
///
/// # Errors
/// [`Error::Diverged`] where the loss is no longer finite; those of files, data and device.
pub(crate) fn train(
    config: &TrainConfig,
    network: Network,
    (dataset, split): (&Dataset, &Split),
    run: &RunDir,
    progress: Progress,
) -> Result<Network> {
    let mut trainer = Trainer::new(config, network, (dataset, split), progress)?;
    if config.freeze_backbone {
        let rows = [&split.train[..], &split.validation].concat();
        trainer.features =
            Some(FeatureCache::open(&trainer.network, (dataset, &rows), run, progress)?);
    }
    trainer.resume(run)?;
    tensorboard::begin(&run.file(RunDir::EVENTS), &trainer.records)?;
    for number in trainer.records.len() + 1..=config.epochs {
        if trainer.is_spent() {
            break;
        }
        let mut record = trainer.epoch(number)?;
        record.validation_map = trainer.validate(run)?;
        trainer.log(&record);
        trainer.records.push(record.clone());
        trainer.save(run)?;
        tensorboard::append(&run.file(RunDir::EVENTS), &record)?;
    }
    trainer.finish(run)
}

struct Trainer<'a> {
    network: Network,
    optimizer: Optimizer,
    average: Option<WeightAverage>,
    batches: BatchConfig,
    /// Those of the training images, where the backbone is frozen.
    features: Option<FeatureCache>,
    config: &'a TrainConfig,
    dataset: &'a Dataset,
    split: &'a Split,
    progress: Progress,
    records: Vec<EpochRecord>,
}

impl<'a> Trainer<'a> {
    fn new(
        config: &'a TrainConfig,
        network: Network,
        (dataset, split): (&'a Dataset, &'a Split),
        progress: Progress,
    ) -> Result<Self> {
        let optimizer = Optimizer::new(network.parameters(), config.optimizer_config())?;
        let is_trained = |name: &str| !config.freeze_backbone || !name.starts_with(BACKBONE);
        let average = (config.ema_decay > 0.0)
            .then(|| WeightAverage::new(network.parameters(), config.ema_decay, is_trained))
            .transpose()?;
        let NetworkConfig { input, normalization, .. } = network.config();
        let batches = BatchConfig {
            size: config.batch_size,
            augmentation: config.augmentation(&normalization.mean),
            input: (!config.freeze_backbone).then_some(*input),
        };
        let (features, records) = (None, Vec::new());
        Ok(Self {
            network,
            optimizer,
            average,
            batches,
            features,
            config,
            dataset,
            split,
            progress,
            records,
        })
    }

    fn epoch(&self, number: usize) -> Result<EpochRecord> {
        let TrainConfig { seed, epochs, .. } = *self.config;
        let rows = &self.split.train;
        let epoch = Epoch::new(self.dataset, rows, &self.batches, (seed, number));
        let per_epoch = epoch.len() as f64;
        let schedule = Schedule {
            peak: self.config.learning_rate,
            warmup: self.config.warmup_epochs * per_epoch,
            steps: epochs as f64 * per_epoch,
            shape: self.config.schedule,
        };
        let bar = self.progress.bar(&format!("epoch {number}/{epochs}"), rows.len());
        let (started, mut loss_sum, mut rate) = (Instant::now(), 0.0, 0.0);
        epoch.try_for_each(|i, batch| {
            let step = (number - 1) * epoch.len() + i;
            rate = schedule.rate(step);
            let loss = self.step(&batch, step, &schedule)?;
            if !loss.is_finite() {
                let (epoch, batch, step) = (number, i + 1, step + 1);
                return Err(Error::Diverged { loss, epoch, batch, step, learning_rate: rate });
            }
            loss_sum += f64::from(loss) * batch.len() as f64;
            bar.inc(batch.len() as u64);
            Ok(())
        })?;
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        let before = self.records.last().map_or(0.0, |record| record.seconds);
        Ok(EpochRecord {
            epoch: number,
            loss: loss_sum / rows.len() as f64,
            learning_rate: rate,
            images_per_second: rows.len() as f64 / seconds,
            seconds: before + seconds,
            validation_map: None,
        })
    }

    fn log(&self, record: &EpochRecord) {
        let EpochRecord { epoch, loss, images_per_second, seconds, validation_map, .. } = record;
        let epochs = self.config.epochs;
        let left = (epochs - epoch) as f64 * seconds / *epoch as f64;
        let map =
            validation_map.map(|map| format!("  validation mAP {map:.4}")).unwrap_or_default();
        self.progress.line(format!(
            "epoch {epoch}/{epochs}  loss {loss:.4}{map}  {images_per_second:.0} images/s  ETA {left:.0} s"
        ));
    }

    /// The hash layer's output for images of a batch.
    fn forward(&self, (rows, images): (&[usize], &[u8]), mode: Mode) -> Result<Tensor> {
        let device = self.network.device();
        if let Some(features) = &self.features {
            return Ok(self.network.head(&features.gather(rows, device)?, mode)?);
        }
        let NetworkConfig { normalization, input, .. } = self.network.config();
        Ok(self.network.forward(&normalization.apply(images, *input, device)?, mode)?)
    }

    fn step(&self, batch: &Batch<'_>, step: usize, schedule: &Schedule) -> Result<f32> {
        let TrainConfig { seed, accumulate, label_smoothing, .. } = *self.config;
        let (n, labels) = (batch.len(), batch.labels(self.network.device())?);
        let mixed = f64::from(batch.mixed);
        let of_partners = (mixed > 0.0).then(|| labels.flip(&[0])).transpose()?;
        let progress = step as f64 / schedule.steps;
        let part = |i: usize| {
            let at = i * n / accumulate..(i + 1) * n / accumulate;
            let pixels = batch.images.len() / n;
            let images = &batch.images[at.start * pixels..at.end * pixels];
            let mode = Mode::training_step(seed, step * accumulate + i);
            let v = self.forward((&batch.rows[at.clone()], images), mode)?;
            let objective = self.network.objective();
            let under = |labels: &Tensor| {
                let labels = labels.narrow(0, at.start, at.len())?;
                match label_smoothing {
                    0.0 => objective.value(&v, &labels, progress),
                    smoothing => objective.smoothed(&v, &labels, progress, smoothing),
                }
            };
            let loss = match &of_partners {
                None => under(&labels)?,
                Some(others) => ((under(&labels)? * (1.0 - mixed))? + (under(others)? * mixed)?)?,
            };
            Ok((loss, at.len() as f64 / n as f64))
        };
        let at = Step { number: step, learning_rate: schedule.rate(step) };
        let loss = self.optimizer.descend_sum((0..accumulate).map(part), at)?;
        if let Some(average) = self.average.as_ref().filter(|_| loss.is_finite()) {
            average.update(step)?;
        }
        Ok(loss)
    }

    /// The network with the weights that it is to keep: the best, the averages, or the last.
    fn finish(self, run: &RunDir) -> Result<Network> {
        match (&self.average, self.best().filter(|_| self.config.patience > 0)) {
            (_, Some((epoch, map))) => {
                self.progress.line(format!("epoch {epoch} is taken: validation mAP {map:.4}"));
                let (contents, _) = checkpoint::read(&run.best()?)?;
                self.load_weights(contents.tensors)?;
            }
            (Some(average), None) => average.exchange()?,
            (None, None) => (),
        }
        Ok(self.network)
    }
}

/// Of `rows`, evenly spaced ones, at most `most`.
fn every_nth(rows: &[usize], most: usize) -> Vec<usize> {
    rows.iter().copied().step_by(rows.len().div_ceil(most).max(1)).collect()
}

/// How many streamed images normalisation is measured on, at most.
const MEASURED: usize = 10_000;

/// How many scaled images a new network is adapted to, at most.
const ADAPTED: usize = 1024;

#[cfg(test)]
mod tests;
