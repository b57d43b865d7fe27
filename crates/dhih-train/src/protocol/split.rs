//! A split: the rows of a dataset by their part, with checks and digest. `draw.rs` draws parts; `mod.rs` has the parts of each protocol.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Protocol;
use super::draw::Drawing;
use crate::dataset::Dataset;
use crate::error::{Error, Result};

/// Rows of a dataset by their part, each in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The protocol.
    pub protocol: Protocol,
    /// The seed of the drawing, which is unused where the parts are published.
    pub seed: u64,
    /// Training rows.
    pub train: Vec<usize>,
    /// Rows of the database, which are searched.
    pub database: Vec<usize>,
    /// Rows of the queries.
    pub queries: Vec<usize>,
    /// Validation rows: neither trained on nor queries, but searched where the protocol says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<usize>,
}

/// Makes the drawing of validation images different from that of queries.
const VALIDATION: u64 = 0x5641_4c49_4441_5445;

impl Split {
    /// Holds out validation images: the published validation part where the protocol uses published parts and there is one, else the share
    /// `share` of the training rows of each class. A class with a single training row contributes none.
    ///
    /// # Errors
    /// When no class has enough rows for one image on each side.
    pub fn hold_out(mut self, dataset: &Dataset, share: f64) -> Result<Self> {
        let published = dataset.official_validation_rows();
        if self.protocol.has_published_parts() && !published.is_empty() {
            self.validation = published;
            return Ok(self);
        }
        let labels = self.train.iter().flat_map(|row| dataset.labels.of(*row));
        let classes: Vec<u32> = labels.copied().collect::<BTreeSet<u32>>().into_iter().collect();
        let drawing = Drawing {
            dataset,
            seed: self.seed ^ VALIDATION,
            rows: &self.train,
            classes: &classes,
            counts: |count: usize| [((count as f64 * share).round() as usize).max(1)],
            skip_small_classes: true,
        };
        let [validation] = drawing.draw()?;
        self.train.retain(|row| validation.binary_search(row).is_err());
        self.validation = validation;
        Ok(self)
    }

    /// Whether two held-out images have a class in common, so that a ranking of them can be better than another.
    pub(crate) fn validation_has_pairs(&self, dataset: &Dataset) -> bool {
        let mut seen = BTreeSet::new();
        let mut labels = self.validation.iter().flat_map(|row| dataset.labels.of(*row));
        labels.any(|label| !seen.insert(*label))
    }

    /// Refuses a split with an empty part, which would otherwise be noticed only after training.
    pub(super) fn check_parts(self) -> Result<Self> {
        let parts =
            [("train", &self.train), ("database", &self.database), ("queries", &self.queries)];
        let empty = parts.into_iter().find(|(_, rows)| rows.is_empty()).map(|(part, _)| part);
        match empty {
            Some(part) => Err(Error::Config {
                name: "protocol",
                got: format!("{}, whose part `{part}` has no image", self.protocol.name()),
                expected: "at least one usable image in each part".to_owned(),
            }),
            None => Ok(self),
        }
    }

    /// SHA-256 over the rows of the parts, in hex.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.train, &self.database, &self.queries] {
            hash.update((part.len() as u64).to_le_bytes());
            part.iter().for_each(|row| hash.update((*row as u64).to_le_bytes()));
        }
        if !self.validation.is_empty() {
            hash.update(b"validation");
            self.validation.iter().for_each(|row| hash.update((*row as u64).to_le_bytes()));
        }
        dhih_index::to_hex(&hash.finalize())
    }
}
