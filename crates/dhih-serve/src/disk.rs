//! What more than one part does with directories.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes what was done to the entries of a directory last through a loss of power, where the system lets directories be opened.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(dir)?.sync_all(),
        false => Ok(()),
    }
}
