//! Detects whether a path still leads to the same file or directory, and whether a file was changed: notices a link that was moved, a
//! directory that was recreated, and a file that was written or replaced.

use std::{io, path::Path, time::SystemTime};

/// The identity of a file or directory. Two paths with equal identities lead to the same file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
    #[cfg(not(unix))]
    path: std::path::PathBuf,
}

impl FileIdentity {
    /// The identity of the file or directory at `path`; links are followed.
    ///
    /// # Errors
    /// When nothing is there, or its metadata cannot be read.
    #[cfg(unix)]
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path)?;
        Ok(Self { device_and_inode: (metadata.dev(), metadata.ino()) })
    }

    /// The identity of the file or directory at `path`; links are followed.
    ///
    /// # Errors
    /// When nothing is there, or its metadata cannot be read.
    #[cfg(not(unix))]
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        path.canonicalize().map(|path| Self { path })
    }
}

/// The state of a file at one moment, without its content. Equal states mean the same file, not written in between.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileState {
    identity: FileIdentity,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl FileState {
    /// The state of the file at `path`; links are followed. `None` where nothing is there, or its metadata cannot be read.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let identity = FileIdentity::of(path).ok()?;
        Some(Self { identity, bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}
