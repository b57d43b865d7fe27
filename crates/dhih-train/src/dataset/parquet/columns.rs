//! Values of single columns of a Parquet file, by row, and the name of a column's type for messages. `table.rs` decides which columns are
//! pictures and labels.

use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::reader::RowGroupReader;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

/// The number of rows that are decoded at once.
const BATCH: usize = 1024;

/// The values of each row of a column: none where the row is null, and several where it is a list.
#[derive(Debug)]
pub(super) enum Values {
    /// Integers; those that Parquet stores as unsigned are read as such.
    Integers(Vec<Row<i128>>),
    /// Strings in UTF-8.
    Texts(Vec<Row<String>>),
    /// Bytes.
    Bytes(Vec<Row<ByteArray>>),
}

/// The values of one row; `None` where the whole row is null.
pub(super) type Row<T> = Option<Vec<T>>;

/// The meaning of the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Signed,
    Unsigned,
    Text,
    Bytes,
    /// Neither a picture nor a label.
    Other,
}

impl Kind {
    pub(super) fn of(column: &ColumnDescriptor) -> Self {
        let (converted, logical) = (column.converted_type(), column.logical_type_ref());
        match column.physical_type() {
            PhysicalType::INT32 | PhysicalType::INT64 => match (logical, converted) {
                (Some(LogicalType::Integer(integer)), _) if integer.is_signed => Self::Signed,
                (Some(LogicalType::Integer(_)), _) => Self::Unsigned,
                (Some(_), _) => Self::Other,
                (
                    None,
                    ConvertedType::UINT_8
                    | ConvertedType::UINT_16
                    | ConvertedType::UINT_32
                    | ConvertedType::UINT_64,
                ) => Self::Unsigned,
                (
                    None,
                    ConvertedType::NONE
                    | ConvertedType::INT_8
                    | ConvertedType::INT_16
                    | ConvertedType::INT_32
                    | ConvertedType::INT_64,
                ) => Self::Signed,
                (None, _) => Self::Other,
            },
            PhysicalType::BYTE_ARRAY | PhysicalType::FIXED_LEN_BYTE_ARRAY => {
                match (logical, converted) {
                    (Some(LogicalType::String | LogicalType::Enum), _)
                    | (None, ConvertedType::UTF8 | ConvertedType::ENUM) => Self::Text,
                    (None, ConvertedType::NONE) => Self::Bytes,
                    _ => Self::Other,
                }
            }
            _ => Self::Other,
        }
    }
}

/// The columns of a file with their types, for messages.
pub(super) fn describe(schema: &SchemaDescriptor) -> String {
    let one = |column: &parquet::schema::types::ColumnDescPtr| {
        format!("`{}` ({})", column.path().string(), type_name(column))
    };
    schema.columns().iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The type of a column as Parquet names it, such as `INT32 (UINT_8)`.
pub(super) fn type_name(column: &ColumnDescriptor) -> String {
    let list = if column.max_rep_level() > 0 { "list of " } else { "" };
    match column.converted_type() {
        ConvertedType::NONE => format!("{list}{}", column.physical_type()),
        converted => format!("{list}{} ({converted})", column.physical_type()),
    }
}

/// Reads all rows of column number `at` of a row group. `Ok(None)` for a type that is neither integer, string nor bytes.
pub(super) fn read(
    group: &dyn RowGroupReader,
    schema: &SchemaDescriptor,
    at: usize,
) -> Result<Option<Values>, ParquetError> {
    let column = &schema.column(at);
    let levels = Levels {
        is_list: column.max_rep_level() > 0,
        list: i16::from(schema.get_column_root(at).is_optional()),
        value: column.max_def_level(),
        rows: usize::try_from(group.metadata().num_rows()).unwrap_or(0),
    };
    let reader = group.get_column_reader(at)?;
    let values = match (Kind::of(column), reader) {
        (Kind::Signed, ColumnReader::Int32ColumnReader(reader)) => {
            Values::Integers(levels.collect(reader, |value: &i32| Ok(i128::from(*value)))?)
        }
        (Kind::Signed, ColumnReader::Int64ColumnReader(reader)) => {
            Values::Integers(levels.collect(reader, |value: &i64| Ok(i128::from(*value)))?)
        }
        (Kind::Unsigned, ColumnReader::Int32ColumnReader(reader)) => {
            let unsigned = |value: &i32| Ok(i128::from(value.cast_unsigned()));
            Values::Integers(levels.collect(reader, unsigned)?)
        }
        (Kind::Unsigned, ColumnReader::Int64ColumnReader(reader)) => {
            let unsigned = |value: &i64| Ok(i128::from(value.cast_unsigned()));
            Values::Integers(levels.collect(reader, unsigned)?)
        }
        (Kind::Text, ColumnReader::ByteArrayColumnReader(reader)) => {
            let text = |value: &ByteArray| Ok(value.as_utf8()?.to_owned());
            Values::Texts(levels.collect(reader, text)?)
        }
        (Kind::Bytes, ColumnReader::ByteArrayColumnReader(reader)) => {
            Values::Bytes(levels.collect(reader, |value: &ByteArray| Ok(value.clone()))?)
        }
        (Kind::Bytes, ColumnReader::FixedLenByteArrayColumnReader(reader)) => {
            let bytes = |value: &FixedLenByteArray| Ok(ByteArray::clone(value));
            Values::Bytes(levels.collect(reader, bytes)?)
        }
        _ => return Ok(None),
    };
    Ok(Some(values))
}

/// How the levels of a column distinguish rows, lists and nulls.
struct Levels {
    /// Whether a row is a list of values.
    is_list: bool,
    /// The definition level from which on the list itself is present, even if it is empty.
    list: i16,
    /// The definition level of a value that is present.
    value: i16,
    /// The number of rows of the group.
    rows: usize,
}

impl Levels {
    /// Reads all rows and converts each value.
    fn collect<T: DataType, V>(
        &self,
        mut reader: ColumnReaderImpl<T>,
        convert: impl Fn(&T::T) -> Result<V, ParquetError>,
    ) -> Result<Vec<Row<V>>, ParquetError> {
        let mut rows: Vec<Row<V>> = Vec::new();
        let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        while rows.len() < self.rows {
            values.clear();
            defined.clear();
            repeated.clear();
            let most = BATCH.min(self.rows - rows.len());
            let (records, _, count) =
                reader.read_records(most, Some(&mut defined), Some(&mut repeated), &mut values)?;
            if records == 0 {
                let end = format!("it ends after {} of {} rows", rows.len(), self.rows);
                return Err(ParquetError::EOF(end));
            }
            let mut values = values.iter();
            for level in 0..count {
                let definition = defined.get(level).copied().unwrap_or(self.value);
                let begins_row = repeated.get(level).is_none_or(|level| *level == 0);
                if begins_row {
                    // An empty list is present without a value; a null is not present.
                    let least = if self.is_list { self.list } else { self.value };
                    rows.push((definition >= least).then(Vec::new));
                }
                if definition == self.value
                    && let (Some(value), Some(Some(row))) = (values.next(), rows.last_mut())
                {
                    row.push(convert(value)?);
                }
            }
        }
        Ok(rows)
    }
}
