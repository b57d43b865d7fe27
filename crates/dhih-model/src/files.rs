//! What all files of this crate share: writing a file that is never seen half-written, digests as text, and recognising Git LFS pointers.

use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file that appears under its name only when it is complete.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = std::path::PathBuf::from(temporary);
    let mut file = std::fs::File::create(&temporary).map_err(Error::io(&temporary))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // The disk may be full: free the space of the incomplete file.
        let _ = std::fs::remove_file(&temporary);
        return Err(Error::io(&temporary)(error));
    }
    std::fs::rename(&temporary, path).map_err(Error::io(path))
}

/// Whether bytes are a Git LFS pointer: the text that stands in place of a large file until it is fetched.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs.github.com/spec/")
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
