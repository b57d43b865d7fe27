//! `CodeSet`: the codes of a set of items with their ids, labels and origin, as one codes file
//! holds them. The bytes of the three file types are `codes_file.rs`, `npy.rs` and `parquet_file.rs`, folders of parts
//! `part_files.rs`; packed codes alone are `codes.rs`.

use std::collections::HashSet;
use std::ops::Range;

use crate::codes::Codes;
use crate::codes::labels::{Labels, check_labels};
use crate::error::{Error, Result};

/// The codes of a set of items: what one codes file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeSet {
    /// The codes, one per item.
    pub codes: Codes,
    /// The items' ids, unique; `None` stands for `0..n`.
    pub ids: Option<Vec<u64>>,
    /// The items' labels.
    pub labels: Option<Labels>,
    /// Names of the classes; empty where they have none.
    pub classes: Vec<String>,
    /// SHA-256 of the model that made the codes, in hexadecimal.
    pub model_sha256: Option<String>,
}

impl CodeSet {
    /// Codes without ids, labels, classes or model.
    pub fn new(codes: Codes) -> Self {
        Self { codes, ids: None, labels: None, classes: Vec::new(), model_sha256: None }
    }

    /// Some rows that follow each other, copied.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        let rows: Vec<usize> = rows.collect();
        Self {
            codes: self.codes.select(&rows),
            ids: self.ids.as_ref().map(|ids| rows.iter().map(|&row| ids[row]).collect()),
            labels: self.labels.as_ref().map(|labels| labels.select(&rows)),
            classes: self.classes.clone(),
            model_sha256: self.model_sha256.clone(),
        }
    }

    /// Adds the items of another set of the same kind: codes of as many bits, ids and labels where this has them.
    pub(crate) fn append(&mut self, other: Self) {
        self.codes.append(&other.codes);
        if let (Some(ids), Some(others)) = (&mut self.ids, other.ids) {
            ids.extend(others);
        }
        if let (Some(labels), Some(others)) = (&mut self.labels, other.labels) {
            labels.append(others);
        }
    }

    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// Ids or labels that are not one per code, an id twice, a label outside the classes and not [`Labels::NONE`] (where
    /// classes are named), multi-hot labels that are not 0 and 1 with a column per class.
    pub fn check(&self) -> Result<()> {
        self.check_all_but_unique_ids()?;
        self.ids.as_deref().map_or(Ok(()), check_unique)
    }

    /// As [`check`](Self::check), but an id may occur twice: who sorts by id finds it then.
    pub(crate) fn check_all_but_unique_ids(&self) -> Result<()> {
        let codes = self.codes.len();
        let count = |what, found| match found == codes {
            true => Ok(()),
            false => Err(Error::Count { what, codes, found }),
        };
        if let Some(ids) = &self.ids {
            count("ids", ids.len())?;
        }
        match &self.labels {
            Some(labels) => {
                check_labels(labels, self.classes.len())?;
                count("labels", labels.len())
            }
            None => Ok(()),
        }
    }
}

fn check_unique(ids: &[u64]) -> Result<()> {
    if ids.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    let mut seen = HashSet::with_capacity(ids.len());
    match ids.iter().find(|&&id| !seen.insert(id)) {
        Some(&id) => Err(Error::DuplicateId { id, first: 0, second: 0 }),
        None => Ok(()),
    }
}
