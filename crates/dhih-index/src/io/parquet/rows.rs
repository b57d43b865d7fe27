//! Rows of numbers as a Parquet file, row group by row group. The other formats of such files: `io/row_file.rs`.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use parquet::data_type::{BoolType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::write::{TOO_LARGE, write_column};
use crate::io::row_file::{Column, Kind};

/// Rows of a row group. Few in tests, whose files are small.
const GROUP: usize = if cfg!(test) { 50 } else { 1 << 20 };

/// A Parquet file that is being written.
pub(crate) struct RowGroups<'a> {
    columns: &'a [Column],
    /// The rows of the next row group, column by column.
    pending: Vec<Vec<u64>>,
    /// The greatest id that the columns hold.
    largest: u64,
    writer: SerializedFileWriter<&'a mut (dyn Write + Send)>,
}

impl<'a> RowGroups<'a> {
    /// Begins a file in which no id is greater than `largest`.
    pub(crate) fn new(
        out: &'a mut (dyn Write + Send),
        columns: &'a [Column],
        largest: u64,
    ) -> io::Result<Self> {
        // Ids are signed where that is enough: Spark reads unsigned numbers of 64 bits as decimals.
        let (id, largest) = match i64::try_from(largest) {
            Ok(_) => ("", i64::MAX.cast_unsigned()),
            Err(_) => (" (INTEGER(64,false))", u64::MAX),
        };
        let field = |column: &Column| match column.kind {
            Kind::Id => format!("required int64 {}{id};", column.name),
            Kind::Number => format!("required int32 {};", column.name),
            Kind::Flag => format!("required boolean {};", column.name),
        };
        let fields: String = columns.iter().map(field).collect();
        let schema = parse_message_type(&format!("message rows {{ {fields} }}")).map_err(other)?;
        let properties = Arc::new(WriterProperties::builder().build());
        let writer = SerializedFileWriter::new(out, Arc::new(schema), properties).map_err(other)?;
        Ok(Self { columns, pending: vec![Vec::new(); columns.len()], largest, writer })
    }

    /// Adds rows.
    pub(crate) fn write(&mut self, numbers: &[u64]) -> io::Result<()> {
        for row in numbers.chunks_exact(self.columns.len()) {
            if row.iter().any(|number| *number > self.largest) {
                return Err(io::Error::new(ErrorKind::InvalidInput, TOO_LARGE));
            }
            self.pending.iter_mut().zip(row).for_each(|(column, number)| column.push(*number));
            if self.pending.first().is_some_and(|column| column.len() == GROUP) {
                self.write_group().map_err(other)?;
            }
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for (column, numbers) in self.columns.iter().zip(&mut self.pending) {
            match column.kind {
                Kind::Id => {
                    let ids: Vec<i64> = numbers.iter().map(|id| id.cast_signed()).collect();
                    write_column::<Int64Type, _>(&mut group, &ids)?;
                }
                Kind::Number => {
                    let numbers: Vec<i32> = numbers.iter().map(|&number| number as i32).collect();
                    write_column::<Int32Type, _>(&mut group, &numbers)?;
                }
                Kind::Flag => {
                    let flags: Vec<bool> = numbers.iter().map(|&number| number != 0).collect();
                    write_column::<BoolType, _>(&mut group, &flags)?;
                }
            }
            numbers.clear();
        }
        group.close().map(drop)
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if self.pending.first().is_some_and(|column| !column.is_empty()) {
            self.write_group().map_err(other)?;
        }
        self.writer.close().map(drop).map_err(other)
    }
}

fn other(error: ParquetError) -> io::Error {
    io::Error::other(error)
}
