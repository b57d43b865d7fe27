//! `CodeSet`: the codes of items together with their ids, labels and origin, and whether these fit each other. Reading and
//! writing them: `io/`.

use std::ops::Range;

use rayon::prelude::*;

use crate::codes::Codes;
use crate::codes::labels::{Labels, check_labels};
use crate::error::{Error, Result};
use crate::vectors::set::VectorSet;

/// The codes of items, with everything that a codes file can hold beside them.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Labels};
///
/// # let dir = tempfile::tempdir()?;
/// let set = CodeSet {
///     ids: Some(vec![30, 10]),
///     labels: Some(Labels::Single(vec![0, Labels::NONE])),
///     classes: vec!["cat".to_owned()],
///     ..CodeSet::new(Codes::new(8, vec![0x0f, 0xf0])?)
/// };
/// set.check()?;
/// set.write(dir.path().join("codes.npy"))?;
/// // A `.npy` file holds the codes alone.
/// let read = CodeSet::read(dir.path().join("codes.npy"), Some(8))?;
/// assert_eq!(read, CodeSet::new(set.codes));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeSet {
    /// The codes, one for each item.
    pub codes: Codes,
    /// The ids of the items, each different; `None` stands for `0..n`.
    pub ids: Option<Vec<u64>>,
    /// The labels of the items.
    pub labels: Option<Labels>,
    /// The names of the classes; empty where they have none.
    pub classes: Vec<String>,
    /// SHA-256 of the model that made the codes, in hexadecimal.
    pub model_sha256: Option<String>,
    /// What the model was computed in where that is not floating point: `int8`. Such codes can be compared with those in floating point,
    /// of which about one bit in a hundred is another.
    pub precision: Option<String>,
    /// The vectors that the codes were made of, for an index to keep. Codes files have none.
    pub vectors: Option<VectorSet>,
}

impl CodeSet {
    /// Codes without ids, labels, classes, model or vectors.
    pub fn new(codes: Codes) -> Self {
        Self {
            codes,
            ids: None,
            labels: None,
            classes: Vec::new(),
            model_sha256: None,
            precision: None,
            vectors: None,
        }
    }

    /// A copy of consecutive rows.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        let vectors = self.vectors.as_ref().map(|vectors| vectors.slice(rows.clone()));
        let rows: Vec<usize> = rows.collect();
        Self {
            codes: self.codes.select(&rows),
            ids: self.ids.as_ref().map(|ids| rows.iter().map(|&row| ids[row]).collect()),
            labels: self.labels.as_ref().map(|labels| labels.select(&rows)),
            classes: self.classes.clone(),
            model_sha256: self.model_sha256.clone(),
            precision: self.precision.clone(),
            vectors,
        }
    }

    /// Appends the items of another set of the same kind: codes of the same length, and ids and labels where this set has them. Neither has
    /// vectors.
    pub(crate) fn append(&mut self, other: Self) {
        debug_assert!(self.vectors.is_none() && other.vectors.is_none());
        self.codes.append(&other.codes);
        if let (Some(ids), Some(others)) = (&mut self.ids, other.ids) {
            ids.extend(others);
        }
        if let (Some(labels), Some(others)) = (&mut self.labels, other.labels) {
            labels.append(others);
        }
    }

    /// Checks that codes, ids and labels fit each other.
    ///
    /// # Errors
    /// A number of ids, labels or vectors that is not the number of codes; an id that occurs twice; where classes have names, a label that
    /// is neither the number of one nor [`Labels::NONE`]; multi-hot labels that are not 0 and 1 with one column for each class;
    /// codes in a mapped file that has changed since it was mapped.
    pub fn check(&self) -> Result<()> {
        self.check_all_but_unique_ids()?;
        self.ids.as_deref().map_or(Ok(()), check_unique)
    }

    /// As [`check`](Self::check), but an id may occur twice: a caller that sorts by id finds that without further work.
    pub(crate) fn check_all_but_unique_ids(&self) -> Result<()> {
        self.check_unchanged()?;
        let codes = self.codes.len();
        let count = |what, found| match found == codes {
            true => Ok(()),
            false => Err(Error::Count { what, codes, found }),
        };
        if let Some(ids) = &self.ids {
            count("ids", ids.len())?;
        }
        if let Some(vectors) = &self.vectors {
            count("vectors", vectors.len())?;
        }
        match &self.labels {
            Some(labels) => {
                check_labels(labels, self.classes.len())?;
                count("labels", labels.len())
            }
            None => Ok(()),
        }
    }

    /// The kind of its codes.
    pub(crate) fn kind(&self) -> CodeKind<'_> {
        CodeKind { bits: self.codes.bits(), model: self.model_sha256.as_deref() }
    }

    /// Refuses codes and vectors in a mapped file whose length or time of modification has changed since it was mapped. This is one call of
    /// the system, whatever the number of codes.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        self.codes.check_unchanged()?;
        self.vectors.as_ref().map_or(Ok(()), VectorSet::check_unchanged)
    }
}

/// The kind of some codes. Only codes of one kind can be compared with each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeKind<'a> {
    pub(crate) bits: u32,
    /// SHA-256 of the model that made them, if known.
    pub(crate) model: Option<&'a str>,
}

impl<'a> CodeKind<'a> {
    /// Refuses codes that cannot be put beside these: of another length, or of another model. If the model of either is unknown, only the
    /// length counts.
    pub(crate) fn check_alike(self, other: Self) -> Result<()> {
        if self.bits != other.bits {
            let (expected, found) = (format!("{} bits", self.bits), format!("{} bits", other.bits));
            return Err(Error::UnlikeCodes { expected, found });
        }
        match self.other_model(other) {
            Some((own, others)) => Err(Error::UnlikeCodes {
                expected: format!("model {own}"),
                found: format!("model {others}"),
            }),
            None => Ok(()),
        }
    }

    /// The models of these codes and of the others, if both are known and differ.
    pub(crate) fn other_model(self, other: Self) -> Option<(&'a str, &'a str)> {
        self.model.zip(other.model).filter(|(own, others)| own != others)
    }
}

/// Refuses ids of which two are equal. Ids that ascend need no memory; others are copied, 8 bytes an item, and sorted on all
/// threads.
fn check_unique(ids: &[u64]) -> Result<()> {
    if ids.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    let mut sorted = ids.to_vec();
    sorted.par_sort_unstable();
    let Some(id) = sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]) else {
        return Ok(());
    };
    let mut rows = ids.iter().enumerate().filter(|(_, other)| **other == id).map(|(row, _)| row);
    match (rows.next(), rows.next()) {
        (Some(first), Some(second)) => Err(Error::DuplicateId { id, first, second }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_in_any_order() {
        let mut ids: Vec<u64> = (0..10_000).map(|i| i * 7_919 % 10_007).collect();
        assert!(check_unique(&ids).is_ok() && check_unique(&[]).is_ok());
        ids.sort_unstable();
        assert!(check_unique(&ids).is_ok());
        for (first, second) in [(0, 9_999), (4_000, 4_001), (17, 5_000)] {
            let mut twice: Vec<u64> = (0..10_000).rev().collect();
            twice[second] = twice[first];
            let Err(Error::DuplicateId { id, first: a, second: b }) = check_unique(&twice) else {
                panic!("{first} and {second} have the same id");
            };
            assert_eq!((id, a, b), (twice[first], first, second));
        }
        let equal = vec![u64::MAX; 3];
        let found = check_unique(&equal).unwrap_err();
        assert!(matches!(found, Error::DuplicateId { id: u64::MAX, first: 0, second: 1 }));
    }
}
