//! Sets of Parquet files with labelled pictures in the schema of the Hugging Face library `datasets`: a column `img` or `image` with a member
//! `bytes`, and a column `label` or a list `labels`. The name of a file, or of a folder above it, denotes the part of the set. `table.rs` is a
//! file of it, `reading.rs` reads one, and `columns.rs` reads the values of a column: these two are there with the feature `parquet`.

#[cfg(feature = "parquet")]
mod columns;
#[cfg(feature = "parquet")]
mod reading;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dhih_model::InputShape;
use dhih_model::image::{self, Limits};
use dhih_model::walk::{Entry, LeftOut, Reason, Walk};
use rayon::prelude::*;

use super::class_names::class_names;
use super::part::Part;
use super::raw::{Pictures, Raw};
use super::warning::Warning;
use crate::error::{Error, Result};
use crate::intake::pixels::Intake;
use crate::intake::source::Source;

pub(super) use table::TableConfig;
use table::{Table, TableLabels};

const CURE: &str = "give --data-dir a folder of train*.parquet and, optionally, test*.parquet with pictures `image` and labels `label`";
const COLUMNS: [&str; 2] = ["label", "labels"];

/// Reads a file of a published set, whose pictures all have one shape and one label. Returns pixels `[n, height, width, channels]`
/// and a class number for each image.
///
/// # Errors
/// [`Error::Data`] names the file and the row that has no picture, no label or several, cannot be decoded, or has another shape.
pub(super) fn read_exactly(config: &TableConfig, shape: InputShape) -> Result<(Vec<u8>, Vec<u32>)> {
    let wrong = |i: usize, reason: String| Error::Data {
        path: config.path.to_owned(),
        reason: format!("row {i}: {reason}"),
        cure: config.cure.to_owned(),
    };
    let Table { pictures, labels, .. } = Table::read(config)?;
    let TableLabels::Numbers(labels) = labels else {
        return Err(wrong(0, "its label is text, expected a class number".to_owned()));
    };
    let decode = |i: usize| {
        let bytes = pictures[i].as_ref().ok_or_else(|| wrong(i, NO_BYTES.to_owned()))?;
        let picture = image::decode(bytes, &Limits::default());
        let picture = picture.map_err(|error| wrong(i, error.to_string()))?;
        if (picture.height(), picture.width()) != (shape.height, shape.width) {
            let size = format!("{} x {}", picture.width(), picture.height());
            let expected = format!("{} x {}", shape.width, shape.height);
            return Err(wrong(i, format!("the image is {size}, expected {expected}")));
        }
        match labels[i].as_deref() {
            Some([label]) => Ok((picture.into_pixels(), *label)),
            Some(labels) => Err(wrong(i, format!("{} labels, expected one", labels.len()))),
            None => Err(wrong(i, "it has no label".to_owned())),
        }
    };
    let decoded: Result<Vec<_>> = (0..pictures.len()).into_par_iter().map(decode).collect();
    let (images, labels): (Vec<Vec<u8>>, Vec<u32>) = decoded?.into_iter().unzip();
    Ok((images.concat(), labels))
}

const NO_BYTES: &str = "it has no bytes of a picture";

/// The files of a set.
struct PartFiles {
    /// The files with their parts, each part in the natural order of its paths.
    files: Vec<(Part, PathBuf)>,
    /// Other files of the folder.
    left_out: LeftOut,
}

/// Finds the files of a set. If there is a validation part but no test part beside the training part, it serves as the test part.
fn files_by_part(dir: &Path) -> Result<PartFiles> {
    let Walk { files: found, mut left_out, .. } = super::files_below(dir, CURE)?;
    let mut files = Vec::new();
    for path in found {
        match path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet")) {
            true => files.push((Part::of_file(&path, dir), path)),
            false => left_out.push(path, Reason::OtherFile),
        }
    }
    if files.iter().all(|(part, _)| *part != Part::Test) {
        let validation = files.iter_mut().filter(|(part, _)| *part == Part::Validation);
        validation.for_each(|(part, _)| *part = Part::Test);
    }
    // The walk has already sorted the paths in natural order.
    files.sort_by_key(|(part, _)| *part);
    Ok(PartFiles { files, left_out })
}

/// Whether a set has a part to test on beside the training part.
pub(super) fn has_test_part(dir: &Path) -> bool {
    let Ok(PartFiles { files, .. }) = files_by_part(dir) else { return false };
    let parts: BTreeSet<Part> = files.into_iter().map(|(part, _)| part).collect();
    parts.contains(&Part::Train) && parts.contains(&Part::Test)
}

/// Reads a user's set. Rows without a picture are skipped and listed; rows without a label are left out and counted.
pub(super) fn load(dir: &Path, intake: &Intake) -> Result<Raw> {
    let PartFiles { files, left_out } = files_by_part(dir)?;
    let has = |wanted: Part| files.iter().any(|(part, _)| *part == wanted);
    let wrong = |reason: &str| Error::Data {
        path: dir.to_owned(),
        reason: reason.to_owned(),
        cure: CURE.to_owned(),
    };
    if files.is_empty() {
        return Err(wrong("it has no .parquet file"));
    }
    if !has(Part::Train) {
        return Err(wrong("by the names of its files it has a test part, but none that trains"));
    }
    let mut pictures = Pictures { left_out, ..Pictures::default() };
    let mut labels = Labels::default();
    let (mut known, mut counts) = (None, [0; 3]);
    for (part, path) in &files {
        let table = Table::read(&TableConfig { path, labels: &COLUMNS, cure: CURE })?;
        let first = labels.len();
        known = known.or(table.names);
        labels.append(path, table.labels)?;
        let mut unlabelled = Vec::new();
        for (row, bytes) in table.pictures.into_iter().enumerate() {
            let name = PathBuf::from(format!("{}, row {row}", path.display()));
            match (bytes, labels.is_labelled(first + row)) {
                (_, false) => unlabelled.push(row),
                (None, true) => {
                    let reason = Reason::broken(NO_BYTES);
                    pictures.skipped.push(Entry { path: name, reason });
                }
                (Some(bytes), true) => {
                    labels.kept.push(first + row);
                    pictures.push(Source::Bytes { name, bytes }, Vec::new());
                    counts[*part as usize] += 1;
                }
            }
        }
        if let Some(first) = unlabelled.first() {
            let (path, count, first) = (path.clone(), unlabelled.len(), *first);
            pictures.left_out.add(&Reason::NoClass, count);
            pictures.warnings.push(Warning::Unlabelled { path, count, first });
        }
    }
    let [train, test, validation] = counts;
    if train == 0 {
        return Err(wrong("none of the pictures that could train has a label"));
    }
    if test + validation > 0 {
        pictures.official_train = Some(train);
        // A test part without published labels leaves the validation part to test on.
        pictures.official_validation = if test > 0 { validation } else { 0 };
    }
    known = labels.name(&mut pictures, known);
    let classes = class_names(&mut pictures, known);
    Raw::of_pictures(pictures, classes, intake, (dir, CURE))
}

/// The labels of all rows of all files, and which rows are kept.
#[derive(Default)]
struct Labels {
    all: Option<TableLabels>,
    kept: Vec<usize>,
}

impl Labels {
    fn len(&self) -> usize {
        match &self.all {
            None => 0,
            Some(TableLabels::Numbers(rows)) => rows.len(),
            Some(TableLabels::Names(rows)) => rows.len(),
        }
    }

    fn is_labelled(&self, row: usize) -> bool {
        match &self.all {
            None => false,
            Some(TableLabels::Numbers(rows)) => rows[row].is_some(),
            Some(TableLabels::Names(rows)) => rows[row].is_some(),
        }
    }

    fn append(&mut self, path: &Path, labels: TableLabels) -> Result<()> {
        let (found, others) = match (&mut self.all, labels) {
            (None, labels) => {
                self.all = Some(labels);
                return Ok(());
            }
            (Some(TableLabels::Numbers(all)), TableLabels::Numbers(labels)) => {
                all.extend(labels);
                return Ok(());
            }
            (Some(TableLabels::Names(all)), TableLabels::Names(labels)) => {
                all.extend(labels);
                return Ok(());
            }
            (Some(TableLabels::Numbers(_)), TableLabels::Names(_)) => ("text", "numbers"),
            (Some(TableLabels::Names(_)), TableLabels::Numbers(_)) => ("numbers", "text"),
        };
        Err(Error::Data {
            path: path.to_owned(),
            reason: format!("its labels are {found}, those of the files before it are {others}"),
            cure: CURE.to_owned(),
        })
    }

    /// Assigns class numbers to the kept pictures, and returns the names of the classes where they are known. Labels that are strings are
    /// numbered in the order of `known` if that has all of them, else in alphabetical order.
    fn name(self, pictures: &mut Pictures, known: Option<Vec<String>>) -> Option<Vec<String>> {
        let kept = self.kept;
        match self.all? {
            TableLabels::Numbers(mut rows) => {
                let labels = kept.iter().map(|row| rows[*row].take().unwrap_or_default());
                pictures.labels = labels.collect();
                known
            }
            TableLabels::Names(rows) => {
                let used = kept.iter().filter_map(|row| rows[*row].as_ref()).flatten();
                let used: BTreeSet<&String> = used.collect();
                let known = known.filter(|known| used.iter().all(|name| known.contains(name)));
                let names = known.unwrap_or_else(|| used.into_iter().cloned().collect());
                let number: std::collections::HashMap<&String, u32> =
                    names.iter().zip(0..).collect();
                let of = |row: &usize| {
                    let labels = rows[*row].iter().flatten();
                    let mut labels: Vec<u32> = labels.map(|name| number[name]).collect();
                    labels.sort_unstable();
                    labels
                };
                pictures.labels = kept.iter().map(of).collect();
                Some(names)
            }
        }
    }
}
