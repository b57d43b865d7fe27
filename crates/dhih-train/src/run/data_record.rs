//! What a run records about its data, in `config.toml` and `evaluation.json`. `run_dir.rs` has the directory of these files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, PartVerification, Warning};
use crate::protocol::Split;

/// The data of a run, as far as results depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// SHA-256 of labels and images.
    pub sha256: String,
    /// Whether the images are the published ones; absent where nothing is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// The number of files that could not be used.
    pub skipped: usize,
    /// SHA-256 of the rows of training, database and queries.
    pub split_sha256: String,
    /// The number of entries that were left out, by the names of the reasons; the faults among them are those of `skipped`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, usize>,
    /// How many images of each part of a published set are verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verified_parts: Vec<PartVerification>,
    /// Oddities of the data that did not prevent their use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

impl DataRecord {
    /// The record of a dataset and its split.
    pub fn new(dataset: &Dataset, split: &Split) -> Self {
        Self {
            sha256: dataset.sha256.clone(),
            verified: dataset.verified,
            skipped: dataset.skipped.len(),
            split_sha256: split.sha256(),
            left_out: dataset
                .left_out
                .counts()
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect(),
            verified_parts: dataset.verified_parts.clone(),
            warnings: dataset.warnings.clone(),
        }
    }

    /// Whether a dataset and its split are those of the record, wherever the files are and whatever other files are there.
    pub fn is_of(&self, dataset: &Dataset, split: &Split) -> bool {
        self.split_sha256 == split.sha256() && dataset.has_digest(&self.sha256)
    }

    /// How many images of each part of a published set are verified, in one line; `None` where no digests of its images are known.
    pub fn verification(&self) -> Option<String> {
        let parts: Vec<String> = self.verified_parts.iter().map(ToString::to_string).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}
