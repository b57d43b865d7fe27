//! Encodes a stream of record batches, which data engines send to a child process: reads a batch with images or vectors, writes a batch with
//! their codes, and goes on with the next. A row that cannot be used has no code and does not end the job. `dhih-train encode --input` encodes
//! files. `source.rs` encodes the rows of a column.

mod source;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use dhih_model::image::{Limits, PictureReader};

use self::source::Coded;
pub use self::source::Coder;
use crate::error::{Error, Result};

/// The name of the column of images: bytes of picture files.
pub const IMAGE: &str = "image";
/// The name of the column of vectors: lists of floating-point numbers.
pub const VECTOR: &str = "vector";
/// The name of the column of codes: bit k of a code is bit k % 8 of byte k / 8.
pub const CODE: &str = "code";
/// The name of the column that says why a row has no code.
pub const ERROR: &str = "error";

/// Rows that are encoded at once. This bounds memory, whatever the size of a batch.
const PART: usize = 256;

/// How many rows were encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Rows read and written.
    pub rows: usize,
    /// Rows whose image or vector cannot be used.
    pub without_code: usize,
}

/// Reads an Arrow IPC stream with a column [`IMAGE`] or [`VECTOR`], depending on the coder, and writes one with the same batches: the other
/// columns unchanged, then [`CODE`] (binary), `w0`, `w1`, ... (int64, 64 bits of the code each, the lowest first) and [`ERROR`] (text, null
/// where there is a code). The metadata of the schema are `dhih.bits` and `dhih.model_sha256`. A batch is written before the next one is read.
///
/// # Errors
/// [`Error::Stream`] where the input is not such a stream, is damaged, or lacks its end marker, and where the output cannot be written; those of
/// the coder.
pub fn encode(input: impl Read, output: impl Write, coder: Coder<'_>) -> Result<Encoded> {
    let input = Watched { inner: input, ended: false };
    let mut reader = caught(|| StreamReader::try_new(input, None))?;
    let columns = Columns::of(&reader.schema(), coder)?;
    let mut writer = StreamWriter::try_new(output, &columns.schema).map_err(unwritable)?;
    writer.flush().map_err(unwritable)?;
    let mut done = Encoded::default();
    // A `for` loop would consume the reader, which is asked afterwards how its stream ended.
    while let Some(batch) = caught(|| reader.next().transpose())? {
        let (batch, without_code) = columns.encode(&batch, coder)?;
        writer.write(&batch).and_then(|()| writer.flush()).map_err(unwritable)?;
        done.rows += batch.num_rows();
        done.without_code += without_code;
    }
    if reader.get_ref().ended {
        let rows = done.rows;
        return Err(wrong(format!(
            "it ends after {rows} rows without an end marker: its writer was stopped, or has not closed it"
        )));
    }
    writer.finish().map_err(unwritable)?;
    Ok(done)
}

/// The meaning of the columns.
struct Columns {
    /// The column that is encoded.
    source: usize,
    words: usize,
    schema: SchemaRef,
    reader: PictureReader,
}

impl Columns {
    fn of(input: &Schema, coder: Coder<'_>) -> Result<Self> {
        let (fields, column) = (input.fields(), coder.column());
        let names = || fields.iter().map(|field| field.name().as_str());
        let mut sources = names().enumerate().filter(|(_, name)| *name == column);
        let (Some((source, _)), None) = (sources.next(), sources.next()) else {
            let names: Vec<&str> = names().collect();
            return Err(wrong(format!(
                "it must have one column `{column}`; its columns are: {}",
                names.join(", ")
            )));
        };
        coder.check(fields[source].data_type())?;
        let words = coder.bits().div_ceil(64);
        let word = |i: usize| Field::new(format!("w{i}"), DataType::Int64, true);
        let mut new = vec![Field::new(CODE, DataType::Binary, true)];
        new.extend((0..words).map(word));
        new.push(Field::new(ERROR, DataType::Utf8, true));
        if let Some(taken) = new.iter().find(|new| names().any(|name| name == new.name())) {
            let name = taken.name();
            return Err(wrong(format!("it has a column `{name}` already: give it another name")));
        }
        let others = fields.iter().enumerate().filter(|(i, _)| *i != source);
        let all: Vec<_> =
            others.map(|(_, field)| field.clone()).chain(new.into_iter().map(Arc::new)).collect();
        let metadata = HashMap::from([
            ("dhih.bits".to_owned(), coder.bits().to_string()),
            ("dhih.model_sha256".to_owned(), coder.sha256().to_owned()),
        ]);
        let schema = Arc::new(Schema::new_with_metadata(all, metadata));
        Ok(Self { source, words, schema, reader: PictureReader::new(Limits::files()) })
    }

    /// Replaces the images or vectors of a batch by their codes. Also returns the number of rows without a code.
    fn encode(&self, batch: &RecordBatch, coder: Coder<'_>) -> Result<(RecordBatch, usize)> {
        let mut code = BinaryBuilder::new();
        let mut words: Vec<Int64Builder> = (0..self.words).map(|_| Int64Builder::new()).collect();
        let mut error = StringBuilder::new();
        let mut without_code = 0;
        let rows: Vec<usize> = (0..batch.num_rows()).collect();
        for rows in rows.chunks(PART) {
            let Coded { faults, codes } =
                coder.code(batch.column(self.source), rows, &self.reader)?;
            let mut codes = codes.iter();
            for fault in faults {
                // There are as many codes as rows without a fault.
                let found = match fault {
                    None => codes.next().ok_or_else(String::new),
                    Some(reason) => Err(reason),
                };
                match found {
                    Ok(bytes) => {
                        code.append_value(bytes);
                        let word = words.iter_mut().zip(words_of(bytes));
                        word.for_each(|(column, word)| column.append_value(word));
                        error.append_null();
                    }
                    Err(reason) => {
                        code.append_null();
                        words.iter_mut().for_each(Int64Builder::append_null);
                        error.append_value(reason);
                        without_code += 1;
                    }
                }
            }
        }
        let others = batch.columns().iter().enumerate().filter(|(i, _)| *i != self.source);
        let mut columns: Vec<ArrayRef> = others.map(|(_, column)| column.clone()).collect();
        columns.push(Arc::new(code.finish()));
        columns.extend(words.iter_mut().map(|word| Arc::new(word.finish()) as ArrayRef));
        columns.push(Arc::new(error.finish()));
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(unreadable)?;
        Ok((batch, without_code))
    }
}

/// Eight bytes each, the lowest first; zeros fill the last one.
fn words_of(code: &[u8]) -> impl Iterator<Item = i64> {
    code.chunks(8).map(|part| {
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        i64::from_le_bytes(bytes)
    })
}

/// A reader that records whether the end marker was read: a complete stream is read up to its end marker and not beyond.
struct Watched<R> {
    inner: R,
    ended: bool,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.ended |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

/// Calls the reader and turns a panic into an error. The Arrow reader checks most of a stream, but panics on a buffer that lies outside of its
/// message or ends within a number. After such an error it is not used again.
fn caught<T>(read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T> {
    let damaged = |_| ArrowError::IpcError("a message is damaged".to_owned());
    catch_unwind(AssertUnwindSafe(read)).map_err(damaged).flatten().map_err(unreadable)
}

fn unreadable(error: ArrowError) -> Error {
    wrong(format!("{error}: give a whole Arrow IPC stream, as `pyarrow.ipc.new_stream` writes it"))
}

fn unwritable(error: ArrowError) -> Error {
    wrong(format!("its codes cannot be written: {error}"))
}

fn wrong(reason: String) -> Error {
    Error::Stream { reason }
}
