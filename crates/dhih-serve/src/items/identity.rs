//! Which file or directory a path leads to, so that a link that was moved, or a directory that was made anew, is noticed.

use std::{io, path::Path};

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
