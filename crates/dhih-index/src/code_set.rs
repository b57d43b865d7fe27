//! `CodeSet`: the codes of a set of items with their ids, labels and origin, as one codes file
//! holds them. The bytes of the three file types are `codes_file.rs`, `npy.rs` and `parquet_file.rs`, folders of parts
//! `part_files.rs`; packed codes alone are `codes.rs`.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use crate::bytes::Source;
use crate::codes::Codes;
use crate::error::{Error, Result};
use crate::shard::Shard;
use crate::{codes_file, mmap, npy, parquet_file, part_files};

/// The labels of `n` items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    /// One class number per item, `[n]`; [`Labels::NONE`] where an item has none.
    Single(Vec<i64>),
    /// A row of zeros and ones per item, `[n, classes]`, row-major.
    MultiHot {
        /// Number of columns.
        classes: usize,
        /// The rows.
        values: Vec<u8>,
    },
}

impl Labels {
    /// The class number of an item without a label.
    pub const NONE: i64 = -1;

    /// Number of items.
    pub fn len(&self) -> usize {
        match self {
            Self::Single(labels) => labels.len(),
            Self::MultiHot { classes, values } => values.len() / (*classes).max(1),
        }
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of these rows, in this order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Single(labels) => Self::Single(rows.iter().map(|&row| labels[row]).collect()),
            Self::MultiHot { classes, values } => {
                let of_row = |&row: &usize| &values[row * classes..(row + 1) * classes];
                let values = rows.iter().flat_map(of_row).copied().collect();
                Self::MultiHot { classes: *classes, values }
            }
        }
    }

    /// Adds others of the same kind.
    pub(crate) fn append(&mut self, others: Self) {
        match (self, others) {
            (Self::Single(labels), Self::Single(others)) => labels.extend(others),
            (Self::MultiHot { values, .. }, Self::MultiHot { values: others, .. }) => {
                values.extend(others);
            }
            _ => {}
        }
    }
}

/// The types of codes files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodesFormat {
    /// Codes, ids, labels and metadata.
    Safetensors,
    /// The same in columns, for Spark and other engines.
    Parquet,
    /// The packed codes alone.
    Npy,
}

impl CodesFormat {
    /// The type that a file's extension names: `.npy`, `.parquet`, safetensors otherwise.
    pub fn of(path: &Path) -> Self {
        if is(path, "npy") {
            Self::Npy
        } else if is(path, "parquet") {
            Self::Parquet
        } else {
            Self::Safetensors
        }
    }
}

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

    /// Reads a codes file: `.npy` by its extension, Parquet by that or by how it begins, safetensors otherwise; or a folder of
    /// part files, `part-*.parquet` or `part-*.safetensors`, in the order of their names.
    ///
    /// An `.npy` file does not say how long its codes are, nor does a Parquet file of others, so they need `bits`; where the
    /// file says it, `bits` is checked.
    ///
    /// # Errors
    /// A file that cannot be read or is not as it should be, and what [`check`](Self::check)
    /// refuses.
    pub fn read(path: &Path, bits: Option<u32>) -> Result<Self> {
        let read = |path: &Path| std::fs::read(path).map_err(Error::io("read", path));
        Self::of_file(path, bits, |path| read(path).map(Source::Read))
    }

    /// As [`read`](Self::read), but the codes of an `.npy` or safetensors file stay in it, mapped into memory, until the set is
    /// dropped. The file must not be overwritten or cut before; another may take its name.
    ///
    /// # Errors
    /// As for `read`.
    pub fn map(path: &Path, bits: Option<u32>) -> Result<Self> {
        Self::of_file(path, bits, |path| match std::fs::metadata(path) {
            // What is empty cannot be mapped.
            Ok(metadata) if metadata.len() == 0 => Ok(Source::Read(Vec::new())),
            _ => mmap::map(path).map(Source::Mapped),
        })
    }

    /// As [`map`](Self::map), a part of the rows. Items without ids keep the numbers of their rows. Of a folder, only those files
    /// are read that hold some of the rows.
    ///
    /// # Errors
    /// As for `read`.
    pub fn map_shard(path: &Path, bits: Option<u32>, shard: Shard) -> Result<Self> {
        if path.is_dir() {
            return part_files::read(path, bits, shard);
        }
        let set = Self::map(path, bits)?;
        if shard == Shard::WHOLE {
            return Ok(set);
        }
        let rows = shard.range(set.codes.len());
        let mut part = set.slice(rows.clone());
        part.ids.get_or_insert_with(|| rows.map(|row| row as u64).collect());
        Ok(part)
    }

    fn of_file(
        path: &Path,
        bits: Option<u32>,
        open: impl FnOnce(&Path) -> Result<Source>,
    ) -> Result<Self> {
        if path.is_dir() {
            return part_files::read(path, bits, Shard::WHOLE);
        }
        let set = if is(path, "parquet") || parquet_file::is_one(path) {
            parquet_file::read(path, bits)?
        } else {
            let file = open(path)?;
            if file.is_empty() {
                return Err(Error::codes_file(path, "it is empty: write it again"));
            }
            if is(path, "npy") {
                let bits = bits.ok_or_else(|| Error::BitsNeeded { path: path.to_path_buf() })?;
                let array = npy::parse(path, &file)?;
                codes_file::check_columns(path, bits, array.columns)?;
                Self::new(Codes::of_bytes(bits, file.part(array.values))?)
            } else {
                codes_file::parse(path, file)?
            }
        };
        match bits {
            Some(expected) if expected != set.codes.bits() => {
                let found = set.codes.bits();
                Err(Error::BitsDiffer { path: path.to_path_buf(), expected, found })
            }
            _ => set.check().map(|()| set),
        }
    }

    /// Reads labels from an `.npy` file and gives them to the codes: whole numbers, one an item, or
    /// rows of 0 and 1 with a column a class.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn with_labels(self, path: &Path) -> Result<Self> {
        let file = std::fs::read(path).map_err(Error::io("read", path))?;
        let set = Self { labels: Some(npy::parse_labels(path, &file)?), ..self };
        set.check().map(|()| set)
    }

    /// Writes a codes file of the type that its extension names ([`CodesFormat::of`]).
    ///
    /// # Errors
    /// A file that cannot be written, and what [`check`](Self::check) refuses.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.write_as(path, CodesFormat::of(path))
    }

    /// As [`write`](Self::write), whatever the file's name.
    ///
    /// # Errors
    /// As for `write`.
    pub fn write_as(&self, path: &Path, format: CodesFormat) -> Result<()> {
        self.check()?;
        match format {
            CodesFormat::Parquet => parquet_file::write(path, self),
            CodesFormat::Npy => {
                npy::write(path, self.codes.bytes_per_code(), self.codes.as_bytes())
            }
            CodesFormat::Safetensors => codes_file::write(path, self),
        }
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
        let codes = self.codes.len();
        let count = |what, found| match found == codes {
            true => Ok(()),
            false => Err(Error::Count { what, codes, found }),
        };
        if let Some(ids) = &self.ids {
            count("ids", ids.len())?;
            check_unique(ids)?;
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

/// Refuses labels outside the classes, where these have names, and multi-hot rows that are none.
pub(crate) fn check_labels(labels: &Labels, classes: usize) -> Result<()> {
    match labels {
        Labels::Single(labels) => check_single(labels, classes),
        Labels::MultiHot { classes: columns, values } => check_multi_hot(*columns, values, classes),
    }
}

fn check_unique(ids: &[u64]) -> Result<()> {
    if ids.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    let mut seen = HashSet::with_capacity(ids.len());
    match ids.iter().find(|&&id| !seen.insert(id)) {
        Some(&id) => Err(Error::DuplicateId { id }),
        None => Ok(()),
    }
}

fn check_single(labels: &[i64], classes: usize) -> Result<()> {
    let inside = |&label: &i64| {
        label == Labels::NONE || usize::try_from(label).is_ok_and(|label| label < classes)
    };
    match labels.iter().position(|label| !inside(label)) {
        Some(row) if classes > 0 => Err(Error::Label { row, label: labels[row], classes }),
        _ => Ok(()),
    }
}

fn check_multi_hot(columns: usize, values: &[u8], classes: usize) -> Result<()> {
    let fail = |reason| Err(Error::MultiHot { reason });
    if columns == 0 || !values.len().is_multiple_of(columns) {
        return fail(format!("{} values are no rows of {columns} columns", values.len()));
    }
    if classes != 0 && classes != columns {
        return fail(format!("{columns} columns for {classes} classes: there must be one each"));
    }
    match values.iter().position(|&value| value > 1) {
        Some(at) => fail(format!("item {} has a {}: use 0 and 1", at / columns, values[at])),
        None => Ok(()),
    }
}

fn is(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}
