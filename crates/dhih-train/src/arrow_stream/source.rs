//! Encodes the rows of a column of pictures or of a column of vectors; `mod.rs` handles the stream.

use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, BinaryArray, BinaryViewArray, LargeBinaryArray, cast::AsArray};
use arrow_schema::DataType;
use dhih_index::Codes;
use dhih_model::Encoder;
use dhih_model::codec::{Codec, prepare_rows};
use dhih_model::image::{FORMATS, PictureReader};
use rayon::prelude::*;

use super::{IMAGE, VECTOR, wrong};
use crate::error::Result;

/// What computes the codes of a stream.
#[derive(Clone, Copy)]
pub enum Coder<'a> {
    /// A network, for the pictures in the column [`IMAGE`].
    Pictures(&'a Encoder),
    /// A codec, for the vectors in the column [`VECTOR`].
    Vectors(&'a Codec),
}

/// The codes of some rows.
pub(super) struct Coded {
    /// For each row, the reason why it has no code, if it has none.
    pub(super) faults: Vec<Option<String>>,
    /// The codes of the rows without a fault, in order.
    pub(super) codes: Codes,
}

impl<'a> Coder<'a> {
    /// The name of the column that is read.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Pictures(_) => IMAGE,
            Self::Vectors(_) => VECTOR,
        }
    }

    /// Code length in bits.
    pub fn bits(self) -> usize {
        match self {
            Self::Pictures(encoder) => encoder.bits(),
            Self::Vectors(codec) => codec.bits(),
        }
    }

    /// SHA-256 of the network or the codec, in hex.
    pub(super) fn sha256(self) -> &'a str {
        match self {
            Self::Pictures(encoder) => encoder.model_sha256(),
            Self::Vectors(codec) => codec.sha256(),
        }
    }

    /// Refuses a column of another type.
    pub(super) fn check(self, kind: &DataType) -> Result<()> {
        let (fits, expected) = match self {
            Self::Pictures(_) => (
                matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView),
                format!("binary: the bytes of {FORMATS} files"),
            ),
            Self::Vectors(codec) => {
                (is_list_of_floats(kind), format!("lists of {} floats", codec.dims()))
            }
        };
        match fits {
            true => Ok(()),
            false => {
                Err(wrong(format!("its column `{}` is {kind}, expected {expected}", self.column())))
            }
        }
    }

    /// Encodes rows of a column that was checked.
    pub(super) fn code(
        self,
        column: &ArrayRef,
        rows: &[usize],
        reader: &PictureReader,
    ) -> Result<Coded> {
        let (faults, values) = match self {
            Self::Pictures(encoder) => {
                let images = Images::of(column)?;
                let read = |row: &usize| pixels(images.get(*row), encoder, reader);
                let (faults, pixels) = apart(rows.par_iter().map(read).collect());
                (faults, encoder.encode(&pixels)?)
            }
            Self::Vectors(codec) => {
                let read = |row: &usize| vector(column, *row, codec);
                let (faults, vectors) = apart(rows.par_iter().map(read).collect());
                (faults, codec.encode(&vectors)?)
            }
        };
        Ok(Coded { faults, codes: Codes::from_real(self.bits() as u32, &values)? })
    }
}

/// Separates the reasons of rows that could not be read from the values of those that could.
fn apart<T>(read: Vec<Result<Vec<T>, String>>) -> (Vec<Option<String>>, Vec<T>) {
    let mut all = Vec::new();
    let mut fault = |row: Result<Vec<T>, String>| row.map(|values| all.extend(values)).err();
    (read.into_iter().map(&mut fault).collect(), all)
}

/// The three layouts of binary columns in Arrow.
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

    /// The bytes of a row; `None` where the row is null.
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

fn is_list_of_floats(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_floating()
        }
        _ => false,
    }
}

/// The vector in a row. The error says why the codec cannot use it.
fn vector(column: &ArrayRef, row: usize, codec: &Codec) -> Result<Vec<f32>, String> {
    if column.is_null(row) {
        return Err("there is no vector: it is null".to_owned());
    }
    let list = match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().value(row),
        DataType::LargeList(_) => column.as_list::<i64>().value(row),
        _ => column.as_fixed_size_list().value(row),
    };
    if list.null_count() > 0 {
        return Err("the vector has a number that is null".to_owned());
    }
    let numbers: Vec<f32> = match list.data_type() {
        DataType::Float16 => {
            list.as_primitive::<Float16Type>().values().iter().map(|x| x.to_f32()).collect()
        }
        DataType::Float64 => {
            list.as_primitive::<Float64Type>().values().iter().map(|x| *x as f32).collect()
        }
        _ => list.as_primitive::<Float32Type>().values().to_vec(),
    };
    if numbers.len() != codec.dims() {
        let (got, expected) = (numbers.len(), codec.dims());
        return Err(format!("the vector has {got} numbers; the codec takes {expected}"));
    }
    // This is a trial on a copy. The vector is normalised when it is encoded; normalising it twice would change its last bits.
    let mut tried = numbers.clone();
    match prepare_rows(&mut tried, codec.config(), |row| row) {
        Ok(()) => Ok(numbers),
        Err(dhih_model::Error::Vectors { reason }) => {
            Err(reason.replacen("vector 0 ", "the vector ", 1))
        }
        Err(other) => Err(other.to_string()),
    }
}
