//! Writing a Parquet codes file. Its columns: `mod.rs`; reading one: `read.rs`.

use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
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

fn write_to(out: &mut (dyn Write + Send), set: &CodeSet) -> Written<()> {
    let mut codes = ParquetCodes::begin(out, set, &[])?;
    for start in (0..set.codes.len()).step_by(GROUP) {
        codes.write_rows(set, start..set.codes.len().min(start + GROUP), &[])?;
    }
    codes.writer.close().map(drop)
}

type Written<T> = std::result::Result<T, ParquetError>;

/// A Parquet codes file that is written in parts, so that only one part is in memory. It may have columns of text beside those of a codes
/// file, for other programs.
///
/// ```
/// use dhih_index::{CodeSet, Codes, ParquetCodes};
///
/// let part = |ids: Vec<u64>, codes| -> dhih_index::Result<CodeSet> {
///     Ok(CodeSet { ids: Some(ids), ..CodeSet::new(Codes::new(8, codes)?) })
/// };
/// let mut file = Vec::new();
/// let mut codes = ParquetCodes::new(&mut file, &part(vec![9], vec![0])?, &["name"])?;
/// codes.write(&part(vec![3, 5], vec![1, 2])?, &[vec![Some("a".into()), None]])?;
/// codes.write(&part(vec![9], vec![3])?, &[vec![Some("b".into())]])?;
/// codes.finish()?;
/// assert!(file.ends_with(b"PAR1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ParquetCodes<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    texts: usize,
    /// Whether the column of ids has no sign.
    large_ids: bool,
}

/// The refusal of an id that a column of signed numbers would hold as a negative one.
pub(super) const TOO_LARGE: &str =
    "an id is 2^63 or more, and none as large was told of when the file was begun";

impl<W: Write + Send> ParquetCodes<W> {
    /// Begins a file. Its parts must have the bits, the classes, the model and the form of labels of `like`, and no id greater than the
    /// greatest in `like`. `texts` are the names of the additional columns.
    ///
    /// # Errors
    /// When the writer fails, or a name is not valid for a column.
    pub fn new(out: W, like: &CodeSet, texts: &[&str]) -> io::Result<Self> {
        Self::begin(out, like, texts).map_err(io::Error::other)
    }

    /// Adds items, with a text for each in every further column.
    ///
    /// # Errors
    /// When the writer fails, items have no ids or a greater one than was told of, or there are fewer texts than items.
    pub fn write(&mut self, part: &CodeSet, texts: &[Vec<Option<String>>]) -> io::Result<()> {
        let rows = part.codes.len();
        let fit = part.ids.as_ref().is_some_and(|ids| ids.len() == rows)
            && texts.len() == self.texts
            && texts.iter().all(|column| column.len() == rows);
        if !fit {
            let reason =
                "a part of a file needs an id for each item, and as many texts in each column";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        if !self.large_ids && has_large_ids(part) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, TOO_LARGE));
        }
        self.write_rows(part, 0..rows, texts).map_err(io::Error::other)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// A writer that fails.
    pub fn finish(self) -> io::Result<()> {
        self.writer.close().map(drop).map_err(io::Error::other)
    }

    fn begin(out: W, like: &CodeSet, texts: &[&str]) -> Written<Self> {
        let words = like.codes.bytes_per_code().div_ceil(8);
        let word = |n: usize| format!("required int64 w{n};");
        let labels = match &like.labels {
            Some(Labels::Single(_)) => "required int64 label;",
            Some(Labels::MultiHot { .. }) => "required binary labels;",
            None => "",
        };
        let words: String = (0..words).map(word).collect();
        // Ids are signed where that is enough: Spark reads unsigned numbers of 64 bits as decimals.
        let large_ids = has_large_ids(like);
        let id =
            if large_ids { "required int64 id (INTEGER(64,false));" } else { "required int64 id;" };
        let text = |name: &&str| format!("optional binary {name} (STRING);");
        let further: String = texts.iter().map(text).collect();
        let schema =
            format!("message codes {{ {id} required binary code; {words} {labels} {further} }}");
        let mut metadata = vec![KeyValue::new(BITS.to_owned(), like.codes.bits().to_string())];
        metadata.extend(like.model_sha256.clone().map(|sha| KeyValue::new(MODEL.to_owned(), sha)));
        let precision = like.precision.clone();
        metadata.extend(precision.map(|name| KeyValue::new(PRECISION.to_owned(), name)));
        if !like.classes.is_empty() {
            let names = serde_json::json!(like.classes).to_string();
            metadata.push(KeyValue::new(CLASSES.to_owned(), names));
        }
        // Codes seldom repeat within a page, so that a dictionary of them would not be smaller.
        let properties = WriterProperties::builder()
            .set_key_value_metadata(Some(metadata))
            .set_dictionary_enabled(false)
            .build();
        let schema = Arc::new(parse_message_type(&schema)?);
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        Ok(Self { writer, texts: texts.len(), large_ids })
    }

    /// Writes some rows as a row group.
    fn write_rows(
        &mut self,
        set: &CodeSet,
        rows: Range<usize>,
        texts: &[Vec<Option<String>>],
    ) -> Written<()> {
        let mut group = self.writer.next_row_group()?;
        write_group(&mut group, set, rows)?;
        for column in texts {
            let levels: Vec<i16> = column.iter().map(|text| text.is_some().into()).collect();
            let texts =
                column.iter().flatten().map(|text| ByteArray::from(text.as_bytes().to_vec()));
            write_levels::<ByteArrayType, _>(
                &mut group,
                &texts.collect::<Vec<_>>(),
                Some(&levels),
            )?;
        }
        group.close().map(drop)
    }
}

impl<W: Write + Send> fmt::Debug for ParquetCodes<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetCodes").field("texts", &self.texts).finish_non_exhaustive()
    }
}

/// Whether a signed number of 64 bits does not hold all ids.
fn has_large_ids(set: &CodeSet) -> bool {
    set.ids.iter().flatten().any(|id| i64::try_from(*id).is_err())
}

fn write_group<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    set: &CodeSet,
    rows: Range<usize>,
) -> Written<()> {
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
) -> Written<()> {
    write_levels::<T, W>(group, values, None)
}

/// As [`write_column`], where `levels` is 0 for each row without a value.
fn write_levels<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Written<()> {
    let missing = || ParquetError::General("the schema has no further column".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}
