//! The snapshots of a collection: their directory and names, and the lock that allows one at a time. `items/snapshots.rs` writes the files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Error;
use crate::api::Snapshot;
use crate::disk::sync_directory;
use crate::items::{ChangeError, Compacted, Copied, LocalItems};
use crate::operation::plain_name::{PlainNameError, check_plain};

/// The suffix of a snapshot that is not complete.
const PARTIAL: &str = ".partial";

/// Why no snapshot was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("this service makes no snapshots: start it with --snapshot-dir DIR")]
    NoDirectory,
    #[error(transparent)]
    Name(#[from] PlainNameError),
    #[error(
        "a name does not end in `{PARTIAL}`: that is what snapshots are called that are not whole"
    )]
    Partial,
    #[error("there is a snapshot of this name already: give it another one")]
    Exists,
    #[error("a snapshot or a compaction is under way: wait until it has ended")]
    UnderWay,
    #[error(transparent)]
    Items(Box<ChangeError>),
    #[error(transparent)]
    Failed(Box<Error>),
}

impl From<ChangeError> for SnapshotError {
    fn from(refusal: ChangeError) -> Self {
        Self::Items(refusal.into())
    }
}

/// Makes snapshots in a directory and compacts, one operation at a time.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    dir: Option<PathBuf>,
    one: Mutex<()>,
}

impl Snapshots {
    /// Snapshots in the directory `dir`.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, one: Mutex::default() }
    }

    /// Checks the name for a snapshot, or makes one from the seconds since 1970.
    ///
    /// # Errors
    /// When there is no directory for snapshots, or the name is invalid or taken.
    pub(crate) fn name(&self, wanted: Option<String>) -> Result<String, SnapshotError> {
        let dir = self.dir()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = wanted.unwrap_or_else(|| format!("snapshot-{}", since.as_secs()));
        check_plain(&name)?;
        if name.ends_with(PARTIAL) {
            return Err(SnapshotError::Partial);
        }
        match dir.join(&name).symlink_metadata() {
            Ok(_) => Err(SnapshotError::Exists),
            Err(_) => Ok(name),
        }
    }

    /// Makes a snapshot whose name was checked. When this returns, it is on disk.
    ///
    /// # Errors
    /// When another operation is in progress or has just made a snapshot of this name, or the disk is full or fails.
    pub(crate) fn make(
        &self,
        items: &Arc<LocalItems>,
        name: &str,
    ) -> Result<Snapshot, SnapshotError> {
        let _one = self.one()?;
        let dir = self.dir()?;
        let failed = |source| SnapshotError::Failed(Error::written(dir, source).into());
        fs::create_dir_all(dir).map_err(failed)?;
        let (partial, whole) = (dir.join(format!("{name}{PARTIAL}")), dir.join(name));
        // Since the name was checked, another request may have made a snapshot of this name.
        if whole.symlink_metadata().is_ok() {
            return Err(SnapshotError::Exists);
        }
        // An interrupted snapshot may have left files.
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(failed)?;
        }
        items.snapshot(&partial)?;
        let renamed = fs::rename(&partial, &whole);
        renamed.inspect_err(|_| drop(fs::remove_dir_all(&partial))).map_err(failed)?;
        sync_directory(dir).map_err(failed)?;
        of(&whole).ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))
    }

    /// Lists the snapshots by name, including incomplete ones.
    ///
    /// # Errors
    /// When there is no directory for snapshots.
    pub(crate) fn list(&self) -> Result<Vec<Snapshot>, SnapshotError> {
        let entries = fs::read_dir(self.dir()?).into_iter().flatten().flatten();
        let mut all: Vec<Snapshot> =
            entries.filter(is_shown).filter_map(|entry| of(&entry.path())).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Rewrites index and catalogue without deleted data.
    ///
    /// # Errors
    /// When another operation is in progress, or the disk is full or fails.
    pub(crate) fn compact(
        &self,
        items: &Arc<LocalItems>,
        copied: Copied,
    ) -> Result<Compacted, SnapshotError> {
        let _one = self.one()?;
        Ok(items.compact(copied)?)
    }

    fn dir(&self) -> Result<&Path, SnapshotError> {
        self.dir.as_deref().ok_or(SnapshotError::NoDirectory)
    }

    fn one(&self) -> Result<MutexGuard<'_, ()>, SnapshotError> {
        match self.one.try_lock() {
            Ok(one) => Ok(one),
            Err(TryLockError::Poisoned(one)) => Ok(one.into_inner()),
            Err(TryLockError::WouldBlock) => Err(SnapshotError::UnderWay),
        }
    }
}

/// Whether an entry may be a snapshot. Those of other collections are in hidden directories.
fn is_shown(entry: &fs::DirEntry) -> bool {
    !entry.file_name().to_string_lossy().starts_with('.')
}

/// Describes a directory that may be a snapshot.
fn of(dir: &Path) -> Option<Snapshot> {
    let name = dir.file_name()?.to_str()?;
    let whole = name.strip_suffix(PARTIAL);
    let files: Vec<fs::Metadata> =
        fs::read_dir(dir).ok()?.flatten().filter_map(|file| file.metadata().ok()).collect();
    let made = dir.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Snapshot {
        name: whole.unwrap_or(name).to_owned(),
        done: whole.is_none(),
        bytes: files.iter().map(fs::Metadata::len).sum(),
        at: made.as_secs(),
    })
}

#[cfg(test)]
mod tests {
    use dhih_index::{CodeSet, Codes, IndexBuilder};

    use super::*;
    use crate::items::{Access, Opening};

    /// The name is checked before the lock is taken. The bug: the second of two requests failed when it renamed its copy, which stayed.
    #[test]
    fn of_two_snapshots_of_one_name_the_second_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (index, all) = (dir.path().join("index"), dir.path().join("snapshots"));
        let set = CodeSet::new(Codes::new(8, vec![1, 2]).unwrap());
        IndexBuilder::default().build(&set, &index).unwrap();
        let opening = Opening {
            dir: &index,
            model_sha256: None,
            access: Access::Writable,
            catalogue: None,
            makes_catalogue: false,
        };
        let items = Arc::new(LocalItems::open(opening, |_| Ok(())).unwrap());
        let snapshots = Snapshots::new(Some(all));
        let [first, second] = [(); 2].map(|()| snapshots.name(Some("one".into())).unwrap());
        assert!(snapshots.make(&items, &first).unwrap().done);
        assert!(matches!(snapshots.make(&items, &second), Err(SnapshotError::Exists)));
        let listed: Vec<_> = snapshots.list().unwrap().into_iter().map(|one| one.done).collect();
        assert_eq!(listed, [true]);
    }
}
