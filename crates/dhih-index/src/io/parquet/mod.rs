//! Codes files as Parquet, for Spark and every other engine: a row an item, with its `id`, its `code` as bytes, the same code as
//! 64-bit words `w0`, `w1` and so on (little-endian, which SQL can compare), and `label` (a class) or `labels` (a byte a class).
//! The metadata is that of the safetensors files; Spark keeps it at the column `code`. Other columns are left unread. A folder of
//! such files is `part_files.rs`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArrayType, Int32Type};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use rayon::prelude::*;
use serde_json::Value;

use crate::codes::Codes;
use crate::codes::bits;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::io::codes_file::{self, BITS, CLASSES, MODEL};

pub(crate) use write::write;

/// Rows that are read at once.
const BATCH: usize = 1 << 16;
/// How a Parquet file begins.
const MAGIC: [u8; 4] = *b"PAR1";
/// Where Spark keeps its schema as JSON, the metadata of columns in it.
const SPARK: &str = "org.apache.spark.sql.parquet.row.metadata";

/// The columns of some rows.
#[derive(Default)]
struct Rows {
    count: usize,
    /// Bytes of a code; 0 until one was read.
    width: usize,
    codes: Vec<u8>,
    ids: Option<Vec<u64>>,
    classes: Option<Vec<i64>>,
    /// Columns of multi-hot labels, and their rows.
    hot: Option<(usize, Vec<u8>)>,
}

/// Whether a file begins as Parquet files do. One that cannot be read does not.
pub(crate) fn is_one(path: &Path) -> bool {
    let mut begin = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && begin == MAGIC
}

/// Number of rows, from the end of the file alone.
pub(crate) fn rows_of(path: &Path) -> Result<usize> {
    let reader = open(path)?;
    let rows = reader.metadata().file_metadata().num_rows();
    usize::try_from(rows).map_err(|error| Error::codes_file(path, error.to_string()))
}

/// Reads a Parquet codes file. `bits` is needed where its metadata does not say it.
pub(crate) fn read(path: &Path, bits: Option<u32>) -> Result<CodeSet> {
    let fail = |reason: String| Error::codes_file(path, reason);
    let reader = open(path)?;
    let metadata = reader.metadata();
    let groups = 0..metadata.num_row_groups();
    // Each with a file of its own: copies of one share the place at which they read.
    let one = |group| rows(&open(path)?, group).map_err(fail);
    // A group a thread at once: no more than those are in memory twice.
    let groups: Vec<usize> = groups.collect();
    let mut all = Rows::default();
    for groups in groups.chunks(rayon::current_num_threads()) {
        let read: Result<Vec<Rows>> = groups.par_iter().map(|&group| one(group)).collect();
        for group in read? {
            append(&mut all, group).map_err(fail)?;
        }
    }
    let Rows { count, width, codes, ids, classes, hot } = all;

    let text = |key| text(metadata, key);
    let bits = match (text(BITS), bits) {
        (Some(text), _) => {
            text.parse().map_err(|_| fail(format!("its `{BITS}` is {text:?}, no number")))?
        }
        (None, Some(bits)) => bits,
        (None, None) => return Err(Error::BitsNeeded { path: path.to_path_buf() }),
    };
    let columns = if count == 0 { bits::bytes_per_code(bits) } else { width };
    // Words are whole: what a code leaves of the last one is zero, and `Codes` checks its last byte.
    let whole = columns > bits::bytes_per_code(bits) && width % 8 == 0;
    let (columns, codes) = match whole {
        true => narrowed(&codes, width, bits::bytes_per_code(bits)).map_err(fail)?,
        false => (columns, codes),
    };
    codes_file::check_columns(path, bits, columns)?;
    let codes = Codes::new(bits, codes)?;
    let labels = match (classes, hot) {
        (Some(_), Some(_)) => return Err(fail("it has both `label` and `labels`".into())),
        (Some(classes), None) => Some(Labels::Single(classes)),
        (None, Some((classes, values))) => Some(Labels::MultiHot { classes, values }),
        (None, None) => None,
    };
    let names = match text(CLASSES) {
        Some(text) => serde_json::from_str(&text)
            .map_err(|error| fail(format!("its `{CLASSES}` is no JSON list of names: {error}")))?,
        None => Vec::new(),
    };
    let model_sha256 = text(MODEL);
    Ok(CodeSet { codes, ids, labels, classes: names, model_sha256 })
}

fn open(path: &Path) -> Result<SerializedFileReader<File>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    SerializedFileReader::new(file).map_err(|error| Error::codes_file(path, error.to_string()))
}

type Read<T> = std::result::Result<T, String>;

/// The rows of a group.
fn rows(reader: &SerializedFileReader<File>, group: usize) -> Read<Rows> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let find = |name: &str| schema.columns().iter().position(|c| c.path().string() == name);
    let group = reader.get_row_group(group).map_err(|error| error.to_string())?;
    let count = usize::try_from(group.metadata().num_rows()).map_err(|error| error.to_string())?;
    let column = |name: &str| -> Read<Option<ColumnReader>> {
        let Some(at) = find(name) else { return Ok(None) };
        if schema.column(at).max_rep_level() > 0 || schema.column(at).max_def_level() > 1 {
            return Err(format!("its column `{name}` is nested"));
        }
        group.get_column_reader(at).map(Some).map_err(|error| error.to_string())
    };
    let mut rows = Rows { count, ..Rows::default() };
    let mut words = Vec::new();
    while let Some(column) = column(&format!("w{}", words.len()))? {
        words.push(integers(column, &format!("w{}", words.len()), count)?);
    }
    match column("code")? {
        Some(column) => {
            rows.width = binary(column, "code", count, &mut rows.codes)?;
            same_codes(&rows, &words)?;
        }
        None if words.is_empty() => {
            return Err("it has no column `code`, and no words `w0`, `w1`, ...".into());
        }
        None => {
            rows.width = 8 * words.len();
            rows.codes.reserve(count * rows.width);
            for row in 0..count {
                words.iter().for_each(|word| rows.codes.extend(word[row].to_le_bytes()));
            }
        }
    }
    if let Some(column) = column("id")? {
        let ids = integers(column, "id", count)?;
        rows.ids = Some(ids.into_iter().map(i64::cast_unsigned).collect());
    }
    if let Some(column) = column("label")? {
        rows.classes = Some(integers(column, "label", count)?);
    }
    if let Some(column) = column("labels")? {
        let mut values = Vec::new();
        rows.hot = Some((binary(column, "labels", count, &mut values)?, values));
    }
    Ok(rows)
}

/// Refuses words that are not those of the codes: made in another order of bits, they would give other distances.
fn same_codes(rows: &Rows, words: &[Vec<i64>]) -> Read<()> {
    if words.is_empty() || rows.count == 0 {
        return Ok(());
    }
    let expected = rows.width.div_ceil(8);
    if words.len() != expected {
        let (found, width) = (words.len(), rows.width);
        return Err(format!("it has {found} words for codes of {width} bytes, not {expected}"));
    }
    for (row, code) in rows.codes.chunks_exact(rows.width).enumerate() {
        let differs = |word: &usize| word_of(code, *word) != words[*word][row];
        if let Some(word) = (0..expected).find(differs) {
            return Err(format!(
                "the `w{word}` of row {row} of a row group is not bytes {} and on of its `code`, lowest byte first: \
                 make the words anew, or leave them out",
                8 * word
            ));
        }
    }
    Ok(())
}

/// Eight bytes of a code, fewer at its end, as a number.
fn word_of(code: &[u8], word: usize) -> i64 {
    let mut bytes = [0; 8];
    let rest = &code[8 * word..];
    let length = rest.len().min(8);
    bytes[..length].copy_from_slice(&rest[..length]);
    i64::from_le_bytes(bytes)
}

/// CodeHashTable numbers, none of them null.
fn integers(column: ColumnReader, name: &str, count: usize) -> Read<Vec<i64>> {
    let mut values = Vec::with_capacity(count);
    match column {
        ColumnReader::Int64ColumnReader(column) => {
            batches(column, name, count, |batch: &[i64]| values.extend_from_slice(batch))?;
        }
        ColumnReader::Int32ColumnReader(column) => {
            let widen = |batch: &[i32]| values.extend(batch.iter().map(|value| i64::from(*value)));
            batches::<Int32Type>(column, name, count, widen)?;
        }
        _ => return Err(format!("its column `{name}` does not hold whole numbers")),
    }
    Ok(values)
}

/// Byte strings of one length, which is returned; none of them null.
fn binary(column: ColumnReader, name: &str, count: usize, values: &mut Vec<u8>) -> Read<usize> {
    let mut width = None;
    let mut uneven = false;
    let mut add = |bytes: &[u8]| {
        uneven |= *width.get_or_insert(bytes.len()) != bytes.len();
        values.extend_from_slice(bytes);
    };
    match column {
        ColumnReader::ByteArrayColumnReader(column) => {
            let all = |batch: &[ByteArray]| batch.iter().for_each(|bytes| add(bytes.data()));
            batches::<ByteArrayType>(column, name, count, all)?;
        }
        ColumnReader::FixedLenByteArrayColumnReader(column) => {
            batches::<FixedLenByteArrayType>(column, name, count, |batch| {
                batch.iter().for_each(|bytes| add(bytes.data()));
            })?;
        }
        _ => return Err(format!("its column `{name}` does not hold bytes")),
    }
    match uneven {
        true => Err(format!("its column `{name}` holds values of different lengths")),
        false => Ok(width.unwrap_or(0)),
    }
}

fn batches<T: DataType>(
    mut column: ColumnReaderImpl<T>,
    name: &str,
    count: usize,
    mut take: impl FnMut(&[T::T]),
) -> Read<()> {
    let (mut values, mut levels, mut seen) = (Vec::new(), Vec::new(), 0);
    while seen < count {
        values.clear();
        levels.clear();
        let most = BATCH.min(count - seen);
        let read = column.read_records(most, Some(&mut levels), None, &mut values);
        let (records, found, _) = read.map_err(|error| error.to_string())?;
        if records == 0 {
            return Err(format!("its column `{name}` ends after {seen} of {count} rows"));
        }
        if found != records {
            let cure = format!("leave them out, as by `WHERE {name} IS NOT NULL`");
            return Err(format!("its column `{name}` has rows without a value: {cure}"));
        }
        take(&values);
        seen += records;
    }
    Ok(())
}

/// Adds a group behind others.
fn append(all: &mut Rows, group: Rows) -> Read<()> {
    let different = || Err("its codes or labels are of different lengths".to_owned());
    if group.count == 0 {
        return Ok(());
    }
    if all.count == 0 {
        *all = group;
        return Ok(());
    }
    if group.width != all.width {
        return different();
    }
    all.count += group.count;
    all.codes.extend(group.codes);
    if let (Some(all), Some(ids)) = (&mut all.ids, group.ids) {
        all.extend(ids);
    }
    if let (Some(all), Some(classes)) = (&mut all.classes, group.classes) {
        all.extend(classes);
    }
    if let (Some((columns, all)), Some((others, values))) = (&mut all.hot, group.hot) {
        if *columns != others {
            return different();
        }
        all.extend(values);
    }
    Ok(())
}

/// Codes without the zeros that filled them up to whole words.
fn narrowed(codes: &[u8], width: usize, columns: usize) -> Read<(usize, Vec<u8>)> {
    let rows = codes.chunks_exact(width);
    if rows.clone().any(|row| row[columns..].iter().any(|byte| *byte != 0)) {
        return Err(format!("its words set bits beyond the {} of a code", 8 * columns));
    }
    Ok((columns, rows.flat_map(|row| &row[..columns]).copied().collect()))
}

/// A text of the file's metadata, or of that of its column `code`, as Spark writes it.
fn text(metadata: &ParquetMetaData, key: &str) -> Option<String> {
    let entries = metadata.file_metadata().key_value_metadata()?;
    let find = |key: &str| entries.iter().find(|entry| entry.key == key)?.value.as_deref();
    if let Some(text) = find(key) {
        return Some(text.to_owned());
    }
    let schema: Value = serde_json::from_str(find(SPARK)?).ok()?;
    let code = schema["fields"].as_array()?.iter().find(|field| field["name"] == "code")?;
    match &code["metadata"][key] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

mod write;

#[cfg(test)]
mod tests;
