//! The training loop, its checkpoints, and its log.

use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use dhih_model::checkpoint::{self, Contents};
use dhih_model::ops::Sgd;
use dhih_model::{Mode, Network, NetworkConfig, Normalization, hi};
use serde::{Deserialize, Serialize};

use crate::batches::{Augmentation, Epoch};
use crate::config::{LossConfig, TrainConfig};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::optim::Optimizer;
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

/// Trains a network on the training part of `split`, going on from the run's checkpoint where there is one.
///
/// # Errors
/// [`Error::Diverged`] where the loss is no longer finite; those of files, data and device.
pub(crate) fn train(
    config: &TrainConfig,
    (dataset, split): (&Dataset, &Split),
    run: &RunDir,
    device: &Device,
    progress: Progress,
) -> Result<Network> {
    let pixels = dataset.gather(&split.train);
    let network_config = NetworkConfig {
        backbone: config.backbone,
        input: dataset.shape,
        normalization: Normalization::measure(&pixels, dataset.shape.channels),
        bits: config.bits,
        classes: dataset.classes.clone(),
    };
    let network = Network::new(network_config, config.seed, device)?;
    network.adapt_to(&pixels)?;
    drop(pixels);
    let mut trainer = Trainer {
        optimizer: Optimizer::new(network.parameters())?,
        network,
        config,
        dataset,
        rows: &split.train,
        device,
        progress,
        records: Vec::new(),
    };
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
    config: &'a TrainConfig,
    dataset: &'a Dataset,
    rows: &'a [usize],
    device: &'a Device,
    progress: Progress,
    records: Vec<EpochRecord>,
}

impl Trainer<'_> {
    fn epoch(&self, number: usize) -> Result<EpochRecord> {
        let TrainConfig { flip, shift, batch_size, seed, epochs, .. } = *self.config;
        let batching = (batch_size, Augmentation { flip, shift });
        let epoch = Epoch::new(self.dataset, self.rows, batching, (seed, number));
        let per_epoch = epoch.len() as f64;
        let schedule = Schedule {
            peak: self.config.learning_rate,
            warmup: self.config.warmup_epochs * per_epoch,
            steps: epochs as f64 * per_epoch,
        };
        let bar = self.progress.bar(&format!("epoch {number}/{epochs}"), self.rows.len());
        let (started, mut loss_sum, mut rate) = (Instant::now(), 0.0, 0.0);
        for i in 0..epoch.len() {
            let step = (number - 1) * epoch.len() + i;
            rate = schedule.rate(step);
            let batch = epoch.batch(i);
            let loss = self.step(&batch, rate, Mode::training_step(seed, step))?;
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

    fn step(&self, batch: &crate::batches::Batch, rate: f64, mode: Mode) -> Result<f32> {
        let config = self.network.config();
        let x = config.normalization.apply(&batch.images, config.input, self.device)?;
        let labels = batch.one_hot(config.classes.len(), self.device)?;
        let v = self.network.forward(&x, mode)?;
        let LossConfig::Hi(constants) = &self.config.loss;
        let loss = hi(&v, self.network.class_weights(), &labels, constants)?;
        let value = loss.to_scalar::<f32>()?;
        if value.is_finite() {
            let sgd = Sgd {
                learning_rate: rate as f32,
                momentum: self.config.momentum as f32,
                weight_decay: self.config.weight_decay as f32,
            };
            self.optimizer.step(&loss.backward()?, sgd)?;
        }
        Ok(value)
    }

    /// Writes the whole state in one file, then the log: killed in between, the log lacks a line that is written again.
    fn save(&self, run: &RunDir) -> Result<()> {
        let prefixed =
            |prefix: &str, (name, tensor): (String, Tensor)| (format!("{prefix}{name}"), tensor);
        let weights = self.network.parameters().snapshot()?.into_iter();
        let velocities = self.optimizer.snapshot()?.into_iter();
        let tensors = weights
            .map(|entry| prefixed(WEIGHT, entry))
            .chain(velocities.map(|entry| prefixed(VELOCITY, entry)))
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
        self.network.parameters().load(&part(WEIGHT))?;
        if !self.optimizer.restore(&part(VELOCITY))? {
            return Err(wrong_checkpoint(&path, "its velocities do not fit the network"));
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

const WEIGHT: &str = "weight:";
const VELOCITY: &str = "velocity:";
const RECORDS: &str = "dhih.epochs";

fn wrong_checkpoint(path: &Path, reason: &str) -> Error {
    Error::Run { path: path.to_owned(), reason: reason.to_owned() }
}
