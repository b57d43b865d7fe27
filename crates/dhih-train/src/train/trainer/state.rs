//! The saved state of training, written after each epoch and every few minutes within a long one, and read by `--resume`. It contains no state
//! of random generators: all random numbers follow from seed, epoch and batch.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use dhih_model::checkpoint::{self, Contents};

use serde::{Deserialize, Serialize};

use super::sums::{Hits, Sums};
use super::{Trainer, is_trained};
use crate::error::{Error, Result};
use crate::run::epoch_record::EpochRecord;
use crate::run::run_dir::RunDir;
use crate::train::weight_average::WeightAverage;

const WEIGHT: &str = "weight:";
const MOMENT: &str = "moment:";
const AVERAGE: &str = "average:";
const RECORDS: &str = "dhih.epochs";
const BEGUN: &str = "dhih.begun";

/// The part of an epoch that was trained.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Begun {
    /// The number of the epoch, from 1.
    pub(super) epoch: usize,
    /// The number of batches that are done.
    pub(super) batches: usize,
    pub(super) sums: Sums,
}

/// [`Begun`] in the file. Sums are stored as the bits of their floating-point numbers, so that no digit is lost.
#[derive(Serialize, Deserialize)]
struct BegunBits {
    epoch: usize,
    batches: usize,
    loss: u64,
    seconds: u64,
    right: usize,
    labelled: usize,
}

impl From<&Begun> for BegunBits {
    fn from(begun: &Begun) -> Self {
        let Begun { epoch, batches, sums: Sums { loss, hits, seconds } } = *begun;
        let Hits { right, labelled } = hits;
        let (loss, seconds) = (loss.to_bits(), seconds.to_bits());
        Self { epoch, batches, loss, seconds, right, labelled }
    }
}

impl From<BegunBits> for Begun {
    fn from(bits: BegunBits) -> Self {
        let BegunBits { epoch, batches, loss, seconds, right, labelled } = bits;
        let (loss, seconds) = (f64::from_bits(loss), f64::from_bits(seconds));
        Self { epoch, batches, sums: Sums { loss, hits: Hits { right, labelled }, seconds } }
    }
}

impl Trainer<'_> {
    /// All weights that training may change; frozen weights are in the pretrained file.
    pub(super) fn trained_weights(&self) -> Result<impl Iterator<Item = (String, Tensor)>> {
        let weights = self.network.parameters().snapshot()?.into_iter();
        Ok(weights.filter(|(name, _)| is_trained(self.config, &self.network, name)))
    }

    /// Restores what [`Self::trained_weights`] returned.
    pub(super) fn load_weights(&self, mut weights: BTreeMap<String, Tensor>) -> Result<()> {
        if self.config.keeps_weights() {
            let all = self.network.parameters().snapshot()?.into_iter();
            weights.extend(all.filter(|(name, _)| !is_trained(self.config, &self.network, name)));
        }
        Ok(self.network.parameters().load(&weights)?)
    }

    /// Writes the whole state to one file, and then the log. If the run is killed in between, the log lacks a line, which is written again when
    /// the run is resumed.
    pub(super) fn save(&self, run: &RunDir) -> Result<()> {
        let records = run.to_json_lines(&self.records)?;
        self.write_state(run, [(RECORDS.to_owned(), records.clone())].into())?;
        run.write(RunDir::METRICS, records.as_bytes())
    }

    /// Writes the state within an epoch.
    pub(super) fn save_under_way(&self, run: &RunDir, begun: &Begun) -> Result<()> {
        let records = run.to_json_lines(&self.records)?;
        let begun = run.to_json_lines(&[BegunBits::from(begun)])?;
        self.write_state(run, [(RECORDS.to_owned(), records), (BEGUN.to_owned(), begun)].into())
    }

    /// Writes everything that training changes to one file, with `metadata`.
    fn write_state(&self, run: &RunDir, metadata: BTreeMap<String, String>) -> Result<()> {
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
        checkpoint::write(&Contents { tensors, metadata }, &run.checkpoint()?)?;
        Ok(())
    }

    pub(super) fn resume(&mut self, run: &RunDir) -> Result<()> {
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
        let begun =
            contents.metadata.get(BEGUN).map(|text| serde_json::from_str::<BegunBits>(text));
        let begun =
            begun.transpose().map_err(|error| wrong_checkpoint(&path, &error.to_string()))?;
        self.begun = begun.map(Begun::from);
        let within = self
            .begun
            .as_ref()
            .map(|begun| format!(", with batch {} of epoch {}", begun.batches + 1, begun.epoch));
        let (epochs, within) = (self.records.len(), within.unwrap_or_default());
        self.progress.line(format!("going on after epoch {epochs}{within}"));
        // If the run is killed before this, the log lacks a line, which the next run writes.
        run.write(RunDir::METRICS, run.to_json_lines(&self.records)?.as_bytes())
    }
}

fn wrong_checkpoint(path: &Path, reason: &str) -> Error {
    Error::Run { path: path.to_owned(), reason: reason.to_owned() }
}
