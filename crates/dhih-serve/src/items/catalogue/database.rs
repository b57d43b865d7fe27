//! A redb database that goes on after an input or output error. After one, redb refuses everything until its file is opened again; this
//! opens it again, at once and, where that fails, at each later use. What the tables hold is not known here.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};

use crate::disk::sync_directory;
use crate::file_identity::FileIdentity;
use crate::{Error, Result};

/// Any failure of redb.
pub(super) type Fault = redb::Error;

/// Memory in bytes that redb may keep pages in.
const CACHE: usize = 64 << 20;

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    /// Of the file that is open, or was.
    identity: Mutex<FileIdentity>,
    /// `None` while it could not be opened again.
    open: RwLock<Option<redb::Database>>,
}

impl Database {
    /// Opens or makes the database.
    ///
    /// # Errors
    /// A damaged file, one that another process has open, one that may not be written to.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let open = opened(path)?;
        let identity = FileIdentity::of(path).map_err(|e| Error::catalogue(path, Fault::Io(e)))?;
        let identity = Mutex::new(identity);
        Ok(Self { path: path.to_owned(), identity, open: RwLock::new(Some(open)) })
    }

    /// Whether the path still leads to the file that is open.
    pub(super) fn is_current(&self) -> bool {
        let known = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        FileIdentity::of(&self.path).is_ok_and(|identity| identity == *known)
    }

    /// Reads of one snapshot.
    pub(super) fn read<T>(&self, work: impl Fn(&ReadTransaction) -> Result<T, Fault>) -> Result<T> {
        let once = |database: &redb::Database| work(&database.begin_read()?);
        match self.with(once) {
            // Another thread's failed write is no reason for this one to fail.
            Err(Failed::Before) => self.with(once).map_err(|failed| failed.at(&self.path)),
            done => done.map_err(|failed| failed.at(&self.path)),
        }
    }

    /// A snapshot to read from for as long as it is wanted.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction> {
        let once = |database: &redb::Database| Ok(database.begin_read()?);
        match self.with(once) {
            Err(Failed::Before) => self.with(once).map_err(|failed| failed.at(&self.path)),
            done => done.map_err(|failed| failed.at(&self.path)),
        }
    }

    /// Lets another database take the place of this one, and opens it. Reads wait meanwhile.
    ///
    /// # Errors
    /// A disk that does not take it; the one that was there is opened again then.
    pub(super) fn replace_by(&self, new: &Path) -> Result<()> {
        let failed = |source| Error::catalogue(&self.path, Fault::Io(source));
        let replaced = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            let identity = FileIdentity::of(new).map_err(failed)?;
            open.take();
            let replaced = std::fs::rename(new, &self.path).map_err(failed);
            if replaced.is_ok() {
                *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
            }
            replaced
        };
        self.ensure_open()?;
        replaced?;
        // A loss of power must not bring back the file before.
        let dir = self.path.parent().unwrap_or(Path::new("."));
        sync_directory(dir).map_err(failed)
    }

    /// Makes a change. When this returns it is on disk. After an error it may be there or not: read to see.
    pub(super) fn write<T>(
        &self,
        work: impl Fn(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T> {
        let once = |database: &redb::Database| {
            let mut change = database.begin_write()?;
            // Otherwise the file is read from end to end when it is opened after a crash.
            change.set_quick_repair(true);
            let done = work(&change)?;
            change.commit()?;
            Ok(done)
        };
        match self.with(once) {
            Err(Failed::Before) => self.with(once).map_err(|failed| failed.at(&self.path)),
            done => done.map_err(|failed| failed.at(&self.path)),
        }
    }

    /// Opens it again where it is not open.
    ///
    /// # Errors
    /// As for [`open`](Self::open); the file was replaced.
    pub(super) fn ensure_open(&self) -> Result<()> {
        if self.lock().is_some() {
            return Ok(());
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            if !self.is_current() {
                return Err(Error::Replaced { path: self.path.clone() });
            }
            *open = Some(opened(&self.path)?);
            tracing::info!(path = %self.path.display(), "the catalogue is open again");
        }
        Ok(())
    }

    fn with<T>(&self, work: impl FnOnce(&redb::Database) -> Result<T, Fault>) -> Result<T, Failed> {
        self.ensure_open().map_err(Failed::Reopening)?;
        let open = self.lock();
        let Some(database) = open.as_ref() else { return Err(Failed::Before) };
        let done = work(database);
        drop(open);
        done.map_err(|fault| match fault {
            Fault::Io(_) | Fault::PreviousIo | Fault::DatabaseClosed => {
                self.reopen();
                if matches!(fault, Fault::Io(_)) { Failed::Now(fault) } else { Failed::Before }
            }
            other => Failed::Now(other),
        })
    }

    fn reopen(&self) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Err(error) = self.ensure_open() {
            tracing::error!(%error, "the catalogue cannot be opened again; it is tried at the next use");
        }
    }

    fn lock(&self) -> RwLockReadGuard<'_, Option<redb::Database>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a transaction came to nothing.
enum Failed {
    /// An earlier one had failed: this one was not tried.
    Before,
    Now(Fault),
    Reopening(Error),
}

impl Failed {
    fn at(self, path: &Path) -> Error {
        match self {
            Self::Before => Error::catalogue(path, Fault::PreviousIo),
            Self::Now(fault) => Error::catalogue(path, fault),
            Self::Reopening(error) => error,
        }
    }
}

fn opened(path: &Path) -> Result<redb::Database> {
    let shown = path.to_owned();
    let mut builder = redb::Database::builder();
    builder.set_cache_size(CACHE);
    // An empty file is filled by the same means.
    if path.metadata().is_ok_and(|file| file.len() > 0) {
        builder.set_repair_callback(move |repair| {
            let percent = (repair.progress() * 100.0) as u32;
            tracing::warn!(path = %shown.display(), percent, "the catalogue is repaired after a crash");
        });
    }
    builder.create(path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => Error::Locked { path: path.to_owned() },
        other => Error::catalogue(path, other.into()),
    })
}
