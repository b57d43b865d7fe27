//! data/NAME/: what state a set is in, and changing it so that no half-written file ever has its final name. Files
//! are staged beside it and renamed together; the provenance goes first and comes back last, so it never vouches for
//! bytes it has not seen.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::digest::Digest;
use super::manifest::{Dataset, FileEntry};
use super::provenance::{FILE_NAME, Provenance};

/// What is on disk, as far as names, sizes and the provenance tell; [`Store::problems`] reads the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Absent,
    Incomplete,
    Unverified,
    Verified,
}

/// The directory of one dataset.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn state(&self, dataset: &Dataset) -> State {
        let size = |path: &str| fs::metadata(self.directory.join(path)).ok().map(|data| data.len());
        match Provenance::read(&self.directory) {
            Ok(Some(provenance))
                if provenance.files.iter().all(|file| size(&file.path) == Some(file.size)) =>
            {
                if provenance.verified {
                    State::Verified
                } else {
                    State::Unverified
                }
            }
            Ok(None) if dataset.files.iter().all(|file| size(&file.path).is_none()) => {
                State::Absent
            }
            _ => State::Incomplete,
        }
    }

    /// Reads every file; one line for each way in which the set differs from the manifest or its provenance.
    pub(crate) fn problems(&self, dataset: &Dataset) -> Vec<String> {
        let name = &dataset.name;
        let provenance = match Provenance::read(&self.directory) {
            Ok(Some(provenance)) => provenance,
            Ok(None) => return vec![format!("{name}: {FILE_NAME} is absent")],
            Err(error) => return vec![format!("{name}: {error:#}")],
        };
        let mut problems = Vec::new();
        for file in &dataset.files {
            let path = &file.path;
            let Some(record) = provenance.files.iter().find(|record| record.path == *path) else {
                problems.push(format!("{name}/{path}: {FILE_NAME} does not list it"));
                continue;
            };
            let expected = if provenance.verified { file.digest() } else { record.digest() };
            match Digest::of_file(&self.directory.join(path)) {
                Ok(found) if found == expected => {}
                Ok(found) => {
                    problems.push(format!("{name}/{path}: expected {expected}; got {found}"))
                }
                Err(error) => problems.push(format!("{name}/{path}: {error:#}")),
            }
        }
        problems
    }

    /// The digest of a file that is there already with the manifest's bytes.
    pub(crate) fn intact(&self, file: &FileEntry) -> Option<Digest> {
        let path = self.directory.join(&file.path);
        let same_size = fs::metadata(&path).is_ok_and(|data| data.len() == file.size);
        let found = if same_size { Digest::of_file(&path).ok() } else { None };
        found.filter(|found| *found == file.digest())
    }

    /// Starts a change; a second one at the same time is refused.
    pub(crate) fn begin(&self) -> Result<Change> {
        let directory = self.directory.clone();
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let lock_path = directory.join(".lock");
        let lock = File::create(&lock_path)
            .with_context(|| format!("cannot create {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("{}: another fetch-data is at work there", directory.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", lock_path.display()));
            }
        }
        let staging = directory.join(".staging");
        if staging.exists() {
            fs::remove_dir_all(&staging)
                .with_context(|| format!("cannot remove {}", staging.display()))?;
        }
        Ok(Change { directory, staging, staged: Vec::new(), _lock: lock })
    }
}

/// Files on their way in. Dropped without [`Change::commit`], it leaves the set as it was.
#[derive(Debug)]
pub(crate) struct Change {
    directory: PathBuf,
    staging: PathBuf,
    staged: Vec<String>,
    _lock: File,
}

impl Change {
    /// Where to write `file` for now.
    pub(crate) fn place(&mut self, file: &FileEntry) -> Result<PathBuf> {
        let path = self.staging.join(&file.path);
        create_parent(&path)?;
        self.staged.push(file.path.clone());
        Ok(path)
    }

    /// Whether no file is to be replaced.
    pub(crate) fn is_empty(&self) -> bool {
        self.staged.is_empty()
    }

    /// Gives all files their final names, the provenance last.
    pub(crate) fn commit(self, provenance: &Provenance) -> Result<()> {
        fs::create_dir_all(&self.staging)
            .with_context(|| format!("cannot create {}", self.staging.display()))?;
        let last = self.directory.join(FILE_NAME);
        let next = self.staging.join(FILE_NAME);
        let text =
            serde_json::to_string_pretty(provenance).context("cannot serialise the provenance")?;
        fs::write(&next, text + "\n")
            .with_context(|| format!("cannot write {}", next.display()))?;
        sync(&next)?;
        if !self.staged.is_empty() && last.exists() {
            fs::remove_file(&last).with_context(|| format!("cannot replace {}", last.display()))?;
        }
        for path in &self.staged {
            let target = self.directory.join(path);
            create_parent(&target)?;
            rename(&self.staging.join(path), &target)?;
        }
        rename(&next, &last)
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        // Left-overs are harmless: the next change removes them.
        let _ = fs::remove_dir_all(&self.staging);
    }
}

fn create_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))
}

fn sync(path: &Path) -> Result<()> {
    // Windows syncs no file that was opened for reading.
    let synced = File::options().write(true).open(path).and_then(|file| file.sync_all());
    synced.with_context(|| format!("cannot write {}", path.display()))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot write {}", to.display()))
}
