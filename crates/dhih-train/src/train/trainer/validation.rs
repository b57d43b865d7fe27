//! Watching training by the held-out images: their mAP after each epoch, and when to stop.

use std::collections::BTreeMap;

use dhih_index::{CodeSet, Codes};
use dhih_model::checkpoint::{self, Contents};
use dhih_model::{CodeEncoder, Mode};

use super::Trainer;
use crate::error::Result;
use crate::evaluation::{EvaluationConfig, evaluate};
use crate::run::run_dir::RunDir;
use crate::train::ema::WeightAverage;

impl Trainer<'_> {
    /// mAP of the held-out images among themselves; keeps the weights where it is the best so far.
    pub(super) fn validate(&self, run: &RunDir) -> Result<Option<f64>> {
        let rows = &self.split.validation;
        if rows.is_empty() {
            return Ok(None);
        }
        self.average.as_ref().map_or(Ok(()), WeightAverage::exchange)?;
        let mut values = Vec::new();
        let (encoder, input) = (CodeEncoder::new(&self.network)?, self.network.config().input);
        for rows in rows.chunks(4 * input.inference_batch()) {
            values.extend(match &self.features {
                Some(_) => {
                    self.forward((rows, &[]), Mode::Evaluation)?.flatten_all()?.to_vec1::<f32>()?
                }
                None => encoder.encode(&self.dataset.gather_fitted(rows, input)?)?,
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
    pub(super) fn best(&self) -> Option<(usize, f64)> {
        let scores = self.records.iter().filter_map(|r| Some((r.epoch, r.validation_map?)));
        scores.reduce(|best, score| if score.1 > best.1 { score } else { best })
    }

    /// Whether the best epoch lies so far back that training stops.
    pub(super) fn is_spent(&self) -> bool {
        let patience = self.config.patience;
        patience > 0 && self.best().is_some_and(|(epoch, _)| self.records.len() - epoch >= patience)
    }
}
