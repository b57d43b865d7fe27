//! A redb database that survives errors of input and output. After such an error redb refuses all further operations until the file is
//! reopened. `Database` reopens it at once and, if that fails, at each later use. This file does not know the content of the tables.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use redb::{DatabaseError, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::overlay::Overlay;
use super::panics::guarded;
use crate::disk::sync_directory;
use crate::file_identity::FileIdentity;
use crate::{Error, Result};

/// Any failure of redb.
pub(super) type Fault = redb::Error;

/// The cache of redb, in bytes.
const CACHE: usize = 64 << 20;

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    /// The identity of the open file, or of the file that was open before an error.
    identity: Mutex<FileIdentity>,
    /// `None` after an error, until the file has been reopened.
    open: RwLock<Option<redb::Database>>,
    opener: Opener,
}

/// Opens the file of a database.
type Opener = fn(&Path) -> Result<redb::Database, DatabaseError>;

impl Database {
    /// Opens or creates the database.
    ///
    /// # Errors
    /// When the file is damaged, is not writable, or is open in another process.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::open_by(open_file, path)
    }

    /// Opens an existing database without changing its file: everything that is written stays in memory, also a repair after a crash.
    ///
    /// # Errors
    /// When the file is damaged, is not readable, or is open for writing in another process.
    pub(super) fn open_unchanged(path: &Path) -> Result<Self> {
        Self::open_by(open_overlay, path)
    }

    fn open_by(opener: Opener, path: &Path) -> Result<Self> {
        let open = RwLock::new(Some(open_guarded(opener, path)?));
        let identity = FileIdentity::of(path).map_err(|e| Error::catalogue(path, Fault::Io(e)))?;
        Ok(Self { path: path.to_owned(), identity: Mutex::new(identity), open, opener })
    }

    /// Whether the path still leads to the open file.
    pub(super) fn is_current(&self) -> bool {
        let known = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        FileIdentity::of(&self.path).is_ok_and(|identity| identity == *known)
    }

    /// Reads from one snapshot.
    pub(super) fn read<T>(&self, work: impl Fn(&ReadTransaction) -> Result<T, Fault>) -> Result<T> {
        let once = |database: &redb::Database| work(&database.begin_read()?);
        match self.with(once) {
            // An earlier failed write of another thread must not fail this read.
            Err(Failed::NotTried) => self.with(once).map_err(|failed| failed.at(&self.path)),
            done => done.map_err(|failed| failed.at(&self.path)),
        }
    }

    /// A snapshot to read from. It may be kept as long as needed.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction> {
        let once = |database: &redb::Database| Ok(database.begin_read()?);
        match self.with(once) {
            Err(Failed::NotTried) => self.with(once).map_err(|failed| failed.at(&self.path)),
            done => done.map_err(|failed| failed.at(&self.path)),
        }
    }

    /// Replaces the file by the database at `new` and opens that. Reads wait meanwhile.
    ///
    /// # Errors
    /// When the disk fails; the previous file is then opened again.
    pub(super) fn replace_by(&self, new: &Path) -> Result<()> {
        let failed = |source| Error::catalogue(&self.path, Fault::Io(source));
        let replaced = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            let identity = FileIdentity::of(new).map_err(failed)?;
            close(&mut open);
            let replaced = std::fs::rename(new, &self.path).map_err(failed);
            if replaced.is_ok() {
                *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
            }
            replaced
        };
        self.ensure_open()?;
        replaced?;
        // Otherwise a loss of power could bring back the previous file.
        let dir = self.path.parent().unwrap_or(Path::new("."));
        sync_directory(dir).map_err(failed)
    }

    /// Makes a change. When this returns, it is on disk. After an error the change may have been made or not; read to find out.
    pub(super) fn write<T>(
        &self,
        work: impl Fn(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T> {
        let once = |database: &redb::Database| {
            let mut change = database.begin_write()?;
            // Without quick repair, redb reads the whole file when it opens it after a crash.
            change.set_quick_repair(true);
            let done = work(&change)?;
            change.commit()?;
            Ok(done)
        };
        match self.with(once) {
            Err(Failed::NotTried) => self.with(once).map_err(|failed| failed.at(&self.path)),
            done => done.map_err(|failed| failed.at(&self.path)),
        }
    }

    /// Compares all pages with their checksums, and repairs what it can: for a database that was opened unchanged.
    ///
    /// # Errors
    /// When a page is damaged.
    pub(super) fn verify(&self) -> Result<()> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = open.as_mut() else { return Ok(()) };
        let fault = match guarded(|| database.check_integrity()) {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => Fault::Corrupted("the checksum of a page is wrong".into()),
            Ok(Err(error)) => error.into(),
            Err(reason) => Fault::Corrupted(reason),
        };
        Err(Error::catalogue(&self.path, fault))
    }

    /// Opens the file again if it is not open.
    ///
    /// # Errors
    /// As for [`open`](Self::open); when the file was replaced.
    pub(super) fn ensure_open(&self) -> Result<()> {
        if self.lock().is_some() {
            return Ok(());
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            if !self.is_current() {
                return Err(Error::Replaced { path: self.path.clone() });
            }
            *open = Some(open_guarded(self.opener, &self.path)?);
            tracing::info!(path = %self.path.display(), "the catalogue is open again");
        }
        Ok(())
    }

    fn with<T>(&self, work: impl FnOnce(&redb::Database) -> Result<T, Fault>) -> Result<T, Failed> {
        self.ensure_open().map_err(Failed::Reopening)?;
        let open = self.lock();
        let Some(database) = open.as_ref() else { return Err(Failed::NotTried) };
        let done =
            guarded(|| work(database)).unwrap_or_else(|reason| Err(Fault::Corrupted(reason)));
        drop(open);
        done.map_err(|fault| match fault {
            Fault::Io(_) | Fault::PreviousIo | Fault::DatabaseClosed => {
                self.reopen();
                if matches!(fault, Fault::Io(_)) { Failed::Now(fault) } else { Failed::NotTried }
            }
            other => Failed::Now(other),
        })
    }

    fn reopen(&self) {
        close(&mut self.open.write().unwrap_or_else(PoisonError::into_inner));
        if let Err(error) = self.ensure_open() {
            tracing::error!(%error, "the catalogue cannot be opened again; it is tried at the next use");
        }
    }

    fn lock(&self) -> RwLockReadGuard<'_, Option<redb::Database>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        close(self.open.get_mut().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Closes a database. Of a damaged one, redb may panic then, too.
fn close(open: &mut Option<redb::Database>) {
    let database = open.take();
    if let Err(reason) = guarded(|| drop(database)) {
        tracing::debug!(reason, "the catalogue was not closed as it should be");
    }
}

/// Why a transaction failed.
enum Failed {
    /// The database was closed by an earlier failure, so that the transaction was not tried.
    NotTried,
    Now(Fault),
    Reopening(Error),
}

impl Failed {
    fn at(self, path: &Path) -> Error {
        match self {
            Self::NotTried => Error::catalogue(path, Fault::PreviousIo),
            Self::Now(fault) => Error::catalogue(path, fault),
            Self::Reopening(error) => error,
        }
    }
}

/// Opens a database. A file that is damaged or locked is an error.
fn open_guarded(opener: Opener, path: &Path) -> Result<redb::Database> {
    match guarded(|| opener(path)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(Error::Locked { path: path.to_owned() }),
        Ok(Err(other)) => Err(Error::catalogue(path, other.into())),
        Err(reason) => Err(Error::catalogue(path, Fault::Corrupted(reason))),
    }
}

fn open_file(path: &Path) -> Result<redb::Database, DatabaseError> {
    let shown = path.to_owned();
    let mut builder = redb::Database::builder();
    builder.set_cache_size(CACHE);
    // redb also calls this for an empty file, which it then initialises; that is no repair after a crash.
    if path.metadata().is_ok_and(|file| file.len() > 0) {
        builder.set_repair_callback(move |repair| {
            let percent = (repair.progress() * 100.0) as u32;
            tracing::warn!(path = %shown.display(), percent, "the catalogue is repaired after a crash");
        });
    }
    builder.create(path)
}

fn open_overlay(path: &Path) -> Result<redb::Database, DatabaseError> {
    let overlay = Overlay::open(path)?;
    let mut builder = redb::Database::builder();
    builder.set_cache_size(CACHE);
    builder.create_with_backend(overlay)
}
