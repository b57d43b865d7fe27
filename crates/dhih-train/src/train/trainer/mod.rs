//! The training loop. `sums.rs` adds up the results of the batches of an epoch, `state.rs` saves and restores the state of the loop,
//! `validation.rs` evaluates held-out images, and `divergence.rs` finds divergence that the loss does not show.

mod divergence;
mod state;
mod sums;
mod validation;

use std::cell::Cell;
use std::ops::Range;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use dhih_model::checkpoint;
use dhih_model::pretrained::{BACKBONE, Loaded};
use dhih_model::{Mode, Network, NetworkConfig, NormalizationMeasure, Pretrained, Trace};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::protocol::Split;
use crate::report::tensorboard;
use crate::run::epoch_record::EpochRecord;
use crate::run::run_dir::RunDir;
use crate::settings::table::TrainConfig;
use crate::train::batches::{Batch, BatchConfig, Epoch};
use crate::train::features::{FeatureCache, Wanted};
use crate::train::optim::{LossPart, Optimizer, Step};
use crate::train::schedule::Schedule;
use crate::train::weight_average::WeightAverage;

pub(crate) use divergence::LastStep;
use state::Begun;
use sums::{Hits, Sums};

/// The network before its first step, for the images `rows` of `dataset`. Its weights are random, except for a pretrained backbone.
///
/// # Errors
/// When the configuration is out of range, or the weights belong to another backbone.
pub(crate) fn network(
    config: &TrainConfig,
    (dataset, rows): (&Dataset, &[usize]),
    weights: Option<(&Pretrained, Progress)>,
    device: &Device,
) -> Result<Network> {
    let input = config.input_shape(dataset.shape);
    let normalization = match config.weights {
        Some(_) => config.backbone.pretrained_normalization(),
        None => {
            // Streamed images are decoded only for this purpose, so a sample suffices.
            let most = if dataset.is_streamed() { MEASURED } else { usize::MAX };
            let mut measure = NormalizationMeasure::new(dataset.shape.channels);
            // Images are read in parts: a copy of all images would take as much memory again as the set.
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
        views: config.views(),
        classes: dataset.classes.clone(),
    };
    let network = Network::new(network_config, config.seed, device)?;
    if network.is_adaptable() {
        // In the network's size, all images may not fit into memory.
        let is_whole = input == dataset.shape && !dataset.is_streamed();
        let some = every_nth(rows, if is_whole { usize::MAX } else { ADAPTED });
        network.adapt_to(&dataset.gather_fitted(&some, input)?)?;
    }
    if let Some((weights, progress)) = weights {
        let Loaded { loaded, unused } =
            weights.load_into(network.parameters(), network.config().input)?;
        let sha256 = weights.sha256();
        let unused = if unused.is_empty() { "none".to_owned() } else { unused.join(", ") };
        progress.line(format!("weights: {loaded} tensors, unused: {unused}; sha256 {sha256}"));
    }
    Ok(network)
}

/// Trains a network on the training part of `split`, from the saved state of the run where there is one.
///
/// # Errors
/// [`Error::Diverged`] where the loss, the weights or the codes of held-out images are no longer finite; those of files, data and device.
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
        let with_mirrored = config.flip || config.mirror;
        let wanted = Wanted { dataset, rows: &rows, with_mirrored };
        trainer.features = Some(FeatureCache::open(&trainer.network, wanted, run, progress)?);
    } else if trainer.network.device().is_cpu() {
        let batch = config.batch_size.min(split.train.len()).div_ceil(config.accumulate);
        if let Some(bytes) = trainer.network.training_memory(batch)? {
            let mib = bytes.div_ceil(1 << 20);
            progress.line(format!("a step takes about {mib} MiB: {batch} images at a time"));
        }
    }
    trainer.resume(run)?;
    tensorboard::begin(&run.file(RunDir::EVENTS), &trainer.records)?;
    for number in trainer.records.len() + 1..=config.epochs {
        if trainer.is_spent() {
            break;
        }
        let mut record = trainer.epoch(number, run)?;
        trainer.begun = None;
        let last = LastStep::of(&record, config, split.train.len());
        last.check(trainer.network.parameters())?;
        if let Some(validation) = trainer.validate(run).map_err(|error| last.explain(error))? {
            record.validation_map = Some(validation.map);
            record.validation_accuracy = validation.accuracy;
        }
        trainer.records.push(record.clone());
        trainer.save(run)?;
        tensorboard::append(&run.file(RunDir::EVENTS), &record)?;
        trainer.progress.line(record.line(config.epochs));
    }
    trainer.finish(run)
}

struct Trainer<'a> {
    network: Network,
    optimizer: Optimizer,
    average: Option<WeightAverage>,
    batches: BatchConfig,
    /// The features of the training images, where the backbone is frozen.
    features: Option<FeatureCache>,
    config: &'a TrainConfig,
    dataset: &'a Dataset,
    split: &'a Split,
    progress: Progress,
    records: Vec<EpochRecord>,
    /// The part of an epoch that was trained before the run was interrupted.
    begun: Option<Begun>,
}

/// The results of a step.
#[derive(Debug, Clone, Copy)]
struct StepOutcome {
    loss: f32,
    hits: Hits,
}

impl<'a> Trainer<'a> {
    fn new(
        config: &'a TrainConfig,
        mut network: Network,
        (dataset, split): (&'a Dataset, &'a Split),
        progress: Progress,
    ) -> Result<Self> {
        if let Some(blocks) = config.train_last {
            network.train_last(blocks)?;
        }
        let is_trained = |name: &str| is_trained(config, &network, name);
        let optimizer = config.optimizer_config();
        let optimizer = Optimizer::of_some(network.parameters(), optimizer, is_trained)?;
        let average = config
            .averaging()
            .map(|averaging| WeightAverage::new(network.parameters(), averaging, is_trained))
            .transpose()?;
        let NetworkConfig { input, normalization, .. } = network.config();
        // A pretrained network takes grey images as RGB, but they are augmented before, in their single channel.
        let means = match &normalization.mean[..] {
            means if means.len() == dataset.shape.channels => means.to_vec(),
            means => vec![means.iter().sum::<f32>() / means.len() as f32; dataset.shape.channels],
        };
        let batches = BatchConfig {
            size: config.batch_size,
            augmentation: config.augmentation(&means),
            input: (!config.freeze_backbone).then_some(*input),
        };
        let (features, records, begun) = (None, Vec::new(), None);
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
            begun,
        })
    }

    /// Trains one epoch, or the rest of one that was interrupted. The state is saved within the epoch, so that an interruption costs at most
    /// `--checkpoint-minutes`. All random numbers depend on seed, epoch and batch alone: it does not matter where an epoch is resumed.
    fn epoch(&self, number: usize, run: &RunDir) -> Result<EpochRecord> {
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
        let begun = self.begun.as_ref().filter(|begun| begun.epoch == number);
        let first = begun.map_or(0, |begun| begun.batches);
        let mut sums = begun.map_or_else(Sums::default, |begun| begun.sums);
        let seconds_before = sums.seconds;
        let started = Instant::now();
        let mut saved = Instant::now();
        let minutes = self.config.checkpoint_minutes;
        let between_saves = Duration::from_secs_f64(60.0 * minutes);
        epoch.try_for_each_from(first, |i, batch| {
            let step = (number - 1) * epoch.len() + i;
            let StepOutcome { loss, hits } = self.step(&batch, step, &schedule)?;
            if !loss.is_finite() {
                let (epoch, batch, step) = (number, i + 1, step + 1);
                let learning_rate = schedule.rate(step - 1);
                return Err(Error::Diverged { loss, epoch, batch, step, learning_rate });
            }
            sums.loss += f64::from(loss) * batch.len() as f64;
            sums.hits.add(hits);
            bar.inc(batch.len() as u64);
            if minutes > 0.0 && saved.elapsed() >= between_saves && i + 1 < epoch.len() {
                sums.seconds = seconds_before + started.elapsed().as_secs_f64();
                self.save_under_way(run, &Begun { epoch: number, batches: i + 1, sums })?;
                saved = Instant::now();
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        let seconds = seconds_before + started.elapsed().as_secs_f64();
        let before = self.records.last().map_or(0.0, |record| record.seconds);
        Ok(EpochRecord {
            epoch: number,
            loss: sums.loss / rows.len() as f64,
            accuracy: sums.hits.share(),
            learning_rate: schedule.rate(number * epoch.len() - 1),
            images_per_second: rows.len() as f64 / seconds,
            seconds: before + seconds,
            validation_map: None,
            validation_accuracy: None,
        })
    }

    /// The output of the hash layer for the images `at` of a batch, and the backward pass of the backbone where it is trained.
    fn forward(
        &self,
        batch: &Batch<'_>,
        at: Range<usize>,
        mode: Mode,
    ) -> Result<(Tensor, Option<Trace>)> {
        let device = self.network.device();
        if let Some(features) = &self.features {
            let mirrored = &batch.mirrored[at.clone()];
            let features = features.gather(&batch.rows[at], mirrored, device)?;
            return Ok((self.network.head(&features, mode)?, None));
        }
        let pixels = batch.images.len() / batch.len();
        let images = &batch.images[at.start * pixels..at.end * pixels];
        let NetworkConfig { normalization, input, .. } = self.network.config();
        let trace = self.network.trace(&normalization.apply(images, *input, device)?, mode)?;
        Ok((self.network.head(trace.features(), mode)?, Some(trace)))
    }

    fn step(&self, batch: &Batch<'_>, step: usize, schedule: &Schedule) -> Result<StepOutcome> {
        let TrainConfig { seed, accumulate, label_smoothing, .. } = *self.config;
        let (n, labels) = (batch.len(), batch.labels(self.network.device())?);
        let mixed = f64::from(batch.mixed);
        let of_partners = (mixed > 0.0).then(|| labels.flip(&[0])).transpose()?;
        let progress = step as f64 / schedule.steps;
        // A batch may be smaller than the setting in a small set. Each part has as many images as the loss needs.
        let parts = accumulate.min(n / self.config.least_part()).max(1);
        let hits = Cell::new(Hits::default());
        let part = |i: usize| {
            let at = i * n / parts..(i + 1) * n / parts;
            let mode = Mode::training_step(seed, step * accumulate + i)
                .with_norm_momentum(self.config.norm_momentum);
            let (v, trace) = self.forward(batch, at.clone(), mode)?;
            let objective = self.network.objective();
            let classes = batch.targets.len() / n;
            let targets = &batch.targets[at.start * classes..at.end * classes];
            if let Some(predicted) = objective.classify(&v.detach())? {
                let mut sum = hits.get();
                sum.add(Hits::count(&predicted.to_vec1::<u32>()?, targets));
                hits.set(sum);
            }
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
            Ok(LossPart { loss, weight: at.len() as f64 / n as f64, trace })
        };
        let at = Step { number: step, learning_rate: schedule.rate(step) };
        let loss = self.optimizer.descend_sum((0..parts).map(part), at)?;
        if let Some(average) = self.average.as_ref().filter(|_| loss.is_finite()) {
            average.update(step, (step + 1) as f64 / schedule.steps)?;
        }
        Ok(StepOutcome { loss, hits: hits.get() })
    }

    /// The network with its final weights: the best ones, the averages, or the last ones.
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

/// Whether training may change a parameter of the network.
fn is_trained(config: &TrainConfig, network: &Network, name: &str) -> bool {
    let is_frozen = config.freeze_backbone && name.starts_with(BACKBONE);
    !is_frozen && !network.is_frozen(name)
}

/// At most `most` of `rows`, evenly spaced.
fn every_nth(rows: &[usize], most: usize) -> Vec<usize> {
    rows.iter().copied().step_by(rows.len().div_ceil(most).max(1)).collect()
}

/// The most streamed images for measuring the normalisation.
const MEASURED: usize = 10_000;

/// The most scaled images to which a new network is adapted.
const ADAPTED: usize = 1024;

#[cfg(test)]
mod tests;
