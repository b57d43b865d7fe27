//! The open write-ahead log of a writer: its first records, and the handling of a torn end. `store/wal/` defines its bytes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::codes::shape::Shape;
use crate::error::{Error, Result};
use crate::index::component::{Component, Data};
use crate::store::disk::{self, Appender};
use crate::store::format::Origin;
use crate::store::manifest::log_name;
use crate::store::wal::{self, BatchChange, Change, Cursor, LogState, Torn};

/// The write-ahead log that is written to.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) number: u64,
    pub(super) file: Appender,
    pub(super) cursor: Cursor,
    /// Its length in bytes when it was begun.
    pub(super) first_len: u64,
}

impl Log {
    /// The state of the log that a snapshot records.
    pub(super) fn state(&self) -> LogState {
        let (number, len) = (self.number, self.file.len());
        LogState { number, len, cursor: Some(self.cursor), torn: None }
    }
}

/// The changes that turn bare segments into these components.
pub(super) fn logged_state(components: &[Component]) -> Vec<Change> {
    let change = |component: &Component| match &component.data {
        Data::Segment(segment) if !component.tombstones.is_empty() => Some(Change::Tombstones {
            segment: segment.header.xxh3,
            rows: (*component.tombstones).clone(),
        }),
        Data::Segment(_) => None,
        Data::MemTable(table) => {
            let added = table.to_items();
            Some(Change::Batch(BatchChange { removed: Vec::new(), added }))
        }
    };
    components.iter().filter_map(change).collect()
}

/// Writes a log of some changes, which no manifest names yet.
pub(super) fn write_log(
    dir: &Path,
    shape: Shape,
    origin: Origin,
    changes: &[Change],
) -> Result<Log> {
    let LogFile { path, len, cursor } = write_log_file(dir, shape, origin, changes)?;
    let file = Appender::open(&path, len)?;
    Ok(Log { number: origin.generation, file, cursor, first_len: len })
}

/// A log that was written.
pub(super) struct LogFile {
    path: PathBuf,
    /// Its length in bytes.
    len: u64,
    /// Where the next record is appended.
    cursor: Cursor,
}

/// Writes the file of a log of some changes.
pub(super) fn write_log_file(
    dir: &Path,
    shape: Shape,
    origin: Origin,
    changes: &[Change],
) -> Result<LogFile> {
    let (mut bytes, mut cursor) = wal::begin(shape, origin);
    for change in changes {
        let (record, next) = wal::encode(std::slice::from_ref(change), cursor)?;
        bytes.extend(record);
        cursor = next;
    }
    let path = dir.join(log_name(origin.generation));
    disk::write(&path, |out| out.write_all(&bytes))?;
    Ok(LogFile { path, len: bytes.len() as u64, cursor })
}

/// Copies the torn end of a log to a file beside it, before it is removed from the log.
pub(super) fn keep_torn_end(log: &Path, number: u64, torn: Torn) -> Result<()> {
    let bytes = fs::read(log).map_err(Error::io("read", log))?;
    let end = bytes.get(torn.at..).unwrap_or_default();
    disk::write(&free_name(log, &format!("wal-{number}"), "torn"), |out| out.write_all(end))
}

/// A path beside a file where no file exists: `stem.extension`, or with a number before the extension.
pub(super) fn free_name(beside: &Path, stem: &str, extension: &str) -> PathBuf {
    let mut path = beside.with_file_name(format!("{stem}.{extension}"));
    let mut number = 1;
    while path.exists() {
        path = beside.with_file_name(format!("{stem}.{number}.{extension}"));
        number += 1;
    }
    path
}
