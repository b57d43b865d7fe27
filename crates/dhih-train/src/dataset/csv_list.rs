//! A list of pictures as CSV, `labels.csv`: a column `image` with paths relative to the list's folder, a column `label` or `labels` or one for
//! each class, and optionally a column `part`. Several lines of one picture are joined. `csv_columns.rs` finds the columns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use dhih_model::walk::{Reason, Walk, text_of};

use super::Lists;
use super::csv_columns::{self, Columns, Part};
use super::raw::{Pictures, Raw};
use super::warning::Warning;
use crate::error::{Error, Result};
use crate::intake::pixels::Intake;
use crate::intake::source::Source;

const LIST: &str = "labels.csv";
const CURE: &str = "give --data-dir a folder with labels.csv: a header `image,label` (or `image,labels`, several \
                    separated by `;`; or a column of 0 and 1 for each class) and a line an image";

/// What the lines of a picture say.
#[derive(Default)]
struct Entry {
    /// The number of its first line, from 1.
    line: usize,
    path: PathBuf,
    labels: BTreeSet<String>,
    parts: BTreeSet<Part>,
}

/// Whether the list in `dir` assigns pictures to parts.
pub(super) fn has_parts(dir: &Path) -> bool {
    csv_columns::open(&dir.join(LIST)).is_ok_and(|(_, columns)| columns.part.is_some())
}

/// Reads the list. With a column `label`, pictures without a label are left out and counted. With a column `labels`, they show none of the
/// classes.
///
/// # Errors
/// [`Error::Data`] names the line, the columns that were found, and what is expected.
pub(super) fn load(dir: &Path, intake: &Intake) -> Result<Raw> {
    let path = dir.join(LIST);
    let wrong = |reason: String| Error::Data { path: path.clone(), reason, cure: CURE.to_owned() };
    let (entries, columns) = entries(dir, &path).map_err(wrong)?;
    let is_unlabelled = |entry: &&Entry| !columns.has_several_labels() && entry.labels.is_empty();
    let mut pictures = Pictures::default();
    let unlabelled: Vec<&Entry> = entries.iter().filter(is_unlabelled).collect();
    if let Some(Entry { line, .. }) = unlabelled.first() {
        let (path, count, first) = (path.clone(), unlabelled.len(), *line);
        pictures.left_out.add(&Reason::NoClass, count);
        pictures.warnings.push(Warning::Unlabelled { path, count, first });
    }
    let entries: Vec<&Entry> = entries.iter().filter(|entry| !is_unlabelled(entry)).collect();
    let classes: BTreeSet<&String> = entries.iter().flat_map(|entry| &entry.labels).collect();
    let numbers: BTreeMap<&String, u32> = classes.into_iter().zip(0..).collect();
    for entry in &entries {
        let labels = entry.labels.iter().map(|name| numbers[name]).collect();
        pictures.push(Source::File(entry.path.clone()), labels);
    }
    if columns.part.is_some() {
        pictures.lists = Some(lists(&entries));
    }
    let classes = numbers.into_keys().cloned().collect();
    Raw::of_pictures(pictures, classes, intake, (dir, CURE))
}

/// The pictures of a list in the order of their first lines.
fn entries(dir: &Path, list: &Path) -> Result<(Vec<Entry>, Columns), String> {
    let (mut reader, columns) = csv_columns::open(list)?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut rows: HashMap<PathBuf, usize> = HashMap::new();
    let mut files = Files { dir, by_stem: None };
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        let cell = |column: usize| record.get(column).unwrap_or_default().trim();
        if cell(columns.image).is_empty() {
            return Err(format!(
                "line {line} names no image in its column `{}`",
                columns.image_name
            ));
        }
        let path =
            files.path(cell(columns.image)).map_err(|reason| format!("line {line}: {reason}"))?;
        let row = *rows.entry(normal(&path)).or_insert(entries.len());
        if row == entries.len() {
            entries.push(Entry { line, path, ..Entry::default() });
        }
        let entry = &mut entries[row];
        entry
            .labels
            .extend(columns.labels(&record).map_err(|reason| format!("line {line}: {reason}"))?);
        if let Some(part) = columns.part {
            let part =
                Part::parse(cell(part)).map_err(|reason| format!("line {line}: {reason}"))?;
            entry.parts.insert(part);
        }
        let disjoint =
            !entry.parts.contains(&Part::Query) && !entry.parts.contains(&Part::Validation);
        if !disjoint && entry.parts.len() > 1 {
            let (image, first) = (cell(columns.image), entry.line);
            return Err(format!(
                "line {line}: {image} is in another part in line {first}; a query or a validation image is in no other part"
            ));
        }
    }
    Ok((entries, columns))
}

/// The pictures that a list may name.
struct Files<'a> {
    dir: &'a Path,
    /// The pictures below the folder by their names without extension; filled when such a name is looked up for the first time.
    by_stem: Option<HashMap<OsString, Vec<PathBuf>>>,
}

impl Files<'_> {
    /// The path of a picture. Some sets publish names without folder and extension. Where there is no file of such a name, it stands for the
    /// only picture below the folder that has this name without its extension.
    ///
    /// # Errors
    /// The reason, where several pictures have such a name.
    fn path(&mut self, cell: &str) -> Result<PathBuf, String> {
        let (path, name) = (self.dir.join(cell), Path::new(cell));
        let is_bare = name.extension().is_none() && name.components().count() == 1;
        if !is_bare || path.exists() {
            return Ok(path);
        }
        let by_stem = self.by_stem.get_or_insert_with(|| {
            let mut by_stem: HashMap<OsString, Vec<PathBuf>> = HashMap::new();
            for file in Walk::pictures(self.dir).unwrap_or_default().files {
                let stem = file.file_stem().unwrap_or_default().to_owned();
                by_stem.entry(stem).or_default().push(file);
            }
            by_stem
        });
        match by_stem.get(OsStr::new(cell)).map(Vec::as_slice) {
            None | Some([]) => Ok(path),
            Some([file]) => Ok(file.clone()),
            Some([first, second, ..]) => Err(format!(
                "{cell} may be {} or {}: give it an ending",
                text_of(first.as_os_str()),
                text_of(second.as_os_str())
            )),
        }
    }
}

/// The path in one spelling: absolute, without `.` and `..`. Links are not followed.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in std::path::absolute(path).as_deref().unwrap_or(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// The parts as rows. Where no picture is listed for the database, the training pictures are searched.
fn lists(entries: &[&Entry]) -> Lists {
    let of = |part: Part| -> Vec<usize> {
        let rows = entries.iter().enumerate();
        rows.filter(|(_, entry)| entry.parts.contains(&part)).map(|(row, _)| row).collect()
    };
    let (train, mut database) = (of(Part::Train), of(Part::Database));
    if database.is_empty() {
        database.clone_from(&train);
    }
    Lists { train, database, queries: of(Part::Query), validation: of(Part::Validation) }
}
