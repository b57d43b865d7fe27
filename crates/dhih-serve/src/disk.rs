//! Operations on directories that several modules need.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Syncs the entries of a directory, so that files created, renamed or removed in it survive a loss of power. Does nothing on systems that
/// cannot open directories.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(dir)?.sync_all(),
        false => Ok(()),
    }
}

/// Removes a directory with everything in it. A directory that does not exist counts as removed.
pub(crate) fn remove_directory(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
