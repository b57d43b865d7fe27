//! What each system does in a way of its own: files at a place, and links to folders. Nothing else in this crate asks which system it is
//! on, except for the processor and the allocator.

use std::fs::File;
use std::io;
use std::path::Path;

/// Reads all of `bytes` at a place of a file, whatever others read of it meanwhile.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

/// Writes all of `bytes` at a place of a file.
#[cfg(unix)]
pub(crate) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

/// Reads all of `bytes` at a place of a file, whatever others read of it meanwhile.
#[cfg(windows)]
pub(crate) fn read_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        match file.seek_read(bytes, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => (bytes, at) = (&mut bytes[read..], at + read as u64),
        }
    }
    Ok(())
}

/// Writes all of `bytes` at a place of a file.
#[cfg(windows)]
pub(crate) fn write_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        let written = file.seek_write(bytes, at)?;
        (bytes, at) = (&bytes[written..], at + written as u64);
    }
    Ok(())
}

/// Makes a link to a folder, whose path is relative to that of the link.
#[cfg(unix)]
pub(crate) fn link_to_folder(folder: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(folder, link)
}

/// Makes a link to a folder, whose path is relative to that of the link. Windows allows it in its developer mode, and to administrators.
#[cfg(windows)]
pub(crate) fn link_to_folder(folder: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_dir(folder, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_and_read_at_any_place() {
        let dir = tempfile::tempdir().unwrap();
        let file =
            File::options().create_new(true).read(true).write(true).open(dir.path().join("f"));
        let file = file.unwrap();
        write_at(&file, b"defg", 3).unwrap();
        write_at(&file, b"abc", 0).unwrap();
        let mut bytes = [0; 5];
        read_at(&file, &mut bytes, 1).unwrap();
        assert_eq!(&bytes, b"bcdef");
        let error = read_at(&file, &mut bytes, 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
