//! Files of rows of numbers that are written as they come, such as pairs: Parquet, JSON lines or CSV, as the file's name says. What the
//! rows mean is their writer's business (`pairs/files.rs`). Codes files have modules of their own.

use std::io::{self, Write};
use std::path::Path;

use crate::error::{Error, Result};
#[cfg(feature = "parquet")]
use crate::io::parquet::RowGroups;
use crate::store::disk;

/// A column of such a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An id, or another number of 64 bits.
    Id,
    /// A number that fits into 31 bits.
    Number,
    /// 0 for false and 1 for true.
    Flag,
}

/// The formats of such files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Parquet,
    JsonLines,
    Csv,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        let known = [
            ("parquet", Self::Parquet),
            ("jsonl", Self::JsonLines),
            ("ndjson", Self::JsonLines),
            ("csv", Self::Csv),
        ];
        let extension = path.extension().unwrap_or_default();
        let named = known.iter().find(|(name, _)| extension.eq_ignore_ascii_case(name));
        named.map(|(_, format)| *format).ok_or_else(|| unknown(path))
    }
}

/// The error for a name that tells no format.
fn unknown(path: &Path) -> Error {
    let reason = "its name says no format: end it in .parquet, .jsonl or .csv";
    Error::io("write", path)(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// Refuses a path whose ending names no format that this build writes.
pub(crate) fn check_path(path: &Path) -> Result<()> {
    match Format::of(path)? {
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => {
            Err(Error::FormatDisabled { path: path.into(), format: "Parquet", feature: "parquet" })
        }
        _ => Ok(()),
    }
}

/// Takes rows, some at a time.
pub(crate) struct RowWriter<'a> {
    path: &'a Path,
    columns: &'a [Column],
    out: Out<'a>,
}

enum Out<'a> {
    #[cfg(feature = "parquet")]
    Parquet(Box<RowGroups<'a>>),
    JsonLines(&'a mut (dyn Write + Send)),
    Csv(&'a mut (dyn Write + Send)),
}

/// Writes a file of rows through `content`. No id is greater than `largest`. On any failure the old file, or none, is what remains.
pub(crate) fn write<T>(
    path: &Path,
    columns: &[Column],
    largest: u64,
    content: impl FnOnce(&mut RowWriter) -> Result<T>,
) -> Result<T> {
    check_path(path)?;
    let format = Format::of(path)?;
    let mut done = None;
    let written = disk::write(path, |out| {
        let result = write_to(path, (format, columns), largest, out, content);
        let failed = result.is_err();
        done = Some(result);
        if failed { Err(io::Error::other("its rows did not come")) } else { Ok(()) }
    });
    match done {
        // A failure of the rows is reported as it is, and not as a failure of the file.
        Some(Err(error)) => Err(error),
        Some(Ok(result)) => written.map(|()| result),
        None => Err(written.err().unwrap_or(Error::Cancelled)),
    }
}

fn write_to<T>(
    path: &Path,
    (format, columns): (Format, &[Column]),
    largest: u64,
    out: &mut (dyn Write + Send),
    content: impl FnOnce(&mut RowWriter) -> Result<T>,
) -> Result<T> {
    let failed = Error::io("write", path);
    let out = match format {
        #[cfg(feature = "parquet")]
        Format::Parquet => {
            Out::Parquet(Box::new(RowGroups::new(out, columns, largest).map_err(failed)?))
        }
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => return Err(unknown(path)),
        Format::JsonLines => Out::JsonLines(out),
        Format::Csv => {
            let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
            writeln!(out, "{}", names.join(",")).map_err(failed)?;
            Out::Csv(out)
        }
    };
    let mut writer = RowWriter { path, columns, out };
    let result = content(&mut writer)?;
    match writer.out {
        #[cfg(feature = "parquet")]
        Out::Parquet(groups) => groups.finish().map_err(Error::io("write", path))?,
        Out::JsonLines(_) | Out::Csv(_) => {}
    }
    let _ = largest;
    Ok(result)
}

impl RowWriter<'_> {
    /// Writes rows, each of which has a number for each column.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn write(&mut self, numbers: &[u64]) -> Result<()> {
        let (columns, width) = (self.columns, self.columns.len());
        let mut rows = numbers.chunks_exact(width);
        let written = match &mut self.out {
            #[cfg(feature = "parquet")]
            Out::Parquet(groups) => groups.write(numbers),
            Out::JsonLines(out) => rows.try_for_each(|row| {
                out.write_all(b"{")?;
                for (at, (column, number)) in columns.iter().zip(row).enumerate() {
                    let comma = if at > 0 { "," } else { "" };
                    write!(out, "{comma}\"{}\":", column.name)?;
                    write_number(*out, *column, *number)?;
                }
                out.write_all(b"}\n")
            }),
            Out::Csv(out) => rows.try_for_each(|row| {
                for (at, (column, number)) in columns.iter().zip(row).enumerate() {
                    out.write_all(if at > 0 { b"," } else { b"" })?;
                    write_number(*out, *column, *number)?;
                }
                out.write_all(b"\n")
            }),
        };
        written.map_err(Error::io("write", self.path))
    }
}

fn write_number(out: &mut dyn Write, column: Column, number: u64) -> io::Result<()> {
    match column.kind {
        Kind::Flag => out.write_all(if number == 0 { b"false" } else { b"true" }),
        Kind::Id | Kind::Number => write!(out, "{number}"),
    }
}
