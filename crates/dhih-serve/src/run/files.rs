//! Which files were opened beside the codes that are searched, so that a reload of what has not changed costs next to nothing.

use std::path::{Path, PathBuf};

use crate::file_identity::FileState;
use crate::run::coder::{Origin, TEXT_FILE};

/// The files of a run that are read when it is opened; some are optional.
const NAMES: [&str; 7] = [
    "model.safetensors",
    TEXT_FILE,
    "codes.safetensors",
    "queries.safetensors",
    "gallery.safetensors",
    "config.toml",
    "evaluation.json",
];

/// The files of an origin as they were at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OriginFiles {
    /// The run directory or codec, with all links resolved.
    at: Option<PathBuf>,
    files: Vec<Option<FileState>>,
}

impl OriginFiles {
    /// The files as they are now. Taken before they are read, so that a change in between is noticed by the next reload.
    pub(super) fn of(origin: &Origin) -> Self {
        let resolved = |path: &Path| path.canonicalize().ok();
        match origin {
            Origin::Run(dir) => Self {
                at: resolved(dir),
                files: NAMES.iter().map(|name| FileState::of(&dir.join(name))).collect(),
            },
            Origin::Model(path) => Self {
                at: resolved(path),
                files: vec![FileState::of(path), FileState::of(&path.with_file_name(TEXT_FILE))],
            },
            Origin::Codec(path) => Self { at: resolved(path), files: vec![FileState::of(path)] },
            Origin::Codes => Self { at: None, files: Vec::new() },
        }
    }
}
