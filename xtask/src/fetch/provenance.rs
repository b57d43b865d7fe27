//! data/NAME/provenance.json: where a set's bytes came from and whether they are the manifest's. Training copies
//! `verified` and the checksums into every result.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::manifest::{Dataset, FileEntry};

/// The name of the file.
pub(crate) const FILE_NAME: &str = "provenance.json";

/// The origin of a set as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Provenance {
    pub(crate) name: String,
    /// Every file's bytes are those of the manifest.
    pub(crate) verified: bool,
    /// `hub:OWNER/REPO`, an address, or `directory:PATH` for a local copy.
    pub(crate) source: String,
    /// The pinned commit that the bytes are known to be of, else `unknown`.
    pub(crate) revision: String,
    pub(crate) files: Vec<Record>,
}

/// One file: what it is and what the manifest expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    pub(crate) expected_sha256: String,
}

impl Provenance {
    /// `from` is the local directory the files were copied from, if they were.
    pub(crate) fn new(dataset: &Dataset, from: Option<&Path>, files: Vec<Record>) -> Self {
        let verified = files.iter().all(Record::matches);
        let source = match from {
            Some(directory) => format!("directory:{}", directory.display()),
            None => dataset.source.describe(),
        };
        let revision = if verified { dataset.source.revision() } else { "unknown" };
        Self { name: dataset.name.clone(), verified, source, revision: revision.to_owned(), files }
    }

    /// The provenance in `directory`; `None` where there is none.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(FILE_NAME);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let read = serde_json::from_slice(&text);
        read.map(Some).with_context(|| format!("{}: not a provenance file", path.display()))
    }
}

impl Record {
    pub(crate) fn new(file: &FileEntry, found: Digest) -> Self {
        let expected_sha256 = file.sha256.clone();
        Self { path: file.path.clone(), size: found.size, sha256: found.sha256, expected_sha256 }
    }

    pub(crate) fn matches(&self) -> bool {
        self.sha256 == self.expected_sha256
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest { size: self.size, sha256: self.sha256.clone() }
    }
}
