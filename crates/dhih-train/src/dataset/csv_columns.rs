//! The columns of a list of pictures as CSV: which character separates them, and which are pictures, labels and parts. What becomes of the
//! lines is in `csv_list.rs`.

use std::fs::File;
use std::path::Path;

use csv::{Reader, ReaderBuilder, StringRecord};

const IMAGE: [&str; 4] = ["image", "path", "file", "filename"];
const LABEL: [&str; 2] = ["label", "labels"];
const PART: [&str; 2] = ["part", "split"];

/// Where the columns are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) image: usize,
    pub(super) image_name: String,
    pub(super) label: usize,
    /// Whether the column of labels holds several, separated.
    pub(super) has_several_labels: bool,
    pub(super) part: Option<usize>,
    separator: u8,
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
    /// The reason, where it is no part.
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
        let label = find(&LABEL)?.ok_or_else(|| missing("label"))?;
        let has_several_labels = names[label] == "labels";
        let part = find(&PART)?;
        let image_name = names[image].clone();
        Ok(Self { image, image_name, label, has_several_labels, part, separator })
    }

    /// The labels of a cell. Several are separated by `;`, or by `,` in a file whose columns are separated by `;`.
    pub(super) fn labels<'a>(&self, cell: &'a str) -> impl Iterator<Item = &'a str> {
        let (several, comma) = (self.has_several_labels, self.separator == b';');
        let splits = move |c: char| several && (c == ';' || comma && c == ',');
        cell.split(splits).map(str::trim).filter(|name| !name.is_empty())
    }
}

/// Opens a list and finds its columns, which are separated by commas, semicolons or tabs.
///
/// # Errors
/// The reason: the file cannot be read, or its header lacks a column, whatever separates them.
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
            // The header is described as the separator sees it that finds most columns.
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
