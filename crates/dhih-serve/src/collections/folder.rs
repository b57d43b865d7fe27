//! The folder of the collections: each collection has a directory of its name. The files in it determine the kind of the collection:
//!
//! ```text
//! NAME/model.safetensors, codes.safetensors, ..., index/   a run of dhih-train
//! NAME/model.safetensors, index/                           a model alone, which makes codes of pictures
//! NAME/codec.safetensors, index/                           a codec, which makes codes of vectors
//! NAME/index/                                              codes alone
//! NAME/                                                    an index, as dhih-index build writes it: codes alone
//! ```
//!
//! A directory is created and removed under a hidden name, so that an interruption never leaves a part of a collection. Hidden entries are
//! not collections. Neither is a link to another entry of the folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::CollectionName;
use crate::disk::sync_directory;
use crate::items::Access;
use crate::run::coder::Origin;
use crate::run::source::{Served, Source};
use crate::{Error, Result};

/// The prefixes of directories that are being created or removed.
const MAKING: &str = ".making-";
const REMOVING: &str = ".removing-";

/// A folder of collections.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    access: Access,
}

impl Folder {
    /// Opens the folder, and creates it if it is missing. Removes what interrupted operations have left.
    ///
    /// # Errors
    /// When the directory cannot be created or read.
    pub(crate) fn open(dir: PathBuf, access: Access) -> Result<Self> {
        let folder = Self { dir, access };
        if access == Access::Writable {
            fs::create_dir_all(&folder.dir).map_err(|source| folder.failed(source))?;
            for entry in folder.entries()? {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with(MAKING) || name.starts_with(REMOVING) {
                    fs::remove_dir_all(entry.path()).map_err(|source| folder.failed(source))?;
                }
            }
        }
        Ok(folder)
    }

    /// The names of the collections. In the folder of a follower, a directory without an index is none yet.
    ///
    /// # Errors
    /// When the directory cannot be read, or an entry has a name that is not valid for a collection.
    pub(crate) fn names(&self) -> Result<Vec<CollectionName>> {
        let mut names = Vec::new();
        for entry in self.entries()? {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            // A link counts as its target, unless the target is another entry of this folder. `latest`, which training creates, is such a
            // link.
            if name.starts_with('.') || !path.is_dir() || self.is_second_name(&entry) {
                continue;
            }
            if self.access == Access::Follower && !path.join("index").exists() {
                tracing::warn!(dir = %path.display(), "there is no copy of a collection here yet: it is not served");
                continue;
            }
            let named = name.parse();
            names.push(named.map_err(|reason| Error::NotACollection {
                path: path.clone(),
                reason: format!("{name:?} is no name of a collection: {reason}"),
            })?);
        }
        names.sort();
        Ok(names)
    }

    /// Whether an entry is a link to another entry of this folder.
    fn is_second_name(&self, entry: &fs::DirEntry) -> bool {
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let canonical = |path: &Path| path.canonicalize().ok();
        is_link
            && canonical(&entry.path()).is_some_and(|target| {
                target.parent().map(Path::to_path_buf) == canonical(&self.dir)
            })
    }

    /// The origin and source of a collection, by its files.
    pub(crate) fn served(&self, name: &CollectionName) -> Served {
        let dir = self.path(name);
        let has = |file: &str| dir.join(file).symlink_metadata().is_ok();
        let origin = if has(MODEL) && has("codes.safetensors") {
            Origin::Run(dir.clone())
        } else if has(MODEL) {
            Origin::Model(dir.join(MODEL))
        } else if has(CODEC) {
            Origin::Codec(dir.join(CODEC))
        } else {
            Origin::Codes
        };
        let index = if has("index") || origin != Origin::Codes { dir.join("index") } else { dir };
        Served { origin, source: Source::Index { dir: index, access: self.access } }
    }

    /// Creates a collection: `fill` writes its directory, which has a hidden name until it is complete.
    ///
    /// # Errors
    /// The errors of `fill`; when the disk is full or fails. In either case there is no collection.
    pub(crate) fn make(
        &self,
        name: &CollectionName,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let making = self.dir.join(format!("{MAKING}{name}"));
        let made = self.make_at(&making, name, fill);
        if made.is_err() {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_dir_all(&making);
        }
        made
    }

    fn make_at(
        &self,
        making: &Path,
        name: &CollectionName,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let failed = |source| self.failed(source);
        fs::create_dir(making).map_err(failed)?;
        fill(making)?;
        sync_directory(making).map_err(failed)?;
        fs::rename(making, self.path(name)).map_err(failed)?;
        sync_directory(&self.dir).map_err(failed)
    }

    /// Removes a collection, or the link to one. When this returns, the next start will not find it.
    ///
    /// # Errors
    /// When the directory cannot be removed.
    pub(crate) fn remove(&self, name: &CollectionName) -> Result<()> {
        let failed = |source| self.failed(source);
        let path = self.path(name);
        if path.symlink_metadata().map_err(failed)?.is_symlink() {
            fs::remove_file(&path).map_err(failed)?;
            return sync_directory(&self.dir).map_err(failed);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let hidden = self.dir.join(format!("{REMOVING}{name}-{}", since.as_nanos()));
        fs::rename(&path, &hidden).map_err(failed)?;
        sync_directory(&self.dir).map_err(failed)?;
        // If removing the files fails, the next start removes them.
        fs::remove_dir_all(&hidden).or_else(|error| {
            tracing::warn!(%error, path = %hidden.display(), "files of a removed collection stay until the next start");
            Ok(())
        })
    }

    /// What the collections are opened for. Only in a writable folder can they be created and removed.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// Whether an entry with this name exists.
    pub(crate) fn has(&self, name: &CollectionName) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    fn path(&self, name: &CollectionName) -> PathBuf {
        self.dir.join(name.as_str())
    }

    fn entries(&self) -> Result<Vec<fs::DirEntry>> {
        let entries = fs::read_dir(&self.dir).and_then(Iterator::collect);
        entries.map_err(|source| Error::Input { path: self.dir.clone(), source })
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::written(&self.dir, source)
    }
}

/// The names of the files that determine the kind of a collection.
pub(super) const MODEL: &str = "model.safetensors";
pub(super) const CODEC: &str = "codec.safetensors";
