//! Vectors as a column of lists of floating-point numbers, as pandas, Polars, Arrow and Spark write them: row group for row group, some
//! thousand numbers at a time. A list column of Arrow's fixed-size lists looks the same in Parquet. Codes as lists: `list.rs`.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use half::f16;
use parquet::basic::{LogicalType, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{DataType, FixedLenByteArray};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::column::Group;
use super::naming::{Read, type_name};
use super::read::{open, row_ranges};
use crate::error::{Error, Result};
use crate::io::fault::{Fault, at};

/// The name of the column where a file has several that could be meant.
const NAME: &str = "vector";
/// Rows that are decoded at once.
const BATCH: usize = 1 << 10;

/// Why a file was not unpacked.
enum Failed {
    /// The file of vectors; what is wrong with it.
    Source(Fault),
    /// What they are written to.
    Out(io::Error),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Source(fault)
    }
}

/// Writes all vectors of a file to `out` as little-endian f32, row by row; returns how many there are, and the numbers of each.
pub(crate) fn unpack(path: &Path, out: &mut dyn Write) -> Result<[usize; 2]> {
    let file = open(path)?;
    let schema = file.metadata().file_metadata().schema_descr();
    let column = column_of(schema).map_err(at(path))?;
    let groups = row_ranges(file.metadata()).map_err(at(path))?;
    let mut dims = None;
    for (number, rows) in groups.iter().enumerate() {
        // The library checks most of what a file says, but a damaged page can let it panic. Such a panic becomes an error like any other.
        let group = Rows { number, rows: rows.clone(), column };
        let unpacked = catch_unwind(AssertUnwindSafe(|| group.unpack(&file, &mut dims, out)));
        let damaged = || Failed::from(Fault::from("it is a damaged Parquet file: write it again"));
        unpacked.unwrap_or_else(|_| Err(damaged())).map_err(|failed| match failed {
            Failed::Source(fault) => fault.at(path),
            Failed::Out(cause) => Error::io("unpack", path)(cause),
        })?;
    }
    let rows = groups.last().map_or(0, |last| last.end);
    match dims {
        Some(dims) => Ok([rows, dims]),
        None => {
            Err(Fault::from("it has no rows, so that it is not known how long its vectors are")
                .at(path))
        }
    }
}

/// The column of vectors: the one of that name, or the only one of lists of floating-point numbers.
fn column_of(schema: &SchemaDescriptor) -> Read<usize> {
    let name = |at: usize| schema.column(at).path().parts().first().cloned().unwrap_or_default();
    let lists = (0..schema.num_columns()).filter(|at| is_vector(&schema.column(*at)));
    let lists: Vec<usize> = lists.collect();
    if let Some(at) = lists.iter().find(|at| name(**at) == NAME) {
        return Ok(*at);
    }
    match lists[..] {
        [one] => Ok(one),
        [] => {
            let found = schema.columns().iter().take(20);
            let found: Vec<String> = found
                .map(|column| format!("`{}` of {}", column.path().string(), type_name(column)))
                .collect();
            Err(format!(
                "it has no column of lists of floating-point numbers, one list a vector; it has {}",
                found.join(", ")
            )
            .into())
        }
        _ => {
            let names: Vec<String> = lists.iter().map(|at| format!("`{}`", name(*at))).collect();
            Err(format!(
                "it has several columns of vectors, {}: name the one that is meant `{NAME}`",
                names.join(", ")
            )
            .into())
        }
    }
}

fn is_vector(column: &ColumnDescriptor) -> bool {
    let is_float = match column.physical_type() {
        PhysicalType::FLOAT | PhysicalType::DOUBLE => true,
        PhysicalType::FIXED_LEN_BYTE_ARRAY => {
            matches!(column.logical_type_ref(), Some(LogicalType::Float16))
        }
        _ => false,
    };
    is_float && column.max_rep_level() == 1
}

/// A row group, whose vectors are in this column.
struct Rows {
    number: usize,
    /// Among those of the file.
    rows: Range<usize>,
    column: usize,
}

impl Rows {
    fn unpack(
        &self,
        file: &SerializedFileReader<File>,
        dims: &mut Option<usize>,
        out: &mut dyn Write,
    ) -> std::result::Result<(), Failed> {
        let group = Group::open(file, self.number, self.rows.clone())?;
        let descriptor = file.metadata().file_metadata().schema_descr().column(self.column);
        let name = descriptor.path().string();
        let reader = group.column_reader(self.column, &name)?;
        let lists =
            Lists { name, value_level: descriptor.max_def_level(), rows: self.rows.clone() };
        match reader {
            ColumnReader::FloatColumnReader(reader) => lists.unpack(reader, dims, out, |x| *x),
            ColumnReader::DoubleColumnReader(reader) => {
                lists.unpack(reader, dims, out, |x| *x as f32)
            }
            ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                lists.unpack(reader, dims, out, half)
            }
            _ => Err(Fault::from("its vectors are of another type than it says").into()),
        }
    }
}

fn half(bytes: &FixedLenByteArray) -> f32 {
    match *bytes.data() {
        [low, high] => f16::from_le_bytes([low, high]).to_f32(),
        _ => f32::NAN,
    }
}

/// The lists of a row group.
struct Lists {
    name: String,
    value_level: i16,
    rows: Range<usize>,
}

impl Lists {
    fn unpack<T: DataType>(
        &self,
        mut reader: ColumnReaderImpl<T>,
        dims: &mut Option<usize>,
        out: &mut dyn Write,
        number: impl Fn(&T::T) -> f32,
    ) -> std::result::Result<(), Failed> {
        let Self { name, value_level, rows } = self;
        let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = Vec::new();
        let mut row = rows.start;
        while row < rows.end {
            values.clear();
            defined.clear();
            repeated.clear();
            let unreadable =
                |error| Fault::caused(format!("its column `{name}` cannot be read"), error);
            let most = BATCH.min(rows.end - row);
            let (records, found, levels) = reader
                .read_records(most, Some(&mut defined), Some(&mut repeated), &mut values)
                .map_err(unreadable)?;
            if records == 0 {
                let (seen, count) = (row - rows.start, rows.len());
                let reason = format!("its column `{name}` ends after {seen} of {count} rows");
                return Err(Fault::from(reason).into());
            }
            if let Some(missing) = defined.iter().take(levels).position(|it| it < value_level) {
                let before = repeated.iter().take(missing + 1).filter(|level| **level == 0).count();
                return Err(Fault::from(format!(
                    "row {} of its column `{name}` has no vector, or one with a number that is missing (NULL): leave such rows out",
                    row + before.saturating_sub(1)
                ))
                .into());
            }
            let starts = (0..found).filter(|level| repeated.get(*level).is_none_or(|x| *x == 0));
            for (start, end) in starts.clone().zip(starts.skip(1).chain([found])) {
                let expected = *dims.get_or_insert(end - start);
                if end - start != expected {
                    return Err(Fault::from(format!(
                        "row {row} of its column `{name}` has {} numbers, and the first {expected}: vectors are of one length",
                        end - start
                    ))
                    .into());
                }
                row += 1;
            }
            bytes.clear();
            bytes.extend(values.iter().flat_map(|value| number(value).to_le_bytes()));
            out.write_all(&bytes).map_err(Failed::Out)?;
        }
        Ok(())
    }
}
