//! The directory of a follower's copy, and how a snapshot replaces the copy. A snapshot is prepared in a hidden directory beside the copy
//! and moved into place by renaming. An interruption at any point therefore leaves either the old copy or the new one, complete.
//!
//! ```text
//! .NAME.taking   a snapshot that is being fetched
//! .NAME.taken    a complete snapshot
//! .NAME.before   the old copy, until the new one is served
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{remove_directory, sync_directory};
use crate::{Error, Result};

/// The directory of a copy, and the hidden directories beside it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    dir: PathBuf,
    taking: PathBuf,
    taken: PathBuf,
    before: PathBuf,
    /// Syncs a directory. Tests replace it, because a disk does not fail on demand.
    sync: fn(&Path) -> io::Result<()>,
}

impl Place {
    /// The directories for the copy in `dir`.
    ///
    /// # Errors
    /// When the path has no last component.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let name = dir.file_name().ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path has no name");
            Error::Input { path: dir.to_owned(), source }
        })?;
        let beside =
            |state: &str| dir.with_file_name(format!(".{}.{state}", name.to_string_lossy()));
        Ok(Self {
            dir: dir.to_owned(),
            taking: beside("taking"),
            taken: beside("taken"),
            before: beside("before"),
            sync: sync_directory,
        })
    }

    /// Completes a replacement that was interrupted. Returns whether there is a copy.
    ///
    /// # Errors
    /// When a directory cannot be renamed.
    pub(crate) fn recover(&self) -> Result<bool> {
        if is_there(&self.dir) {
            return Ok(true);
        }
        for whole in [&self.taken, &self.before] {
            if is_there(whole) {
                self.rename(whole, &self.dir)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The directory for a snapshot that is being fetched.
    pub(super) fn taking(&self) -> &Path {
        &self.taking
    }

    /// Replaces the copy by the snapshot, which must be complete and on disk.
    ///
    /// # Errors
    /// When a directory cannot be renamed, synced or removed. The old copy is then still in place.
    pub(crate) fn put(&self) -> Result<()> {
        self.remove(&self.taken)?;
        self.remove(&self.before)?;
        self.rename(&self.taking, &self.taken)?;
        // A renaming may have happened although it is reported as failed, because the sync after it has failed.
        self.exchange().inspect_err(|_| {
            if let Err(error) = self.take_back() {
                tracing::error!(%error, "the old copy is not in its place; the next start completes the replacement");
            }
        })
    }

    fn exchange(&self) -> Result<()> {
        if is_there(&self.dir) {
            self.rename(&self.dir, &self.before)?;
        }
        self.rename(&self.taken, &self.dir)
    }

    /// Puts the old copy back into its place, wherever [`put`](Self::put) has stopped. Does nothing if there was none.
    ///
    /// # Errors
    /// When a directory cannot be renamed or removed.
    pub(crate) fn take_back(&self) -> Result<()> {
        if !is_there(&self.before) {
            return Ok(());
        }
        let failed = |source| Error::written(&self.dir, source);
        if is_there(&self.dir) {
            self.remove(&self.taken)?;
            fs::rename(&self.dir, &self.taken).map_err(failed)?;
        }
        fs::rename(&self.before, &self.dir).map_err(failed)?;
        self.remove(&self.taken)?;
        // After a loss of power there is either of the two copies, so a sync that fails loses nothing.
        if let Err(error) = (self.sync)(self.parent()) {
            tracing::warn!(%error, dir = %self.dir.display(), "the directory of the copy could not be synced");
        }
        Ok(())
    }

    /// Removes the hidden directories once the new copy is served.
    pub(crate) fn tidy(&self) {
        for dir in [&self.before, &self.taken] {
            if let Err(error) = self.remove(dir) {
                tracing::warn!(%error, "what a snapshot took the place of stays for now");
            }
        }
    }

    /// Removes a partly fetched snapshot.
    pub(super) fn give_up(&self) {
        if let Err(error) = self.remove(&self.taking) {
            tracing::warn!(%error, "a part of a snapshot stays for now");
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let renamed = fs::rename(from, to).and_then(|()| (self.sync)(self.parent()));
        renamed.map_err(|source| Error::written(to, source))
    }

    fn parent(&self) -> &Path {
        let parent = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new("."))
    }

    fn remove(&self, dir: &Path) -> Result<()> {
        remove_directory(dir).map_err(|source| Error::written(dir, source))
    }
}

fn is_there(dir: &Path) -> bool {
    dir.symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(dir: &Path, content: &str) {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("file"), content).unwrap();
    }

    fn content(dir: &Path) -> String {
        fs::read_to_string(dir.join("file")).unwrap()
    }

    #[test]
    fn a_snapshot_takes_the_place_of_a_copy_and_goes_again() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("copy");
        let place = Place::new(&dir).unwrap();
        assert!(!place.recover().unwrap());
        made(place.taking(), "1");
        place.put().unwrap();
        assert_eq!(content(&dir), "1");
        made(place.taking(), "2");
        place.put().unwrap();
        assert_eq!(content(&dir), "2");
        place.take_back().unwrap();
        assert_eq!(content(&dir), "1");
        made(place.taking(), "3");
        place.put().unwrap();
        place.tidy();
        assert_eq!(content(&dir), "3");
        let left: Vec<_> = fs::read_dir(parent.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn an_interruption_between_two_renamings_loses_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("copy");
        let place = Place::new(&dir).unwrap();
        made(&place.before, "old");
        assert!(place.recover().unwrap());
        assert_eq!(content(&dir), "old");
        fs::rename(&dir, &place.before).unwrap();
        made(&place.taken, "new");
        made(place.taking(), "half");
        assert!(place.recover().unwrap());
        assert_eq!(content(&dir), "new", "what is whole comes first, and what is not whole never");
    }

    /// A directory whose sync fails may have been changed nevertheless: the old copy was then moved away and not served any more.
    #[test]
    fn the_old_copy_stays_in_place_whichever_sync_fails() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static UNTIL_FAILURE: AtomicUsize = AtomicUsize::new(0);
        fn sync(_: &Path) -> io::Result<()> {
            match UNTIL_FAILURE.fetch_sub(1, Ordering::Relaxed) {
                0 => Err(io::Error::other("the disk fails")),
                _ => Ok(()),
            }
        }
        for succeeding in 0..3 {
            let parent = tempfile::tempdir().unwrap();
            let dir = parent.path().join("copy");
            let place = Place { sync, ..Place::new(&dir).unwrap() };
            made(&dir, "old");
            made(place.taking(), "new");
            UNTIL_FAILURE.store(succeeding, Ordering::Relaxed);
            assert!(place.put().is_err(), "{succeeding} syncs succeed");
            assert_eq!(content(&dir), "old", "{succeeding} syncs succeed");
            // The next attempt is not hindered by what the failed one has left.
            place.give_up();
            made(place.taking(), "new");
            UNTIL_FAILURE.store(usize::MAX, Ordering::Relaxed);
            place.put().unwrap();
            assert_eq!(content(&dir), "new");
        }
    }

    #[test]
    fn a_path_without_a_name_is_refused() {
        assert!(Place::new(Path::new("/")).is_err());
        assert!(Place::new(Path::new("..")).is_err());
    }
}
