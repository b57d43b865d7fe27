//! Codes as a column of lists, as pandas, numpy and deep-hashing scripts write them: the packed bytes of a code, or one value of +1 or -1 for
//! each of its bits. A list column of Arrow's fixed-size lists looks the same in Parquet. Columns of single values: `column.rs`.

use std::ops::Range;

use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::schema::types::ColumnDescriptor;

use super::naming::{Read, type_name};
use crate::codes::bits::bytes_per_code;
use crate::io::fault::Fault;
use crate::io::signs::SignPacker;

/// Rows that are decoded at once.
const BATCH: usize = 1 << 14;

/// A column of lists whose values have not been read yet.
pub(super) struct ListColumn {
    pub(super) name: String,
    /// The name of the type of its values.
    found: String,
    reader: ColumnReader,
    /// The definition level of a value that is there.
    value_level: i16,
    /// The rows of the group, among those of the file.
    rows: Range<usize>,
}

impl ListColumn {
    /// The column, if it is a list of single values.
    pub(super) fn new(
        name: &str,
        descriptor: &ColumnDescriptor,
        reader: ColumnReader,
        rows: Range<usize>,
    ) -> Self {
        let (name, found) = (name.to_owned(), type_name(descriptor));
        Self { name, found, reader, value_level: descriptor.max_def_level(), rows }
    }

    /// Whether a column can be read as lists of codes.
    pub(super) fn is_list(descriptor: &ColumnDescriptor) -> bool {
        descriptor.max_rep_level() == 1 && descriptor.physical_type() != PhysicalType::BYTE_ARRAY
    }

    /// Reads codes of `bits` bits and appends their packed bytes to `codes`; returns the number of bytes of a code.
    pub(super) fn codes(self, bits: u32, codes: &mut Vec<u8>) -> Read<usize> {
        let Self { name, found, reader, value_level, rows } = self;
        let lists = Lists { name: &name, value_level, rows };
        match reader {
            ColumnReader::Int32ColumnReader(reader) => {
                lists.read(reader, bits, codes, |value: &i32| f64::from(*value))
            }
            ColumnReader::Int64ColumnReader(reader) => {
                lists.read(reader, bits, codes, |value: &i64| *value as f64)
            }
            ColumnReader::FloatColumnReader(reader) => {
                lists.read(reader, bits, codes, |value: &f32| f64::from(*value))
            }
            ColumnReader::DoubleColumnReader(reader) => {
                lists.read(reader, bits, codes, |value: &f64| *value)
            }
            _ => Err(format!(
                "its column `{name}` is a list of {found}: it must hold bytes, or lists of whole numbers or of +1 and -1"
            )
            .into()),
        }
    }
}

/// The lists of a column.
struct Lists<'a> {
    name: &'a str,
    value_level: i16,
    rows: Range<usize>,
}

impl Lists<'_> {
    fn read<T: DataType>(
        &self,
        mut reader: ColumnReaderImpl<T>,
        bits: u32,
        codes: &mut Vec<u8>,
        number: impl Fn(&T::T) -> f64,
    ) -> Read<usize> {
        let width = bytes_per_code(bits);
        let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        let mut packer = SignPacker::new(bits);
        let mut row = self.rows.start;
        while row < self.rows.end {
            values.clear();
            defined.clear();
            repeated.clear();
            let unreadable =
                |error| Fault::caused(format!("its column `{}` cannot be read", self.name), error);
            let most = BATCH.min(self.rows.end - row);
            let (records, found, levels) = reader
                .read_records(most, Some(&mut defined), Some(&mut repeated), &mut values)
                .map_err(unreadable)?;
            if records == 0 {
                let (seen, count) = (row - self.rows.start, self.rows.len());
                let reason =
                    format!("its column `{}` ends after {seen} of {count} rows", self.name);
                return Err(reason.into());
            }
            if let Some(missing) = self.missing(&defined, &repeated, levels) {
                return Err(format!(
                    "its column `{}` has lists without values (NULL), the first of which is in row {}: leave such rows out",
                    self.name,
                    row + missing
                )
                .into());
            }
            let starts = (0..found).filter(|level| repeated.get(*level).is_none_or(|x| *x == 0));
            let ends = starts.clone().skip(1).chain([found]);
            for (start, end) in starts.zip(ends) {
                let list = values[start..end].iter().map(&number);
                let packed = match end - start {
                    length if length == bits as usize && length != width => {
                        packer.push(list, codes)
                    }
                    length if length == width => push_bytes(list, codes),
                    length => Err(format!(
                        "has a list of {length} values: a code of {bits} bits has {width} bytes, or {bits} values of +1 and -1"
                    )),
                };
                packed.map_err(|reason| {
                    Fault::from(format!("row {row} of its column `{}` {reason}", self.name))
                })?;
                row += 1;
            }
        }
        Ok(width)
    }

    /// The first row, among those just read, that is null, empty or has a null in it.
    fn missing(&self, defined: &[i16], repeated: &[i16], levels: usize) -> Option<usize> {
        let at = defined.iter().take(levels).position(|level| *level < self.value_level)?;
        let starts = repeated.iter().take(at + 1).filter(|level| **level == 0);
        Some(starts.count().saturating_sub(1))
    }
}

/// Appends a list of bytes; those of a signed type may be negative.
fn push_bytes(list: impl Iterator<Item = f64>, codes: &mut Vec<u8>) -> Result<(), String> {
    for value in list {
        let byte = match value {
            _ if value.fract() != 0.0 => None,
            0.0..=255.0 => Some(value as u8),
            -128.0..0.0 => Some((value as i8).cast_unsigned()),
            _ => None,
        };
        codes.push(byte.ok_or_else(|| format!("has the value {value}: a byte is 0 to 255"))?);
    }
    Ok(())
}
