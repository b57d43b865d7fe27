//! Which files a run was opened from, so that a reload of what has not changed costs next to nothing.

use std::path::{Path, PathBuf};

use crate::file_identity::FileState;

/// The files of a run that are read when it is opened; some are optional.
const NAMES: [&str; 6] = [
    "model.safetensors",
    "codes.safetensors",
    "queries.safetensors",
    "gallery.safetensors",
    "config.toml",
    "evaluation.json",
];

/// The files of a run as they were at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RunFiles {
    /// The run directory, with all links resolved.
    dir: Option<PathBuf>,
    files: [Option<FileState>; NAMES.len()],
}

impl RunFiles {
    /// The files as they are now. Taken before they are read, so that a change in between is noticed by the next reload.
    pub(super) fn of(dir: &Path) -> Self {
        Self {
            dir: dir.canonicalize().ok(),
            files: NAMES.map(|name| FileState::of(&dir.join(name))),
        }
    }
}
