//! Reads one Parquet file of labelled pictures: which of its columns are pictures and labels, and the content of its rows. A missing column, or one of
//! another type, is reported by its name and type. `columns.rs` reads values; `mod.rs` joins the files of a set.

use std::panic::catch_unwind;
use std::sync::Arc;

use dhih_model::walk::nfc;
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;

use super::columns::{self, Kind, Row, Values};
use super::table::{Table, TableConfig, TableLabels};
use crate::error::{Error, Result};

/// Names of the column of pictures: a group with a member `bytes`, or the bytes themselves.
const IMAGE: [&str; 2] = ["image", "img"];

/// Reads a file, as [`Table::read`].
pub(super) fn read(config: &TableConfig) -> Result<Table> {
    // The library checks most of a file, but may panic on a damaged page, which becomes an error here.
    catch_unwind(|| read_checked(config)).unwrap_or_else(|_| {
        Err(Error::Data {
            path: config.path.to_owned(),
            reason: "it is a damaged Parquet file: write it again".to_owned(),
            cure: config.cure.to_owned(),
        })
    })
}

fn read_checked(config: &TableConfig) -> Result<Table> {
    let wrong = |reason: String| Error::Data {
        path: config.path.to_owned(),
        reason,
        cure: config.cure.to_owned(),
    };
    let file = std::fs::File::open(config.path).map_err(|error| wrong(error.to_string()))?;
    let broken = |error: parquet::errors::ParquetError| {
        wrong(format!("it is not a complete Parquet file: {error}"))
    };
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let image = image_column(schema).map_err(wrong)?;
    let label = label_column(schema, config.labels).map_err(wrong)?;
    let mut pictures = Vec::new();
    let (mut numbers, mut names) = (Vec::new(), Vec::new());
    let column = |group: usize, at: usize, wanted: &str| {
        let values = read_column(&reader, group, at)?;
        values.ok_or_else(|| wrong_type(schema, at, wanted))
    };
    for group in 0..reader.num_row_groups() {
        let first = pictures.len();
        match column(group, image, PICTURES).map_err(wrong)? {
            Values::Bytes(rows) => pictures.extend(rows.into_iter().map(picture)),
            _ => return Err(wrong(wrong_type(schema, image, PICTURES))),
        }
        match column(group, label, LABELS).map_err(wrong)? {
            Values::Integers(rows) => {
                for (i, row) in rows.into_iter().enumerate() {
                    let labels = row.map(|labels| class_numbers(labels, first + i));
                    let labels = labels.transpose().map_err(|reason| {
                        wrong(format!("its column `{}`, {reason}", column_name(schema, label)))
                    })?;
                    numbers.push(labels.flatten());
                }
            }
            Values::Texts(rows) => names.extend(rows.into_iter().map(class_names)),
            Values::Bytes(_) => return Err(wrong(wrong_type(schema, label, LABELS))),
        }
        let labelled = numbers.len().max(names.len());
        if labelled != pictures.len() {
            let rows = pictures.len();
            return Err(wrong(format!("it has {rows} pictures but {labelled} labels")));
        }
    }
    let labels = match Kind::of(&schema.column(label)) {
        Kind::Text => TableLabels::Names(names),
        _ => TableLabels::Numbers(numbers),
    };
    let column = schema.column(label);
    let column = column.path().parts().first().map_or("", String::as_str);
    Ok(Table { pictures, labels, names: names_of_classes(&reader, column) })
}

const PICTURES: &str = "the bytes of pictures (BYTE_ARRAY)";
const LABELS: &str = "class numbers (whole numbers of any width) or names of classes (text)";

/// Reads a column of a row group; `None` where its type holds neither pictures nor labels.
fn read_column(
    reader: &SerializedFileReader<std::fs::File>,
    group: usize,
    at: usize,
) -> Result<Option<Values>, String> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let name = column_name(schema, at);
    let group = reader.get_row_group(group).map_err(|error| error.to_string())?;
    let codec = group.metadata().column(at).compression();
    let unreadable = |error: parquet::errors::ParquetError| match codec {
        Compression::LZO => format!(
            "its column `{name}` is compressed with LZO, which is not read: write the file with another codec, such as Zstandard"
        ),
        _ => format!("its column `{name}` cannot be read: {error}"),
    };
    columns::read(&*group, schema, at).map_err(unreadable)
}

fn column_name(schema: &SchemaDescriptor, at: usize) -> String {
    schema.column(at).path().string()
}

fn wrong_type(schema: &SchemaDescriptor, at: usize, wanted: &str) -> String {
    let (name, found) = (column_name(schema, at), columns::type_name(&schema.column(at)));
    format!("its column `{name}` is of type {found}: it must hold {wanted}")
}

/// The number of the column that holds the bytes of pictures.
fn image_column(schema: &SchemaDescriptor) -> Result<usize, String> {
    let is_image = |parts: &[String]| match parts {
        [name] => IMAGE.contains(&name.as_str()),
        [name, member] => IMAGE.contains(&name.as_str()) && member == "bytes",
        _ => false,
    };
    let found = schema.columns().iter().position(|column| is_image(column.path().parts()));
    found.ok_or_else(|| {
        let columns = columns::describe(schema);
        format!("it has no column of pictures, `image` or `img` with a member `bytes`; its columns are: {columns}")
    })
}

/// The number of the first of the wanted columns that the file has.
fn label_column(schema: &SchemaDescriptor, wanted: &[&str]) -> Result<usize, String> {
    let of = |name: &&str| {
        let is_of = |parts: &[String]| parts.first().is_some_and(|part| part == name);
        schema.columns().iter().position(|column| is_of(column.path().parts()))
    };
    wanted.iter().find_map(of).ok_or_else(|| {
        let (wanted, columns) = (wanted.join("` or `"), columns::describe(schema));
        format!("it has no column of labels, `{wanted}`; its columns are: {columns}")
    })
}

fn picture(row: Row<parquet::data_type::ByteArray>) -> Option<Arc<[u8]>> {
    let bytes = row?.into_iter().next()?;
    (!bytes.is_empty()).then(|| Arc::from(bytes.data()))
}

/// The class numbers of a row in ascending order; `None` for a row with negative labels, which mean "no label".
fn class_numbers(labels: Vec<i128>, row: usize) -> Result<Option<Vec<u32>>, String> {
    let is_unlabelled = !labels.is_empty() && labels.iter().all(|label| *label < 0);
    let wrong =
        |label: i128| format!("row {row}: {label} is no class number, which is 0 to {}", u32::MAX);
    let number = |label: i128| u32::try_from(label).map_err(|_| wrong(label));
    if is_unlabelled {
        return Ok(None);
    }
    let mut labels = labels.into_iter().map(number).collect::<Result<Vec<u32>, String>>()?;
    labels.sort_unstable();
    labels.dedup();
    Ok(Some(labels))
}

/// The names of a row's classes in normal form C, sorted; `None` for a row with an empty name, which means "no label".
fn class_names(row: Row<String>) -> Option<Vec<String>> {
    let labels = row?;
    let was_empty = labels.is_empty();
    let mut labels: Vec<String> = labels
        .into_iter()
        .map(|label| nfc(label.trim()).into_owned())
        .filter(|label| !label.is_empty())
        .collect();
    labels.sort_unstable();
    labels.dedup();
    (was_empty || !labels.is_empty()).then_some(labels)
}

/// The class names that the Hugging Face library `datasets` stores beside the schema for a column of type `ClassLabel`.
fn names_of_classes(
    reader: &SerializedFileReader<std::fs::File>,
    column: &str,
) -> Option<Vec<String>> {
    let metadata = reader.metadata().file_metadata().key_value_metadata()?;
    let text = metadata.iter().find(|entry| entry.key == "huggingface")?.value.as_ref()?;
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let label = &json["info"]["features"][column];
    let names = [label, &label["feature"], &label[0]]
        .into_iter()
        .find_map(|label| label["names"].as_array())?;
    names.iter().map(|name| Some(nfc(name.as_str()?).into_owned())).collect()
}
