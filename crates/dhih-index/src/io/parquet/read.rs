//! Reading a Parquet codes file: row groups are decoded on all threads and joined, and the metadata is taken from the file or
//! from its column `code`. Types and values of single columns: `column.rs`.

use std::fs::File;
use std::ops::Range;
use std::panic::catch_unwind;
use std::path::Path;

use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use rayon::prelude::*;
use serde_json::Value;

use super::column::Group;
use super::naming::Read;
use super::word_of;
use crate::codes::Codes;
use crate::codes::bits;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::io::check_columns;
use crate::io::fault::{Fault, at};
use crate::io::metadata::{self, BITS, CLASSES, MODEL, PRECISION};

/// The key under which Spark keeps its schema as JSON, with the metadata of columns in it.
pub(super) const SPARK: &str = "org.apache.spark.sql.parquet.row.metadata";

/// The columns of some rows.
#[derive(Default)]
pub(super) struct Rows {
    /// The first of these rows, among those of the file.
    pub(super) start: usize,
    pub(super) count: usize,
    /// The number of bytes of a code; 0 until one has been read.
    pub(super) width: usize,
    pub(super) codes: Vec<u8>,
    pub(super) ids: Option<Vec<u64>>,
    pub(super) single_labels: Option<Vec<i64>>,
    pub(super) multi_hot: Option<MultiHot>,
}

pub(super) struct MultiHot {
    classes: usize,
    values: Vec<u8>,
}

impl Rows {
    /// Gives labels to a file without rows as the names of its columns tell. The number of classes of multi-hot labels is that of the names of
    /// classes; without these nothing tells it.
    fn label_as_named(&mut self, metadata: &ParquetMetaData, classes: usize) {
        let columns = metadata.file_metadata().schema_descr().columns();
        let has = |name: &str| columns.iter().any(|column| column.path().string() == name);
        self.single_labels = has("label").then(Vec::new);
        self.multi_hot =
            (has("labels") && classes > 0).then(|| MultiHot { classes, values: Vec::new() });
    }
}

/// The number of rows, for which only the end of the file is read.
pub(crate) fn count_rows(path: &Path) -> Result<usize> {
    let reader = open(path)?;
    let rows = reader.metadata().file_metadata().num_rows();
    let wrong = |error| Fault::caused(format!("its number of rows is {rows}"), error).at(path);
    usize::try_from(rows).map_err(wrong)
}

/// Reads a codes file. `bits` is needed where its metadata does not have the length of the codes.
pub(crate) fn read(path: &Path, bits: Option<u32>) -> Result<CodeSet> {
    let fail = |reason: &str| Fault::from(reason).at(path);
    let reader = open(path)?;
    let metadata = reader.metadata();
    let text = |key| text(metadata, key);
    let bits = match (text(BITS), bits) {
        (Some(text), _) => metadata::parse_bits(&text).map_err(at(path))?,
        (None, Some(bits)) => bits,
        (None, None) => return Err(Error::BitsNeeded { path: path.to_path_buf() }),
    };
    // Each thread opens the file for itself: readers of one open file would share its position.
    let read_group = |(number, rows): &(usize, Range<usize>)| {
        // The library checks most of what a file says, but a damaged page can let it panic. Such a panic becomes an error like any other.
        catch_unwind(|| {
            let file = open(path)?;
            let group = Group::open(&file, *number, rows.clone()).map_err(at(path))?;
            read_rows(&group, bits).map_err(at(path))
        })
        .unwrap_or_else(|_| Err(fail("it is a damaged Parquet file: write it again")))
    };
    // As many groups at once as there are threads: no more than these are in memory twice, decoded and joined.
    let groups: Vec<(usize, Range<usize>)> =
        row_ranges(metadata).map_err(at(path))?.into_iter().enumerate().collect();
    let mut all = Rows::default();
    for groups in groups.chunks(rayon::current_num_threads()) {
        // All results are collected, instead of the first error of any thread, so that the same file always gives the same error.
        let read: Vec<Result<Rows>> = groups.par_iter().map(read_group).collect();
        for group in read {
            append(&mut all, group?).map_err(at(path))?;
        }
    }
    let classes = metadata::parse_classes(text(CLASSES).as_deref()).map_err(at(path))?;
    if all.count == 0 {
        all.label_as_named(metadata, classes.len());
    }
    let Rows { count, width, codes, ids, single_labels, multi_hot, .. } = all;

    let columns = if count == 0 { bits::bytes_per_code(bits) } else { width };
    // Codes that were made from words are whole words. The bits of the last byte in use are checked by `Codes`.
    let has_padding = columns > bits::bytes_per_code(bits) && width % 8 == 0;
    let (columns, codes) = match has_padding {
        true => without_padding(&codes, width, bits::bytes_per_code(bits)).map_err(at(path))?,
        false => (columns, codes),
    };
    check_columns(path, bits, columns)?;
    let codes = Codes::new(bits, codes)?;
    let labels = match (single_labels, multi_hot) {
        (Some(_), Some(_)) => return Err(fail("it has both `label` and `labels`: leave one out")),
        (Some(labels), None) => Some(Labels::Single(labels)),
        (None, Some(MultiHot { classes, values })) => Some(Labels::MultiHot { classes, values }),
        (None, None) => None,
    };
    let (model_sha256, precision) = (text(MODEL), text(PRECISION));
    Ok(CodeSet { codes, ids, labels, classes, model_sha256, precision, vectors: None })
}

pub(super) fn open(path: &Path) -> Result<SerializedFileReader<File>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let broken = |error| Fault::caused("it is not a complete Parquet file", error).at(path);
    SerializedFileReader::new(file).map_err(broken)
}

/// The rows of each row group, among the rows of the file.
pub(super) fn row_ranges(metadata: &ParquetMetaData) -> Read<Vec<Range<usize>>> {
    let mut end = 0_usize;
    let range = |rows: i64| {
        let start = end;
        end = usize::try_from(rows).ok().and_then(|rows| start.checked_add(rows))?;
        Some(start..end)
    };
    let ranges: Option<_> =
        metadata.row_groups().iter().map(|group| group.num_rows()).map(range).collect();
    ranges.ok_or_else(|| "its numbers of rows are out of range".into())
}

/// Reads the rows of a group; codes have `bits` bits.
fn read_rows(group: &Group, bits: u32) -> Read<Rows> {
    let (start, count) = (group.rows().start, group.rows().len());
    let mut rows = Rows { start, count, ..Rows::default() };
    let mut words = Vec::new();
    while let Some(column) = group.column(&format!("w{}", words.len()))? {
        words.push(column.integers()?.words()?);
    }
    if let Some(list) = group.list("code")? {
        rows.width = list.codes(bits, &mut rows.codes)?;
        check_words(&rows, &words)?;
        return read_columns(group, rows);
    }
    match group.column("code")? {
        Some(column) => {
            rows.width = column.bytes(&mut rows.codes)?;
            check_words(&rows, &words)?;
        }
        None if words.is_empty() => {
            return Err("it has no column `code`, and no words `w0`, `w1`, ...".into());
        }
        None => {
            rows.width = 8 * words.len();
            rows.codes.reserve(rows.count * rows.width);
            for row in 0..rows.count {
                words.iter().for_each(|word| rows.codes.extend(word[row].to_le_bytes()));
            }
        }
    }
    read_columns(group, rows)
}

/// Reads the ids and labels of a group, whose codes have been read.
fn read_columns(group: &Group, mut rows: Rows) -> Read<Rows> {
    if let Some(column) = group.column("id")? {
        rows.ids = Some(column.integers()?.ids()?);
    }
    if let Some(column) = group.column("label")? {
        rows.single_labels = Some(column.integers()?.labels()?);
    }
    if let Some(column) = group.column("labels")? {
        let mut values = Vec::new();
        let classes = column.bytes(&mut values)?;
        rows.multi_hot = Some(MultiHot { classes, values });
    }
    Ok(rows)
}

/// Refuses words that are not those of the codes: words of another bit order would give other distances in SQL.
pub(super) fn check_words(rows: &Rows, words: &[Vec<i64>]) -> Read<()> {
    if words.is_empty() || rows.count == 0 {
        return Ok(());
    }
    let expected = rows.width.div_ceil(8);
    if words.len() != expected {
        let (found, width) = (words.len(), rows.width);
        let reason = format!("it has {found} words for codes of {width} bytes, not {expected}");
        return Err(reason.into());
    }
    for (row, code) in rows.codes.chunks_exact(rows.width).enumerate() {
        let differs = |word: &usize| word_of(code, *word) != words[*word][row];
        if let Some(word) = (0..expected).find(differs) {
            let reason = format!(
                "the `w{word}` of row {} is not bytes {} and on of its `code`, lowest byte first: make the words from the \
                 codes, or leave them out",
                rows.start + row,
                8 * word
            );
            return Err(reason.into());
        }
    }
    Ok(())
}

/// Appends the rows of a group.
fn append(all: &mut Rows, group: Rows) -> Read<()> {
    let different = || Err("its codes or labels are of different lengths".into());
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
    if let (Some(all), Some(labels)) = (&mut all.single_labels, group.single_labels) {
        all.extend(labels);
    }
    if let (Some(all), Some(group)) = (&mut all.multi_hot, group.multi_hot) {
        if all.classes != group.classes {
            return different();
        }
        all.values.extend(group.values);
    }
    Ok(())
}

/// Codes of `columns` bytes, without the zeros that fill them up to whole words of `width` bytes in all.
fn without_padding(codes: &[u8], width: usize, columns: usize) -> Read<(usize, Vec<u8>)> {
    let rows = codes.chunks_exact(width);
    if rows.clone().any(|row| row[columns..].iter().any(|byte| *byte != 0)) {
        return Err(format!("its words have bits set beyond the {} of a code", 8 * columns).into());
    }
    Ok((columns, rows.flat_map(|row| &row[..columns]).copied().collect()))
}

/// A text of the file's metadata, or of the metadata of its column `code`, where Spark keeps it.
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
