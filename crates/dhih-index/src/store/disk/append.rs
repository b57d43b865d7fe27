//! A file that grows at its end: the write-ahead log.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::{Op, done, step, sync_file, write_all_at};
use crate::error::{Error, Result};

/// Why bytes were not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The file is as it was.
    Undone(io::Error),
    /// It is not known what the disk holds behind the file's last durable byte.
    Unknown(io::Error),
}

/// A file that grows at its end.
#[derive(Debug)]
pub(crate) struct Appender {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Appender {
    /// Opens a file of `len` bytes. Bytes behind them are cut off: the caller has kept what may still be of use.
    pub(crate) fn open(path: &Path, len: u64) -> Result<Self> {
        let open = || {
            step()?;
            let file = OpenOptions::new().write(true).open(path)?;
            if file.metadata()?.len() != len {
                file.set_len(len)?;
                done(Op::SetLen(path, len));
                sync_file(&file, path)?;
            }
            Ok(file)
        };
        let file = open().map_err(Error::io("open", path))?;
        Ok(Self { file, path: path.to_path_buf(), len })
    }

    /// Adds bytes, which are durable when this returns.
    ///
    /// After a failed write the file is cut back to what it was. After a failed sync nothing is certain any more: the system may have
    /// dropped the bytes from its cache and would report success the next time, so the caller must not use the file again.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> std::result::Result<(), AppendError> {
        if let Err(cause) = write_all_at(&self.file, &self.path, self.len, bytes) {
            let undone = step().and_then(|()| self.file.set_len(self.len)).and_then(|()| {
                done(Op::SetLen(&self.path, self.len));
                sync_file(&self.file, &self.path)
            });
            return Err(match undone {
                Ok(()) => AppendError::Undone(cause),
                Err(_) => AppendError::Unknown(cause),
            });
        }
        let synced = step().and_then(|()| self.file.sync_data());
        synced.map_err(AppendError::Unknown)?;
        done(Op::SyncFile(&self.path));
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// The length in bytes of what is durable.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
