//! Evaluates the held-out images after each epoch, and decides when to stop.

use std::collections::BTreeMap;

use candle_core::Tensor;
use dhih_index::{CodeSet, Codes};
use dhih_model::checkpoint::{self, Contents};
use dhih_model::{CodeEncoder, HeadEncoder};

use super::Trainer;
use crate::error::Result;
use crate::evaluation::{accuracy, leave_one_out_map};
use crate::run::run_dir::RunDir;
use crate::train::features::FeatureCache;
use crate::train::weight_average::WeightAverage;

/// The results of an epoch on the held-out images.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validation {
    /// The mAP of the images among themselves, each compared with all others except itself.
    pub(super) map: f64,
    /// The share of labelled images that are classified correctly; absent where the loss knows no classes.
    pub(super) accuracy: Option<f64>,
}

impl Trainer<'_> {
    /// Evaluates the held-out images, where there are some, and keeps the weights where their mAP is the best so far.
    pub(super) fn validate(&self, run: &RunDir) -> Result<Option<Validation>> {
        let rows = &self.split.validation;
        if rows.is_empty() {
            return Ok(None);
        }
        self.average.as_ref().map_or(Ok(()), WeightAverage::exchange)?;
        let mut values = Vec::new();
        let input = self.network.config().input;
        let views = self.config.views();
        let features = self.features.as_ref().filter(|_| FeatureCache::serves(views));
        let head = match features {
            Some(features) => Some((features, HeadEncoder::new(&self.network)?)),
            None => None,
        };
        let encoder = head.is_none().then(|| CodeEncoder::new(&self.network)).transpose()?;
        for rows in rows.chunks(4 * input.inference_batch()) {
            if let Some(encoder) = &encoder {
                values.extend(encoder.encode(&self.dataset.gather_fitted(rows, input)?)?);
            } else if let Some((features, head)) = &head {
                values.extend(features.encode(head, rows, views)?);
            }
        }
        let labels = self.dataset.labels.of_codes(rows, self.dataset.classes.len());
        let shape = (rows.len(), self.config.bits);
        let v = Tensor::from_slice(&values, shape, self.network.device())?;
        let predicted = self.network.objective().classify(&v)?;
        let predicted = predicted.map(|classes| classes.to_vec1::<u32>()).transpose()?;
        let accuracy = predicted.and_then(|predicted| accuracy(&labels, &predicted));
        let mut set = CodeSet::new(Codes::from_real(self.config.bits as u32, &values)?);
        set.labels = Some(labels);
        let map = leave_one_out_map(&set)?;
        if self.config.patience > 0 && self.best().is_none_or(|(_, best)| map > best) {
            let tensors = self.trained_weights()?.collect();
            checkpoint::write(&Contents { tensors, metadata: BTreeMap::new() }, &run.best()?)?;
        }
        self.average.as_ref().map_or(Ok(()), WeightAverage::exchange)?;
        Ok(Some(Validation { map, accuracy }))
    }

    /// The number and the mAP of the best epoch so far; the first one among equals.
    pub(super) fn best(&self) -> Option<(usize, f64)> {
        let scores = self.records.iter().filter_map(|r| Some((r.epoch, r.validation_map?)));
        scores.reduce(|best, score| if score.1 > best.1 { score } else { best })
    }

    /// Whether the best epoch is so far back that training stops.
    pub(super) fn is_spent(&self) -> bool {
        let patience = self.config.patience;
        patience > 0 && self.best().is_some_and(|(epoch, _)| self.records.len() - epoch >= patience)
    }
}
