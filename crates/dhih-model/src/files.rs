//! What all files of this crate share: writing a file that is never seen half-written, digests as text, and recognising Git LFS pointers.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file that appears under its name only when it is complete and on disk: first under the hidden name `.NAME.tmp` in the same folder.
/// Of a symbolic link, the file that it names is replaced. A device or a pipe gets the bytes as they come.
///
/// # Errors
/// When the file cannot be written. An older one is then still there, and the temporary file is removed, because the disk may be full.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let linked = match fs::metadata(path) {
        // A rename would put a file in the place of the device or the pipe.
        Ok(found) if !found.is_file() && !found.is_dir() => {
            let device = File::options().write(true).open(path);
            return device.and_then(|mut device| device.write_all(bytes)).map_err(Error::io(path));
        }
        Ok(_) if path.is_symlink() => Some(fs::canonicalize(path).map_err(Error::io(path))?),
        _ => None,
    };
    let path = linked.as_deref().unwrap_or(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(Error::io(&temporary))
        .and_then(|()| fs::rename(&temporary, path).map_err(Error::io(path)));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Whether bytes are a Git LFS pointer: the text that stands in place of a large file until it is fetched.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs.github.com/spec/")
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.html");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // A folder of that name cannot be replaced by a file.
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(matches!(write_atomically(&folder, b"new"), Err(Error::Io { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    /// `--out /dev/stdout` once put a file in the place of the device, and a link to a file became a file of its own.
    #[cfg(unix)]
    #[test]
    fn a_device_and_a_link_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let [device, file, link] = ["device", "file", "link"].map(|name| dir.path().join(name));
        std::os::unix::fs::symlink("/dev/null", &device).unwrap();
        write_atomically(&device, b"bytes").unwrap();
        assert_eq!(fs::read_link(&device).unwrap(), Path::new("/dev/null"));
        fs::write(&file, b"old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
    }
}
