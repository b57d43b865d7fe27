//! Writing a Parquet codes file. Its columns: `mod.rs`; reading one: `read.rs`.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::word_of;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::Result;
use crate::io::metadata::{BITS, CLASSES, MODEL, PRECISION};
use crate::store::disk;

/// Rows of a row group, which is what an engine gives to one task.
const GROUP: usize = 1 << 20;

/// Writes a Parquet codes file. The same set gives the same bytes.
pub(crate) fn write(path: &Path, set: &CodeSet) -> Result<()> {
    disk::write(path, |out| write_to(out, set).map_err(io::Error::other))
}

fn write_to(out: &mut (dyn Write + Send), set: &CodeSet) -> std::result::Result<(), ParquetError> {
    let words = set.codes.bytes_per_code().div_ceil(8);
    let word = |n: usize| format!("required int64 w{n};");
    let labels = match &set.labels {
        Some(Labels::Single(_)) => "required int64 label;",
        Some(Labels::MultiHot { .. }) => "required binary labels;",
        None => "",
    };
    let words: String = (0..words).map(word).collect();
    // Ids are signed where that is enough: Spark reads unsigned numbers of 64 bits as decimals.
    let large = set.ids.iter().flatten().any(|id| i64::try_from(*id).is_err());
    let id = if large { "required int64 id (INTEGER(64,false));" } else { "required int64 id;" };
    let schema = format!("message codes {{ {id} required binary code; {words} {labels} }}");
    let mut metadata = vec![KeyValue::new(BITS.to_owned(), set.codes.bits().to_string())];
    metadata.extend(set.model_sha256.clone().map(|sha| KeyValue::new(MODEL.to_owned(), sha)));
    let precision = set.precision.clone();
    metadata.extend(precision.map(|name| KeyValue::new(PRECISION.to_owned(), name)));
    if !set.classes.is_empty() {
        let names = serde_json::json!(set.classes).to_string();
        metadata.push(KeyValue::new(CLASSES.to_owned(), names));
    }
    // Codes seldom repeat within a page, so that a dictionary of them would not be smaller.
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(metadata))
        .set_dictionary_enabled(false)
        .build();
    let schema = Arc::new(parse_message_type(&schema)?);
    let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
    for start in (0..set.codes.len()).step_by(GROUP) {
        let rows = start..set.codes.len().min(start + GROUP);
        let mut group = writer.next_row_group()?;
        write_group(&mut group, set, rows)?;
        group.close()?;
    }
    writer.close().map(drop)
}

fn write_group<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    set: &CodeSet,
    rows: std::ops::Range<usize>,
) -> std::result::Result<(), ParquetError> {
    let ids: Vec<i64> = match &set.ids {
        Some(ids) => ids[rows.clone()].iter().map(|id| id.cast_signed()).collect(),
        None => rows.clone().map(|row| row as i64).collect(),
    };
    write_column::<Int64Type, _>(group, &ids)?;
    let codes: Vec<ByteArray> =
        rows.clone().map(|row| ByteArray::from(set.codes.get(row).to_vec())).collect();
    write_column::<ByteArrayType, _>(group, &codes)?;
    for word in 0..set.codes.bytes_per_code().div_ceil(8) {
        let of = |row| word_of(set.codes.get(row), word);
        write_column::<Int64Type, _>(group, &rows.clone().map(of).collect::<Vec<i64>>())?;
    }
    match &set.labels {
        Some(Labels::Single(labels)) => write_column::<Int64Type, _>(group, &labels[rows]),
        Some(Labels::MultiHot { classes, values }) => {
            let row = |row: usize| ByteArray::from(values[row * classes..][..*classes].to_vec());
            write_column::<ByteArrayType, _>(group, &rows.map(row).collect::<Vec<ByteArray>>())
        }
        None => Ok(()),
    }
}

/// Writes the next column of the schema.
pub(super) fn write_column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
) -> std::result::Result<(), ParquetError> {
    let missing = || ParquetError::General("the schema has no further column".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}
