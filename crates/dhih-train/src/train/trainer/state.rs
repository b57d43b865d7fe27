//! The state of training in a file: written after each epoch, taken up by `--resume`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use dhih_model::checkpoint::{self, Contents};
use dhih_model::pretrained::BACKBONE;

use super::{EpochRecord, Trainer};
use crate::error::{Error, Result};
use crate::run::run_dir::RunDir;
use crate::train::ema::WeightAverage;

const WEIGHT: &str = "weight:";
const MOMENT: &str = "moment:";
const AVERAGE: &str = "average:";
const RECORDS: &str = "dhih.epochs";

impl Trainer<'_> {
    /// All weights that training may change; a frozen backbone is in the pretrained file.
    pub(super) fn trained_weights(&self) -> Result<impl Iterator<Item = (String, Tensor)>> {
        let (weights, frozen) =
            (self.network.parameters().snapshot()?, self.config.freeze_backbone);
        Ok(weights.into_iter().filter(move |(name, _)| !frozen || !name.starts_with(BACKBONE)))
    }

    /// The opposite of [`Self::trained_weights`].
    pub(super) fn load_weights(&self, mut weights: BTreeMap<String, Tensor>) -> Result<()> {
        if self.config.freeze_backbone {
            let backbone = self.network.parameters().snapshot()?.into_iter();
            weights.extend(backbone.filter(|(name, _)| name.starts_with(BACKBONE)));
        }
        Ok(self.network.parameters().load(&weights)?)
    }

    /// Writes the whole state in one file, then the log: killed in between, the log lacks a line that is written again.
    pub(super) fn save(&self, run: &RunDir) -> Result<()> {
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
        self.progress.line(format!("going on after epoch {}", self.records.len()));
        // Killed between checkpoint and log, the log lacks a line.
        run.write(RunDir::METRICS, run.to_json_lines(&self.records)?.as_bytes())
    }
}

fn wrong_checkpoint(path: &Path, reason: &str) -> Error {
    Error::Run { path: path.to_owned(), reason: reason.to_owned() }
}
