//! The origin of a dataset's files: `provenance.json`, which `cargo xtask fetch-data` writes beside them.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The parts of `provenance.json` that matter for results. The default is that of unverified files.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Provenance {
    verified: bool,
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
struct File {
    path: PathBuf,
    sha256: String,
}

impl Provenance {
    /// Reads `dir/provenance.json`; without one nothing is verified.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("provenance.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::Data {
                path,
                reason: error.to_string(),
                cure: "run `cargo xtask fetch-data` again".to_owned(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }

    /// Whether `files`, relative to `dir`, are the published ones. Files that changed since they were fetched are an error.
    pub(super) fn is_verified(&self, dir: &Path, files: &[PathBuf]) -> Result<bool> {
        let mut verified = self.verified;
        for file in files {
            let Some(known) = self.files.iter().find(|known| known.path == *file) else {
                verified = false;
                continue;
            };
            let path = dir.join(file);
            let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
            let found = dhih_index::to_hex(&Sha256::digest(&bytes));
            if found != known.sha256 {
                let reason = format!("sha256 is {found}, it was fetched with {}", known.sha256);
                let cure = "the file changed: run `cargo xtask fetch-data` again".to_owned();
                return Err(Error::Data { path, reason, cure });
            }
        }
        Ok(verified)
    }
}
