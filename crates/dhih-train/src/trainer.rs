//! The training loop, its checkpoints, and its log.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use dhih_model::checkpoint::{self, Contents};
use dhih_model::pretrained::{BACKBONE, Loaded};
use dhih_model::{Mode, Network, NetworkConfig, Normalization, Pretrained};
use serde::{Deserialize, Serialize};

use crate::batches::{Augmentation, Batch, Epoch};
use crate::config::TrainConfig;
use crate::dataset::{Dataset, fit};
use crate::error::{Error, Result};
use crate::features::FeatureCache;
use crate::optim::{Optimizer, Step};
use crate::progress::Progress;
use crate::protocol::Split;
use crate::run_dir::RunDir;
use crate::schedule::Schedule;

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
        None => Normalization::measure(&dataset.gather(rows), dataset.shape.channels),
    };
    let network_config = NetworkConfig {
        backbone: config.backbone,
        input,
        normalization,
        bits: config.bits,
        hash_layer: config.hash_layer(),
        loss: config.loss,
        classes: dataset.classes.clone(),
    };
    let network = Network::new(network_config, config.seed, device)?;
    if network.is_adaptable() {
        // Scaled up, all of them may not fit into memory.
        let step = if input == dataset.shape { 1 } else { rows.len().div_ceil(ADAPTED) };
        let some: Vec<usize> = rows.iter().copied().step_by(step).collect();
        network.adapt_to(&dataset.gather_fitted(&some, input))?;
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
    let mut trainer = Trainer::new(config, network, (dataset, &split.train), progress)?;
    if config.freeze_backbone {
        let data = (dataset, &split.train[..]);
        trainer.features = Some(FeatureCache::open(&trainer.network, data, run, progress)?);
    }
    trainer.resume(run)?;
    for number in trainer.records.len() + 1..=config.epochs {
        let record = trainer.epoch(number)?;
        trainer.records.push(record);
        trainer.save(run)?;
    }
    Ok(trainer.network)
}

struct Trainer<'a> {
    network: Network,
    optimizer: Optimizer,
    /// Those of the training images, where the backbone is frozen.
    features: Option<FeatureCache>,
    config: &'a TrainConfig,
    dataset: &'a Dataset,
    rows: &'a [usize],
    progress: Progress,
    records: Vec<EpochRecord>,
}

impl<'a> Trainer<'a> {
    fn new(
        config: &'a TrainConfig,
        network: Network,
        (dataset, rows): (&'a Dataset, &'a [usize]),
        progress: Progress,
    ) -> Result<Self> {
        let optimizer = Optimizer::new(network.parameters(), config.optimizer_config())?;
        let (features, records) = (None, Vec::new());
        Ok(Self { network, optimizer, features, config, dataset, rows, progress, records })
    }

    fn epoch(&self, number: usize) -> Result<EpochRecord> {
        let TrainConfig { flip, shift, batch_size, seed, epochs, .. } = *self.config;
        let batching = (batch_size, Augmentation { flip, shift });
        let epoch = Epoch::new(self.dataset, self.rows, batching, (seed, number));
        let per_epoch = epoch.len() as f64;
        let schedule = Schedule {
            peak: self.config.learning_rate,
            warmup: self.config.warmup_epochs * per_epoch,
            steps: epochs as f64 * per_epoch,
            shape: self.config.schedule,
        };
        let bar = self.progress.bar(&format!("epoch {number}/{epochs}"), self.rows.len());
        let (started, mut loss_sum, mut rate) = (Instant::now(), 0.0, 0.0);
        for i in 0..epoch.len() {
            let step = (number - 1) * epoch.len() + i;
            rate = schedule.rate(step);
            let batch = if self.features.is_some() { epoch.rows(i) } else { epoch.batch(i) };
            let loss = self.step(&batch, step, &schedule)?;
            if !loss.is_finite() {
                let (epoch, batch) = (number, i + 1);
                return Err(Error::Diverged { loss, epoch, batch, learning_rate: rate });
            }
            loss_sum += f64::from(loss) * batch.labels.len() as f64;
            bar.inc(batch.labels.len() as u64);
        }
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        let before = self.records.last().map_or(0.0, |record| record.seconds);
        let record = EpochRecord {
            epoch: number,
            loss: loss_sum / self.rows.len() as f64,
            learning_rate: rate,
            images_per_second: self.rows.len() as f64 / seconds,
            seconds: before + seconds,
        };
        let left = (epochs - number) as f64 * seconds;
        self.progress.line(format!(
            "epoch {number}/{epochs}  loss {:.4}  {:.0} images/s  ETA {left:.0} s",
            record.loss, record.images_per_second
        ));
        Ok(record)
    }

    /// The hash layer's output.
    fn forward(&self, batch: &Batch<'_>, mode: Mode) -> Result<Tensor> {
        let device = self.network.device();
        if let Some(features) = &self.features {
            return Ok(self.network.head(&features.gather(batch.rows, device)?, mode)?);
        }
        let config = self.network.config();
        let images = fit(&batch.images, self.dataset.shape, config.input);
        let x = config.normalization.apply(&images, config.input, device)?;
        Ok(self.network.forward(&x, mode)?)
    }

    fn step(&self, batch: &Batch<'_>, step: usize, schedule: &Schedule) -> Result<f32> {
        let config = self.network.config();
        let labels = batch.one_hot(config.classes.len(), self.network.device())?;
        let v = self.forward(batch, Mode::training_step(self.config.seed, step))?;
        let progress = step as f64 / schedule.steps;
        let loss = self.network.objective().value(&v, &labels, progress)?;
        self.optimizer.descend(&loss, Step { number: step, learning_rate: schedule.rate(step) })
    }

    /// Writes the whole state in one file, then the log: killed in between, the log lacks a line that is written again.
    fn save(&self, run: &RunDir) -> Result<()> {
        let prefixed =
            |prefix: &str, (name, tensor): (String, Tensor)| (format!("{prefix}{name}"), tensor);
        // A frozen backbone is in the pretrained file.
        let weights = self.network.parameters().snapshot()?.into_iter();
        let weights =
            weights.filter(|(name, _)| self.features.is_none() || !name.starts_with(BACKBONE));
        let moments = self.optimizer.snapshot()?.into_iter();
        let tensors = weights
            .map(|entry| prefixed(WEIGHT, entry))
            .chain(moments.map(|entry| prefixed(MOMENT, entry)))
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
        let mut weights: BTreeMap<String, Tensor> = part(WEIGHT);
        if self.features.is_some() {
            let backbone = self.network.parameters().snapshot()?.into_iter();
            weights.extend(backbone.filter(|(name, _)| name.starts_with(BACKBONE)));
        }
        self.network.parameters().load(&weights)?;
        if !self.optimizer.restore(&part(MOMENT))? {
            return Err(wrong_checkpoint(&path, "the optimiser's moments do not fit the network"));
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

/// How many scaled images a new network is adapted to, at most.
const ADAPTED: usize = 1024;

const WEIGHT: &str = "weight:";
const MOMENT: &str = "moment:";
const RECORDS: &str = "dhih.epochs";

fn wrong_checkpoint(path: &Path, reason: &str) -> Error {
    Error::Run { path: path.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::DatasetName;
    use crate::options::TrainOptions;
    use dhih_model::Loss;

    fn weights(trainer: &Trainer<'_>) -> Vec<(String, Vec<f32>)> {
        let weights = trainer.network.parameters().snapshot().unwrap().into_iter();
        let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
        weights.map(|(name, tensor)| (name, flat(tensor))).collect()
    }

    /// The loss of all images as one batch. That of an epoch's steps will not do: continuation changes it under way.
    fn loss(trainer: &Trainer<'_>) -> f32 {
        let images = trainer.dataset.gather(trainer.rows);
        let labels = trainer.rows.iter().map(|row| trainer.dataset.labels[*row]).collect();
        let batch = Batch { rows: trainer.rows, images, labels };
        let classes = trainer.network.config().classes.len();
        let labels = batch.one_hot(classes, &Device::Cpu).unwrap();
        let v = trainer.forward(&batch, Mode::training_step(0, 0)).unwrap();
        let loss = trainer.network.objective().value(&v, &labels, 0.0).unwrap();
        loss.to_scalar().unwrap()
    }

    #[test]
    fn every_loss_falls_and_resumes_to_the_same_weights() {
        let dir = tempfile::tempdir().unwrap();
        let options = TrainOptions { demo_images: Some(50), ..TrainOptions::default() };
        let demo = options.resolve().unwrap().dataset_config();
        let dataset = Dataset::load(DatasetName::Demo, &demo).unwrap();
        let rows: Vec<usize> = (0..dataset.len()).collect();
        let sgd = Loss::ALL.into_iter().map(|(name, _)| (name, "sgd", "cosine", None));
        let adamw = ("hi", "adamw", "one-cycle", Some(1.0));
        for (name, optimizer, schedule, clip_norm) in sgd.chain([adamw]) {
            let options = TrainOptions {
                loss: Some(name.into()),
                bits: Some(12),
                hash_hidden: Some(32),
                epochs: Some(6),
                batch_size: Some(16),
                optimizer: Some(optimizer.into()),
                learning_rate: Some(0.01),
                schedule: Some(schedule.into()),
                clip_norm,
                warmup_epochs: Some(0.0),
                flip: Some(false),
                shift: Some(0),
                ..TrainOptions::default()
            };
            let config = options.resolve().unwrap();
            let run =
                RunDir::create(Some(&dir.path().join(format!("{name}-{optimizer}"))), &config)
                    .unwrap();
            let trained = |from: Option<&RunDir>, epochs: usize| {
                let data = (&dataset, &rows[..]);
                let network = network(&config, data, None, &Device::Cpu).unwrap();
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
            let [before, after] = [loss(&trained(None, 0)), loss(&whole)];
            assert!(after < 0.95 * before, "{name}: {before} to {after}");
        }
    }
}
