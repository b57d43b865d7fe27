//! What Git LFS leaves in place of a large file until it is fetched: a short text. Readers name it, so that nobody takes the file for a
//! damaged one. The formats of the files themselves: `io/` and `store/`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

const BEGIN: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What a reader says of such a file.
pub(crate) const REASON: &str =
    "a Git LFS pointer is there in place of the file; `git lfs pull` fetches it";

/// Whether bytes are a pointer.
pub(crate) fn is_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(BEGIN)
}

/// Whether a file is a pointer. A file that cannot be read is none: its reader reports it.
pub(crate) fn is_pointer_file(path: &Path) -> bool {
    let mut begin = [0; BEGIN.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && is_pointer(&begin)
}
