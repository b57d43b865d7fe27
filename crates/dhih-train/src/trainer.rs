//! The training loop, its checkpoints, and its log.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use dhih_index::{CodeSet, Codes};
use dhih_model::checkpoint::{self, Contents};
use dhih_model::pretrained::{BACKBONE, Loaded};
use dhih_model::{Mode, Network, NetworkConfig, Normalization, Pretrained, encode};
use serde::{Deserialize, Serialize};

use crate::batches::{Batch, BatchConfig, Epoch};
use crate::config::TrainConfig;
use crate::dataset::Dataset;
use crate::ema::WeightAverage;
use crate::error::{Error, Result};
use crate::evaluation::{EvaluationConfig, evaluate};
use crate::features::FeatureCache;
use crate::optim::{Optimizer, Step};
use crate::progress::Progress;
use crate::protocol::Split;
use crate::run_dir::RunDir;
use crate::schedule::Schedule;
use crate::tensorboard;

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
            let some = dataset.gather(&every_nth(rows, most))?;
            Normalization::measure(&some, dataset.shape.channels)
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
        trainer.records.push(record);
        trainer.log_last();
        trainer.save(run)?;
        if let Some(record) = trainer.records.last() {
            tensorboard::append(&run.file(RunDir::EVENTS), record)?;
        }
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

    fn log_last(&self) {
        let Some(record) = self.records.last() else { return };
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
        let progress = step as f64 / schedule.steps;
        let part = |i: usize| {
            let at = i * n / accumulate..(i + 1) * n / accumulate;
            let labels = labels.narrow(0, at.start, at.len())?;
            let pixels = batch.images.len() / n;
            let images = &batch.images[at.start * pixels..at.end * pixels];
            let mode = Mode::training_step(seed, step * accumulate + i);
            let v = self.forward((&batch.rows[at.clone()], images), mode)?;
            let objective = self.network.objective();
            let loss = match label_smoothing {
                0.0 => objective.value(&v, &labels, progress)?,
                smoothing => objective.smoothed(&v, &labels, progress, smoothing)?,
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

    /// mAP of the held-out images among themselves; keeps the weights where it is the best so far.
    fn validate(&self, run: &RunDir) -> Result<Option<f64>> {
        let rows = &self.split.validation;
        if rows.is_empty() {
            return Ok(None);
        }
        self.average.as_ref().map_or(Ok(()), WeightAverage::exchange)?;
        let mut values = Vec::new();
        let input = self.network.config().input;
        for rows in rows.chunks(4 * input.inference_batch()) {
            values.extend(match &self.features {
                Some(_) => {
                    self.forward((rows, &[]), Mode::Evaluation)?.flatten_all()?.to_vec1::<f32>()?
                }
                None => encode(&self.network, &self.dataset.gather_fitted(rows, input)?)?,
            });
        }
        let mut set = CodeSet::new(Codes::from_real(self.config.bits as u32, &values)?);
        set.labels = Some(self.dataset.labels.of_codes(rows, self.dataset.classes.len()));
        let map = evaluate(&set, &set, &EvaluationConfig::default())?.map;
        if self.config.patience > 0 && self.best().is_none_or(|(_, best)| map > best) {
            let tensors = self.trained_weights()?.collect();
            checkpoint::write(&Contents { tensors, metadata: BTreeMap::new() }, &run.best()?)?;
        }
        self.average.as_ref().map_or(Ok(()), WeightAverage::exchange)?;
        Ok(Some(map))
    }

    /// Epoch and mAP of the best epoch so far; of equals the first.
    fn best(&self) -> Option<(usize, f64)> {
        let scores = self.records.iter().filter_map(|r| Some((r.epoch, r.validation_map?)));
        scores.reduce(|best, score| if score.1 > best.1 { score } else { best })
    }

    /// Whether the best epoch lies so far back that training stops.
    fn is_spent(&self) -> bool {
        let patience = self.config.patience;
        patience > 0 && self.best().is_some_and(|(epoch, _)| self.records.len() - epoch >= patience)
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

    /// All weights that training may change; a frozen backbone is in the pretrained file.
    fn trained_weights(&self) -> Result<impl Iterator<Item = (String, Tensor)>> {
        let (weights, frozen) =
            (self.network.parameters().snapshot()?, self.config.freeze_backbone);
        Ok(weights.into_iter().filter(move |(name, _)| !frozen || !name.starts_with(BACKBONE)))
    }

    /// The opposite of [`Self::trained_weights`].
    fn load_weights(&self, mut weights: BTreeMap<String, Tensor>) -> Result<()> {
        if self.config.freeze_backbone {
            let backbone = self.network.parameters().snapshot()?.into_iter();
            weights.extend(backbone.filter(|(name, _)| name.starts_with(BACKBONE)));
        }
        Ok(self.network.parameters().load(&weights)?)
    }

    /// Writes the whole state in one file, then the log: killed in between, the log lacks a line that is written again.
    fn save(&self, run: &RunDir) -> Result<()> {
        let prefixed = |prefix: &'static str| {
            move |(name, tensor): (String, Tensor)| (format!("{prefix}{name}"), tensor)
        };
        let average = self.average.as_ref().map(WeightAverage::snapshot).transpose()?;
        let tensors = self
            .trained_weights()?
            .map(prefixed(WEIGHT))
            .chain(self.optimizer.snapshot()?.into_iter().map(prefixed(MOMENT)))
            .chain(average.into_iter().flatten().map(prefixed(AVERAGE)))
            .collect();
        let records = run.to_json_lines(&self.records)?;
        let metadata = [(RECORDS.to_owned(), records.clone())].into();
        checkpoint::write(&Contents { tensors, metadata }, &run.checkpoint()?)?;
        run.write(RunDir::METRICS, records.as_bytes())
    }

    fn resume(&mut self, run: &RunDir) -> Result<()> {
        let path = run.checkpoint()?;
        if !path.exists() {
            return Ok(());
        }
        let (contents, _) = checkpoint::read(&path)?;
        let part = |prefix: &str| {
            let entries = contents.tensors.iter();
            let entries = entries.filter_map(|(name, t)| Some((name.strip_prefix(prefix)?, t)));
            entries.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
        };
        self.load_weights(part(WEIGHT))?;
        if !self.optimizer.restore(&part(MOMENT))? {
            return Err(wrong_checkpoint(&path, "the optimiser's moments do not fit the network"));
        }
        if let Some(average) = &self.average
            && !average.restore(&part(AVERAGE))?
        {
            return Err(wrong_checkpoint(&path, "the averages do not fit the network"));
        }
        let records = contents.metadata.get(RECORDS).map(String::as_str).unwrap_or_default();
        let records: Result<Vec<EpochRecord>, _> =
            records.lines().map(serde_json::from_str).collect();
        self.records = records.map_err(|error| wrong_checkpoint(&path, &error.to_string()))?;
        self.progress.line(format!("going on after epoch {}", self.records.len()));
        // Killed between checkpoint and log, the log lacks a line.
        run.write(RunDir::METRICS, run.to_json_lines(&self.records)?.as_bytes())
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

const WEIGHT: &str = "weight:";
const MOMENT: &str = "moment:";
const AVERAGE: &str = "average:";
const RECORDS: &str = "dhih.epochs";

fn wrong_checkpoint(path: &Path, reason: &str) -> Error {
    Error::Run { path: path.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::DatasetName;
    use crate::options::TrainOptions;
    use crate::protocol::Protocol;
    use dhih_model::Loss;

    fn weights(trainer: &Trainer<'_>) -> Vec<(String, Vec<f32>)> {
        let weights = trainer.network.parameters().snapshot().unwrap().into_iter();
        let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
        weights.map(|(name, tensor)| (name, flat(tensor))).collect()
    }

    /// The loss of all images as one batch. That of an epoch's steps will not do: continuation changes it under way.
    fn loss(trainer: &Trainer<'_>) -> f32 {
        let rows = &trainer.split.train[..];
        let images = trainer.dataset.gather(rows).unwrap();
        let targets = trainer.dataset.labels.multi_hot(rows, trainer.dataset.classes.len());
        let batch = Batch { rows, images, targets };
        let labels = batch.labels(&Device::Cpu).unwrap();
        let v = trainer.forward((rows, &batch.images), Mode::training_step(0, 0)).unwrap();
        let loss = trainer.network.objective().value(&v, &labels, 0.0).unwrap();
        loss.to_scalar().unwrap()
    }

    #[test]
    fn every_loss_falls_and_resumes_to_the_same_weights() {
        let dir = tempfile::tempdir().unwrap();
        let options = TrainOptions { demo_images: Some(50), ..TrainOptions::default() };
        let demo = options.resolve().unwrap().dataset_config();
        let dataset = Dataset::load(DatasetName::Demo, &demo).unwrap();
        let train: Vec<usize> = (0..dataset.len()).collect();
        let split = Split {
            protocol: Protocol::Demo,
            seed: 0,
            train,
            database: Vec::new(),
            queries: Vec::new(),
            validation: Vec::new(),
        };
        let plain = || TrainOptions {
            bits: Some(12),
            hash_hidden: Some(32),
            epochs: Some(6),
            batch_size: Some(16),
            learning_rate: Some(0.01),
            warmup_epochs: Some(0.0),
            flip: Some(false),
            shift: Some(0),
            ..TrainOptions::default()
        };
        let of_loss = |name: &str| TrainOptions { loss: Some(name.into()), ..plain() };
        let everything = TrainOptions {
            optimizer: Some("adamw".into()),
            schedule: Some("one-cycle".into()),
            clip_norm: Some(1.0),
            label_smoothing: Some(0.1),
            accumulate: Some(2),
            ema_decay: Some(0.9),
            flip: Some(true),
            shift: Some(1),
            cutout: Some(4),
            color_jitter: Some(0.1),
            crop_scale: Some(0.9),
            ..plain()
        };
        let losses = Loss::ALL.into_iter().map(|(name, _)| (name, of_loss(name)));
        for (name, options) in losses.chain([("everything", everything)]) {
            let config = options.resolve().unwrap();
            let run = RunDir::create(Some(&dir.path().join(name)), &config).unwrap();
            let trained = |from: Option<&RunDir>, epochs: usize| {
                let data = (&dataset, &split.train[..]);
                let network = network(&config, data, None, &Device::Cpu).unwrap();
                let data = (&dataset, &split);
                let mut trainer = Trainer::new(&config, network, data, Progress::Silent).unwrap();
                from.into_iter().for_each(|run| trainer.resume(run).unwrap());
                for number in trainer.records.len() + 1..=epochs {
                    let record = trainer.epoch(number).unwrap();
                    trainer.records.push(record);
                }
                trainer
            };
            let whole = trained(None, 6);
            trained(None, 2).save(&run).unwrap();
            let resumed = trained(Some(&run), 6);
            assert_eq!(resumed.records.len(), 6, "{name}");
            assert!(weights(&resumed) == weights(&whole), "{name}");
            let averages = |trainer: &Trainer<'_>| {
                trainer.average.iter().for_each(|average| average.exchange().unwrap());
                weights(trainer)
            };
            assert!(averages(&resumed) == averages(&whole), "{name}");
            let [before, after] = [loss(&trained(None, 0)), loss(&whole)];
            assert!(after < 0.95 * before, "{name}: {before} to {after}");
        }
    }
}
