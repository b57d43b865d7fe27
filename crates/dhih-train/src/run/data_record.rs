//! What a run records of its data, in `config.toml` and `evaluation.json`. The directory that these files are in: `run_dir.rs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, PartVerification, Warning};
use crate::protocol::Split;

/// The data of a run, as far as results depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// Of labels and images.
    pub sha256: String,
    /// Whether the images are the published ones; absent where nothing is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// Number of files that could not be used.
    pub skipped: usize,
    /// Of the rows of training, database and queries.
    pub split_sha256: String,
    /// Number of the entries that were left out, by the names of the reasons; the faults among them are those of `skipped`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, usize>,
    /// What is known of the images of each part of a published set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verified_parts: Vec<PartVerification>,
    /// What is odd about the data and did not keep it from being used.
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

    /// Whether a dataset and its split are those of the record, wherever the files are and whatever else lies beside them.
    pub fn is_of(&self, dataset: &Dataset, split: &Split) -> bool {
        self.split_sha256 == split.sha256() && dataset.has_digest(&self.sha256)
    }

    /// What is known of the images of a published set, part by part, in one line; `None` where no digests of its images are known.
    pub fn verification(&self) -> Option<String> {
        let parts: Vec<String> = self.verified_parts.iter().map(ToString::to_string).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}
