//! Codes files as Parquet, for Spark and every other engine: a row an item, with its `id`, its `code` as bytes, the same code as
//! 64-bit words `w0`, `w1` and so on (little-endian, which SQL can compare), and `label` (a class) or `labels` (a byte a class).
//! The metadata is that of the safetensors files. Other columns are left unread.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArrayType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use rayon::prelude::*;

use crate::bits;
use crate::code_set::{CodeSet, Labels};
use crate::codes::Codes;
use crate::codes_file::{self, BITS, CLASSES, MODEL};
use crate::disk;
use crate::error::{Error, Result};

/// Rows that are read at once.
const BATCH: usize = 1 << 16;
/// Rows of a group: a group is what an engine gives to one task.
const GROUP: usize = 1 << 20;

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

/// Reads a Parquet codes file. `bits` is needed where its metadata does not say it.
pub(crate) fn read(path: &Path, bits: Option<u32>) -> Result<CodeSet> {
    let fail = |reason: String| Error::codes_file(path, reason);
    let file = File::open(path).map_err(Error::io("read", path))?;
    let reader = SerializedFileReader::new(file).map_err(|error| fail(error.to_string()))?;
    let metadata = reader.metadata();
    let groups = 0..metadata.num_row_groups();
    // Each with a file of its own: copies of one share the place at which they read.
    let one = |group| {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let reader = SerializedFileReader::new(file).map_err(|error| fail(error.to_string()))?;
        rows(&reader, group).map_err(fail)
    };
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
        Some(text) => serde_json::from_str(text)
            .map_err(|error| fail(format!("its `{CLASSES}` is no JSON list of names: {error}")))?,
        None => Vec::new(),
    };
    let model_sha256 = text(MODEL).map(str::to_owned);
    Ok(CodeSet { codes, ids, labels, classes: names, model_sha256 })
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
    match column("code")? {
        Some(column) => rows.width = binary(column, "code", count, &mut rows.codes)?,
        None => {
            let mut words = Vec::new();
            while let Some(column) = column(&format!("w{}", words.len()))? {
                words.push(integers(column, &format!("w{}", words.len()), count)?);
            }
            if words.is_empty() {
                return Err("it has no column `code`, and no words `w0`, `w1`, ...".into());
            }
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

/// Whole numbers, none of them null.
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
            return Err(format!("its column `{name}` has rows without a value"));
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

fn text<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let entries = metadata.file_metadata().key_value_metadata()?;
    entries.iter().find(|entry| entry.key == key)?.value.as_deref()
}

/// Writes a Parquet codes file: the same set gives the same bytes.
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
    let schema =
        format!("message codes {{ required int64 id; required binary code; {words} {labels} }}");
    let mut metadata = vec![KeyValue::new(BITS.to_owned(), set.codes.bits().to_string())];
    metadata.extend(set.model_sha256.clone().map(|sha| KeyValue::new(MODEL.to_owned(), sha)));
    if !set.classes.is_empty() {
        let names = serde_json::json!(set.classes).to_string();
        metadata.push(KeyValue::new(CLASSES.to_owned(), names));
    }
    // A dictionary of codes is no smaller than the codes.
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
    next::<Int64Type, _>(group, &ids)?;
    let codes: Vec<ByteArray> =
        rows.clone().map(|row| ByteArray::from(set.codes.get(row).to_vec())).collect();
    next::<ByteArrayType, _>(group, &codes)?;
    for word in 0..set.codes.bytes_per_code().div_ceil(8) {
        let of = |row| word_of(&set.codes, row, word);
        next::<Int64Type, _>(group, &rows.clone().map(of).collect::<Vec<i64>>())?;
    }
    match &set.labels {
        Some(Labels::Single(labels)) => next::<Int64Type, _>(group, &labels[rows]),
        Some(Labels::MultiHot { classes, values }) => {
            let row = |row: usize| ByteArray::from(values[row * classes..][..*classes].to_vec());
            next::<ByteArrayType, _>(group, &rows.map(row).collect::<Vec<ByteArray>>())
        }
        None => Ok(()),
    }
}

fn next<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
) -> std::result::Result<(), ParquetError> {
    let missing = || ParquetError::General("the schema has no further column".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

/// Eight bytes of a code, fewer at its end, as a number.
fn word_of(codes: &Codes, row: usize, word: usize) -> i64 {
    let mut bytes = [0; 8];
    let rest = &codes.get(row)[8 * word..];
    let length = rest.len().min(8);
    bytes[..length].copy_from_slice(&rest[..length]);
    i64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
