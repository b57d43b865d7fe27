//! `--from DIR`: a file found in a local directory, copied, and held to the manifest unless told otherwise.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::digest::Digest;
use super::manifest::{Dataset, FileEntry};

/// A local file that stands for one of the manifest's.
#[derive(Debug)]
pub(crate) struct LocalCopy(PathBuf);

impl LocalCopy {
    /// Looks in `directory` for the file's path, below the set's name, and for its bare name.
    pub(crate) fn find(directory: &Path, dataset: &Dataset, file: &FileEntry) -> Result<Self> {
        let bare = Path::new(&file.path).file_name().map(|name| directory.join(name));
        let places = [directory.join(&file.path), directory.join(&dataset.name).join(&file.path)];
        match places.into_iter().chain(bare).find(|place| place.is_file()) {
            Some(path) => Ok(Self(path)),
            None => bail!(
                "{}: no {} in it or in its folder {}",
                directory.display(),
                file.path,
                dataset.name
            ),
        }
    }

    /// Copies it to `to`. Bytes other than the manifest's are refused, unless `unverified`.
    pub(crate) fn bring(&self, file: &FileEntry, to: &Path, unverified: bool) -> Result<Digest> {
        let (found, expected) = (Digest::of_copy(&self.0, to)?, file.digest());
        if found == expected || unverified {
            return Ok(found);
        }
        bail!(
            "{}: expected {expected}; got {found}. Give the original file, or add --unverified to use these bytes: \
             every result made from them will say so",
            self.0.display(),
        )
    }
}
