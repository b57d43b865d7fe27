//! Encoding a stream of record batches, as engines hand them to a child process: a batch with images comes in, a batch with their
//! codes goes out, and the next is read. An image that cannot be used is a row without a code, not the end of the job. Codes of
//! files: `dhih-train encode --input`.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int64Builder, StringBuilder};
use arrow_array::{Array, ArrayRef, BinaryArray, BinaryViewArray, LargeBinaryArray, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use dhih_index::Codes;
use dhih_model::Encoder;
use dhih_model::image::{FORMATS, Limits, PictureReader};
use rayon::prelude::*;

use crate::error::{Error, Result};

/// The column of the images: bytes of a picture's file.
pub const IMAGE: &str = "image";
/// The column of the codes: bit k of a code is bit k % 8 of byte k / 8.
pub const CODE: &str = "code";
/// The column that says why a row has no code.
pub const ERROR: &str = "error";

/// Images decoded at once: bounds memory whatever the size of a batch.
const PART: usize = 256;

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Rows read and written.
    pub rows: usize,
    /// Rows whose image could not be used.
    pub without_code: usize,
}

/// Reads an Arrow IPC stream with a binary column [`IMAGE`] and writes one with the same batches: the other columns as they are,
/// then [`CODE`] (binary), `w0`, `w1`, ... (int64, 64 bits of the code each, the lowest first) and [`ERROR`] (text, null where there
/// is a code). The schema's metadata say `dhih.bits` and `dhih.model_sha256`. A batch is written before the next is read.
///
/// # Errors
/// [`Error::Stream`] where the input is no such stream, is damaged, or ends without its end marker, and where the output cannot be
/// written; those of the encoder.
pub fn encode(input: impl Read, output: impl Write, encoder: &Encoder) -> Result<Encoded> {
    let input = Watched { inner: input, ended: false };
    let mut reader = caught(|| StreamReader::try_new(input, None))?;
    let columns = Columns::of(&reader.schema(), encoder)?;
    let mut writer = StreamWriter::try_new(output, &columns.schema).map_err(unwritable)?;
    writer.flush().map_err(unwritable)?;
    let mut done = Encoded::default();
    // Not by `for`: the reader is asked afterwards how its stream ended.
    while let Some(batch) = caught(|| reader.next().transpose())? {
        let (batch, without_code) = columns.encode(&batch, encoder)?;
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

/// Which column is what.
struct Columns {
    image: usize,
    words: usize,
    schema: SchemaRef,
    reader: PictureReader,
}

impl Columns {
    fn of(input: &Schema, encoder: &Encoder) -> Result<Self> {
        let fields = input.fields();
        let names = || fields.iter().map(|field| field.name().as_str());
        let mut images = names().enumerate().filter(|(_, name)| *name == IMAGE);
        let (Some((image, _)), None) = (images.next(), images.next()) else {
            let names: Vec<&str> = names().collect();
            return Err(wrong(format!(
                "it must have one column `{IMAGE}`; its columns are: {}",
                names.join(", ")
            )));
        };
        let kind = fields[image].data_type();
        if !matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView) {
            return Err(wrong(format!(
                "its column `{IMAGE}` is {kind}, expected binary: the bytes of {FORMATS} files"
            )));
        }
        let words = encoder.bits().div_ceil(64);
        let word = |i: usize| Field::new(format!("w{i}"), DataType::Int64, true);
        let mut new = vec![Field::new(CODE, DataType::Binary, true)];
        new.extend((0..words).map(word));
        new.push(Field::new(ERROR, DataType::Utf8, true));
        if let Some(taken) = new.iter().find(|new| names().any(|name| name == new.name())) {
            let name = taken.name();
            return Err(wrong(format!("it has a column `{name}` already: give it another name")));
        }
        let others = fields.iter().enumerate().filter(|(i, _)| *i != image);
        let all: Vec<_> =
            others.map(|(_, field)| field.clone()).chain(new.into_iter().map(Arc::new)).collect();
        let metadata = HashMap::from([
            ("dhih.bits".to_owned(), encoder.bits().to_string()),
            ("dhih.model_sha256".to_owned(), encoder.model_sha256().to_owned()),
        ]);
        let schema = Arc::new(Schema::new_with_metadata(all, metadata));
        Ok(Self { image, words, schema, reader: PictureReader::new(Limits::files()) })
    }

    /// A batch with codes in place of images, and how many rows have none.
    fn encode(&self, batch: &RecordBatch, encoder: &Encoder) -> Result<(RecordBatch, usize)> {
        let images = Images::of(batch.column(self.image))?;
        let mut code = BinaryBuilder::new();
        let mut words: Vec<Int64Builder> = (0..self.words).map(|_| Int64Builder::new()).collect();
        let mut error = StringBuilder::new();
        let mut without_code = 0;
        let rows: Vec<usize> = (0..batch.num_rows()).collect();
        for rows in rows.chunks(PART) {
            let read = |row: &usize| pixels(images.get(*row), encoder, &self.reader);
            let decoded: Vec<Result<Vec<u8>, String>> = rows.par_iter().map(read).collect();
            let pixels: Vec<u8> = decoded.iter().flatten().flatten().copied().collect();
            let codes = Codes::from_real(encoder.bits() as u32, &encoder.encode(&pixels)?)?;
            let mut codes = codes.iter();
            for image in decoded {
                // As many codes as images that could be read.
                let found = image.and_then(|_| codes.next().ok_or_else(String::new));
                match &found {
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
        let others = batch.columns().iter().enumerate().filter(|(i, _)| *i != self.image);
        let mut columns: Vec<ArrayRef> = others.map(|(_, column)| column.clone()).collect();
        columns.push(Arc::new(code.finish()));
        columns.extend(words.iter_mut().map(|word| Arc::new(word.finish()) as ArrayRef));
        columns.push(Arc::new(error.finish()));
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(unreadable)?;
        Ok((batch, without_code))
    }
}

/// The three ways in which bytes are laid out.
enum Images<'a> {
    Small(&'a BinaryArray),
    Large(&'a LargeBinaryArray),
    View(&'a BinaryViewArray),
}

impl<'a> Images<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self> {
        let any = column.as_any();
        let small = any.downcast_ref().map(Self::Small);
        let large = || any.downcast_ref().map(Self::Large);
        let view = || any.downcast_ref().map(Self::View);
        let other = || wrong(format!("a batch has other columns than the schema: `{IMAGE}`"));
        small.or_else(large).or_else(view).ok_or_else(other)
    }

    /// The bytes of a row; `None` where it is null.
    fn get(&self, row: usize) -> Option<&'a [u8]> {
        match self {
            Self::Small(column) => (!column.is_null(row)).then(|| column.value(row)),
            Self::Large(column) => (!column.is_null(row)).then(|| column.value(row)),
            Self::View(column) => (!column.is_null(row)).then(|| column.value(row)),
        }
    }
}

fn pixels(
    bytes: Option<&[u8]>,
    encoder: &Encoder,
    reader: &PictureReader,
) -> Result<Vec<u8>, String> {
    let bytes = bytes.ok_or("there is no image: it is null")?;
    reader.fitted(bytes, encoder.input()).map_err(|error| error.to_string())
}

/// Eight bytes each, the first the lowest, the last filled up with zeros.
fn words_of(code: &[u8]) -> impl Iterator<Item = i64> {
    code.chunks(8).map(|part| {
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        i64::from_le_bytes(bytes)
    })
}

/// A reader that knows whether its end was met: a whole stream is read up to its end marker and not beyond.
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

/// What the reader gives. It checks most of what a stream says, but not all: a buffer that lies outside its message, or that ends inside a
/// number, lets it panic. That is an error here like any other; the reader is not used again.
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
