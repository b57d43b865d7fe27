//! The state of the files that a run was opened from, by which a reload recognises that nothing has changed and costs almost nothing.

use std::path::{Path, PathBuf};

use crate::file_identity::FileState;
use crate::run::coder::{Origin, TEXT_FILE};

/// The files of a run directory that are read when it is opened; some are optional.
const NAMES: [&str; 7] = [
    "model.safetensors",
    TEXT_FILE,
    "codes.safetensors",
    "queries.safetensors",
    "gallery.safetensors",
    "config.toml",
    "evaluation.json",
];

/// The state of the files of an origin at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OriginFiles {
    /// The canonical path of the run directory or codec.
    at: Option<PathBuf>,
    files: Vec<Option<FileState>>,
}

impl OriginFiles {
    /// The current state of the files. It is taken before they are read, so that the next reload notices a change in between.
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
