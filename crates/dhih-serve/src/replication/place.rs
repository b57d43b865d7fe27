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

use crate::disk::sync_directory;
use crate::{Error, Result};

/// The directory of a copy, and the hidden directories beside it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    dir: PathBuf,
    taking: PathBuf,
    taken: PathBuf,
    before: PathBuf,
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
    /// When a directory cannot be renamed or removed. The old copy is then still in place.
    pub(crate) fn put(&self) -> Result<()> {
        self.remove(&self.taken)?;
        self.remove(&self.before)?;
        self.rename(&self.taking, &self.taken)?;
        if is_there(&self.dir) {
            self.rename(&self.dir, &self.before)?;
        }
        let put = self.rename(&self.taken, &self.dir);
        put.inspect_err(|_| drop(fs::rename(&self.before, &self.dir)))
    }

    /// Undoes [`put`](Self::put), because the new copy cannot be served.
    ///
    /// # Errors
    /// When a directory cannot be renamed or removed.
    pub(crate) fn take_back(&self) -> Result<()> {
        self.remove(&self.taken)?;
        self.rename(&self.dir, &self.taken)?;
        self.rename(&self.before, &self.dir)?;
        self.remove(&self.taken)
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
        let parent = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let renamed = fs::rename(from, to);
        let synced = renamed.and_then(|()| sync_directory(parent.unwrap_or(Path::new("."))));
        synced.map_err(|source| Error::written(to, source))
    }

    fn remove(&self, dir: &Path) -> Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::written(dir, error))
            }
            _ => Ok(()),
        }
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

    #[test]
    fn a_path_without_a_name_is_refused() {
        assert!(Place::new(Path::new("/")).is_err());
        assert!(Place::new(Path::new("..")).is_err());
    }
}
