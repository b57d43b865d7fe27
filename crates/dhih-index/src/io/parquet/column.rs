//! The columns of one row group: whole numbers of any width, signed or not, and byte strings. A value that is absent, and a type
//! that is not what the format demands, is refused by name. Which columns a file has: `read.rs`.

use std::fs::File;
use std::ops::Range;

use parquet::basic::{Compression, ConvertedType, LogicalType, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArrayType, Int32Type};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::list::ListColumn;
use super::naming::{Read, type_name};
use crate::io::fault::Fault;

/// Rows that are decoded at once.
const BATCH: usize = 1 << 16;

/// A row group of a file, and its rows among those of the file.
pub(super) struct Group<'a> {
    reader: Box<dyn RowGroupReader + 'a>,
    schema: &'a SchemaDescriptor,
    rows: Range<usize>,
}

impl<'a> Group<'a> {
    pub(super) fn open(
        file: &'a SerializedFileReader<File>,
        number: usize,
        rows: Range<usize>,
    ) -> Read<Self> {
        let unreadable = |error| Fault::caused("it has a row group that cannot be read", error);
        let reader = file.get_row_group(number).map_err(unreadable)?;
        Ok(Self { reader, schema: file.metadata().file_metadata().schema_descr(), rows })
    }

    /// Its rows, among those of the file.
    pub(super) fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The column of this name, if there is one.
    pub(super) fn column(&self, name: &str) -> Read<Option<Column>> {
        let fields = self.schema.root_schema().get_fields();
        let nested = fields.iter().any(|field| field.name() == name && field.is_group());
        let columns = self.schema.columns();
        let Some(at) = columns.iter().position(|column| column.path().string() == name) else {
            return match nested {
                true => Err(nesting(name)),
                false => Ok(None),
            };
        };
        let descriptor = self.schema.column(at);
        if nested || descriptor.max_rep_level() > 0 || descriptor.max_def_level() > 1 {
            return Err(nesting(name));
        }
        let reader = self.column_reader(at, name)?;
        let (name, kind) = (name.to_owned(), Kind::of(&descriptor));
        let found = type_name(&descriptor);
        Ok(Some(Column { name, kind, found, reader, rows: self.rows.clone() }))
    }

    /// The column of this name, if it is there and each of its rows is a list of numbers.
    pub(super) fn list(&self, name: &str) -> Read<Option<ListColumn>> {
        let is_of = |column: &ColumnDescriptor| {
            column.path().parts().first().is_some_and(|part| part == name)
        };
        let columns = self.schema.columns();
        let mut found = (0..columns.len()).filter(|at| is_of(&columns[*at]));
        let (Some(at), None) = (found.next(), found.next()) else { return Ok(None) };
        if !ListColumn::is_list(&columns[at]) {
            return Ok(None);
        }
        let reader = self.column_reader(at, name)?;
        Ok(Some(ListColumn::new(name, &columns[at], reader, self.rows.clone())))
    }

    pub(super) fn column_reader(&self, at: usize, name: &str) -> Read<ColumnReader> {
        let codec = self.reader.metadata().column(at).compression();
        self.reader.get_column_reader(at).map_err(|error| match codec {
            Compression::LZO => Fault::from(format!(
                "its column `{name}` is compressed with LZO, which is not read: write the file with Snappy or Zstandard, as with \
                 `compression=\"zstd\"` in pyarrow and Polars"
            )),
            _ => Fault::caused(format!("its column `{name}` cannot be read"), error),
        })
    }
}

fn nesting(name: &str) -> Fault {
    format!("its column `{name}` is nested: write it as a column of single values").into()
}

/// What the values of a column stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Signed,
    /// Whole numbers that are not negative. Parquet stores them in signed types of 32 or 64 bits.
    Unsigned,
    Bytes,
    Other,
}

impl Kind {
    fn of(column: &ColumnDescriptor) -> Self {
        let physical = column.physical_type();
        match (physical, column.logical_type_ref()) {
            (PhysicalType::INT32 | PhysicalType::INT64, Some(LogicalType::Integer(integer))) => {
                if integer.is_signed {
                    Self::Signed
                } else {
                    Self::Unsigned
                }
            }
            (PhysicalType::INT32 | PhysicalType::INT64, None) => match column.converted_type() {
                ConvertedType::NONE
                | ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::INT_64 => Self::Signed,
                ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64 => Self::Unsigned,
                _ => Self::Other,
            },
            (PhysicalType::BYTE_ARRAY | PhysicalType::FIXED_LEN_BYTE_ARRAY, logical) => {
                let is_binary = matches!(logical, None | Some(LogicalType::Uuid))
                    && column.converted_type() == ConvertedType::NONE;
                if is_binary { Self::Bytes } else { Self::Other }
            }
            _ => Self::Other,
        }
    }
}

/// A column whose type is known and whose values have not been read yet.
pub(super) struct Column {
    name: String,
    kind: Kind,
    /// The name of its type.
    found: String,
    reader: ColumnReader,
    /// The rows of the group, among those of the file.
    rows: Range<usize>,
}

/// The whole numbers of a column.
#[derive(Debug)]
pub(super) struct Integers {
    name: String,
    signed: bool,
    /// Whether the column has 32 bits, not 64.
    narrow: bool,
    /// The numbers, an unsigned number of 64 bits as the signed one of the same bits.
    values: Vec<i64>,
    /// The row of the first number in the file.
    first_row: usize,
}

impl Column {
    /// Reads whole numbers.
    pub(super) fn integers(self) -> Read<Integers> {
        let Self { name, kind, found, reader, rows } = self;
        let signed = kind == Kind::Signed;
        if !signed && kind != Kind::Unsigned {
            return Err(wrong_type(&name, &found, "whole numbers, such as INT64"));
        }
        // A damaged file may claim any number of rows.
        let mut values = Vec::with_capacity(rows.len().min(BATCH));
        let narrow = matches!(reader, ColumnReader::Int32ColumnReader(_));
        match reader {
            ColumnReader::Int64ColumnReader(column) => {
                batches(column, &name, &rows, |batch: &[i64]| values.extend_from_slice(batch))?;
            }
            ColumnReader::Int32ColumnReader(column) => {
                let widen = |value: &i32| match signed {
                    true => i64::from(*value),
                    false => i64::from(value.cast_unsigned()),
                };
                let take = |batch: &[i32]| values.extend(batch.iter().map(widen));
                batches::<Int32Type>(column, &name, &rows, take)?;
            }
            _ => return Err(wrong_type(&name, &found, "whole numbers, such as INT64")),
        }
        Ok(Integers { name, signed, narrow, values, first_row: rows.start })
    }

    /// Reads byte strings, appends them to `values`, and returns their common length; 0 where there is none.
    pub(super) fn bytes(self, values: &mut Vec<u8>) -> Read<usize> {
        let Self { name, kind, found, reader, rows } = self;
        let wrong = || wrong_type(&name, &found, "bytes: BYTE_ARRAY without a logical type");
        if kind != Kind::Bytes {
            return Err(wrong());
        }
        let (mut width, mut row, mut uneven) = (None, rows.start, None);
        let mut add = |bytes: &[u8]| {
            if *width.get_or_insert(bytes.len()) != bytes.len() {
                uneven.get_or_insert((row, bytes.len()));
            }
            values.extend_from_slice(bytes);
            row += 1;
        };
        match reader {
            ColumnReader::ByteArrayColumnReader(column) => {
                let take = |batch: &[ByteArray]| batch.iter().for_each(|bytes| add(bytes.data()));
                batches::<ByteArrayType>(column, &name, &rows, take)?;
            }
            ColumnReader::FixedLenByteArrayColumnReader(column) => {
                batches::<FixedLenByteArrayType>(column, &name, &rows, |batch| {
                    batch.iter().for_each(|bytes| add(bytes.data()));
                })?;
            }
            _ => return Err(wrong()),
        }
        let width = width.unwrap_or(0);
        match uneven {
            Some((row, found)) => Err(format!(
                "its column `{name}` holds values of different lengths: {width} bytes, and {found} in row {row}"
            )
            .into()),
            None => Ok(width),
        }
    }
}

impl Integers {
    /// The numbers as ids.
    pub(super) fn ids(self) -> Read<Vec<u64>> {
        let rule =
            "an id must not be negative, and ids from 2^63 on need an unsigned column of 64 bits";
        self.refuse_negative(self.signed, rule)?;
        Ok(self.values.into_iter().map(i64::cast_unsigned).collect())
    }

    /// The numbers as labels.
    pub(super) fn labels(self) -> Read<Vec<i64>> {
        self.refuse_negative(!self.signed, "a label must be below 2^63")?;
        Ok(self.values)
    }

    /// The numbers as words of codes. Only their bits matter, and not the sign.
    pub(super) fn words(self) -> Read<Vec<i64>> {
        let rule = "a word that uses its highest bit needs a column of 64 bits";
        self.refuse_negative(self.narrow && self.signed, rule)?;
        Ok(self.values)
    }

    /// Where `refused` holds, refuses a value whose 64 bits are those of a negative number.
    fn refuse_negative(&self, refused: bool, rule: &str) -> Read<()> {
        let Some(at) = self.values.iter().position(|value| refused && *value < 0) else {
            return Ok(());
        };
        let (row, name) = (self.first_row + at, &self.name);
        let value = match self.signed {
            true => i128::from(self.values[at]),
            false => i128::from(self.values[at].cast_unsigned()),
        };
        Err(format!("row {row} of its column `{name}` is {value}: {rule}").into())
    }
}

fn wrong_type(name: &str, found: &str, wanted: &str) -> Fault {
    format!("its column `{name}` is of type {found}: it must hold {wanted}").into()
}

/// Calls `take` with all values of a column in their order, and refuses a row without a value.
fn batches<T: DataType>(
    mut column: ColumnReaderImpl<T>,
    name: &str,
    rows: &Range<usize>,
    mut take: impl FnMut(&[T::T]),
) -> Read<()> {
    let (mut values, mut levels, mut seen) = (Vec::new(), Vec::new(), 0);
    while seen < rows.len() {
        values.clear();
        levels.clear();
        let most = BATCH.min(rows.len() - seen);
        let unreadable =
            |error| Fault::caused(format!("its column `{name}` cannot be read"), error);
        let read = column.read_records(most, Some(&mut levels), None, &mut values);
        let (records, found, _) = read.map_err(unreadable)?;
        if records == 0 {
            let count = rows.len();
            return Err(format!("its column `{name}` ends after {seen} of {count} rows").into());
        }
        if found != records {
            let row = rows.start + seen + levels.iter().position(|level| *level == 0).unwrap_or(0);
            return Err(format!(
                "its column `{name}` has rows without a value (NULL), the first of which is row {row}: leave them out, as with \
                 `WHERE {name} IS NOT NULL`"
            )
            .into());
        }
        take(&values);
        seen += records;
    }
    Ok(())
}
