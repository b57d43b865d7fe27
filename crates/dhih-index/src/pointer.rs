//! Git LFS pointers: short texts in place of large files that were not fetched. Readers recognise them, so that users do not take the file
//! for damaged. `io/` and `store/` have the formats of the files themselves.

use std::fs::File;
use std::io::Read;
use std::path::Path;

const BEGIN: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The message of a reader that finds a pointer.
pub(crate) const REASON: &str =
    "a Git LFS pointer is there in place of the file; `git lfs pull` fetches it";

/// Whether bytes are a pointer.
pub(crate) fn is_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(BEGIN)
}

/// Whether a file is a pointer. A file that cannot be read does not count as one, since its reader reports the failure.
pub(crate) fn is_pointer_file(path: &Path) -> bool {
    let mut begin = [0; BEGIN.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && is_pointer(&begin)
}
