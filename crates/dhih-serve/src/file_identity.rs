//! Which file or directory a path leads to, and whether it was changed since: a link that was moved, a directory that was made anew and a
//! file that was written or replaced are noticed.

use std::{io, path::Path, time::SystemTime};

/// The identity of a file or directory: two paths with the same one lead to the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
    #[cfg(not(unix))]
    path: std::path::PathBuf,
}

impl FileIdentity {
    /// Of what a path leads to; links are followed.
    ///
    /// # Errors
    /// There is nothing, or it may not be looked at.
    #[cfg(unix)]
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path)?;
        Ok(Self { device_and_inode: (metadata.dev(), metadata.ino()) })
    }

    /// Of what a path leads to; links are followed.
    ///
    /// # Errors
    /// There is nothing, or it may not be looked at.
    #[cfg(not(unix))]
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        path.canonicalize().map(|path| Self { path })
    }
}

/// A file as it was at one moment, without its content: two that are equal are of the same file, which was not written in between.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileState {
    identity: FileIdentity,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl FileState {
    /// Of what a path leads to; `None` where there is nothing, or it may not be looked at.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let identity = FileIdentity::of(path).ok()?;
        Some(Self { identity, bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}
