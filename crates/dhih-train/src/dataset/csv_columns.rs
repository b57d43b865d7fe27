//! The columns of a list of pictures as CSV: the separator, and which columns are pictures, labels and parts. `csv_list.rs` reads the lines.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use csv::{Reader, ReaderBuilder, StringRecord};
use dhih_model::walk::nfc;

/// The last name heads the corner of a table whose columns are labels, as UC Merced's is published.
const IMAGE: [&str; 5] = ["image", "path", "file", "filename", "image\\label"];
const LABEL: [&str; 2] = ["label", "labels"];
const PART: [&str; 2] = ["part", "split"];

/// The positions of the columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) image: usize,
    pub(super) image_name: String,
    labels: LabelColumns,
    pub(super) part: Option<usize>,
    separator: u8,
}

/// The form of the labels.
#[derive(Debug, PartialEq, Eq)]
enum LabelColumns {
    /// A column `label`: each cell is the name of a class.
    Single(usize),
    /// A column `labels`: each cell has the names of several classes.
    Several(usize),
    /// The wide form: a column of 0 and 1 for each class, named by the header.
    Wide(Vec<ClassColumn>),
}

/// A column of the wide form.
#[derive(Debug, PartialEq, Eq)]
struct ClassColumn {
    at: usize,
    class: String,
}

/// A part of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Train,
    Database,
    Query,
    Validation,
}

impl Part {
    /// # Errors
    /// The reason, where the text is not the name of a part.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.to_lowercase().as_str() {
            "train" | "training" => Ok(Self::Train),
            "database" | "gallery" => Ok(Self::Database),
            "query" | "queries" | "test" => Ok(Self::Query),
            "val" | "valid" | "validation" | "dev" => Ok(Self::Validation),
            _ => Err(format!("its part is {text:?}, expected train, database, query or val")),
        }
    }
}

impl Columns {
    /// The columns of a header, or what it lacks.
    fn of(header: &StringRecord, separator: u8) -> Result<Self, String> {
        let names: Vec<String> = header.iter().map(|name| name.trim().to_lowercase()).collect();
        let find = |wanted: &[&str]| {
            let found: Vec<usize> =
                (0..names.len()).filter(|at| wanted.contains(&names[*at].as_str())).collect();
            match found[..] {
                [] => Ok(None),
                [at] => Ok(Some(at)),
                [a, b, ..] => {
                    Err(format!("its header has both columns `{}` and `{}`", names[a], names[b]))
                }
            }
        };
        let missing =
            |name: &str| format!("its header has no column `{name}`; it has {}", names.join(", "));
        let image = find(&IMAGE)?.ok_or_else(|| missing("image"))?;
        let part = find(&PART)?;
        let labels = match find(&LABEL)? {
            Some(at) if names[at] == "labels" => LabelColumns::Several(at),
            Some(at) => LabelColumns::Single(at),
            None => {
                let others = (0..names.len()).filter(|at| *at != image && Some(*at) != part);
                let classes = others.map(|at| ClassColumn { at, class: name_of(&header[at]) });
                LabelColumns::Wide(classes.collect())
            }
        };
        match &labels {
            // A table of a single class does not divide pictures into classes, so it is not taken for the wide form.
            LabelColumns::Wide(classes) if classes.len() < 2 => return Err(missing("label")),
            LabelColumns::Wide(classes) => check_classes(classes)?,
            LabelColumns::Single(_) | LabelColumns::Several(_) => (),
        }
        let image_name = names[image].clone();
        Ok(Self { image, image_name, labels, part, separator })
    }

    /// Whether a picture may have several labels. Then a picture without a label shows none of the classes.
    pub(super) fn has_several_labels(&self) -> bool {
        !matches!(self.labels, LabelColumns::Single(_))
    }

    /// The labels of a line, in Unicode's normal form C. Several labels in a cell are separated by `;`, or by `,` in a file whose columns are
    /// separated by `;`.
    ///
    /// # Errors
    /// The reason, where a cell of the wide form is neither 0 nor 1.
    pub(super) fn labels(&self, record: &StringRecord) -> Result<Vec<String>, String> {
        let cell = |at: usize| record.get(at).unwrap_or_default().trim();
        let several = |c: char| c == ';' || self.separator == b';' && c == ',';
        let names: Vec<&str> = match &self.labels {
            LabelColumns::Single(at) => vec![cell(*at)],
            LabelColumns::Several(at) => cell(*at).split(several).map(str::trim).collect(),
            LabelColumns::Wide(classes) => {
                let mut names = Vec::new();
                for ClassColumn { at, class } in classes {
                    match cell(*at) {
                        "1" => names.push(&**class),
                        "0" => (),
                        other => {
                            return Err(format!(
                                "its column `{class}` holds {other:?}, expected 0 or 1, as there is no column `label` or `labels`"
                            ));
                        }
                    }
                }
                names
            }
        };
        Ok(names.into_iter().filter(|name| !name.is_empty()).map(name_of).collect())
    }
}

/// The name of a class in the form in which names are compared.
fn name_of(text: &str) -> String {
    nfc(text.trim()).into_owned()
}

/// # Errors
/// The reason, where a column of the wide form has no name, or the same name as another one.
fn check_classes(classes: &[ClassColumn]) -> Result<(), String> {
    let mut known = HashSet::new();
    for ClassColumn { at, class } in classes {
        if class.is_empty() {
            return Err(format!("column {} of its header has no name", at + 1));
        }
        if !known.insert(class) {
            return Err(format!("its header has two columns `{class}`"));
        }
    }
    Ok(())
}

/// Opens a list and finds its columns, which are separated by commas, semicolons or tabs.
///
/// # Errors
/// The reason: the file cannot be read, or its header lacks a column with each of the separators.
pub(super) fn open(list: &Path) -> Result<(Reader<File>, Columns), String> {
    let mut first = None;
    for separator in [b',', b';', b'\t'] {
        let file = File::open(list).map_err(|error| error.to_string())?;
        let mut reader = ReaderBuilder::new().delimiter(separator).from_reader(file);
        let header = reader.headers().map_err(|error| match error.kind() {
            csv::ErrorKind::Utf8 { .. } => "its header is not UTF-8: save it as UTF-8".to_owned(),
            _ => error.to_string(),
        })?;
        match Columns::of(header, separator) {
            Ok(columns) => return Ok((reader, columns)),
            // The message describes the header with the separator that finds the most columns.
            Err(reason) => {
                let found = header.len();
                if first.as_ref().is_none_or(|(most, _)| found > *most) {
                    first = Some((found, reason));
                }
            }
        }
    }
    Err(first.map(|(_, reason)| reason).unwrap_or_default())
}
