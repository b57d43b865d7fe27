//! The pictures below a folder, by path. What cannot be read is listed and passed over; links are followed to files and not to folders,
//! which may lead in circles; pipes and devices are never opened.

use std::ffi::OsStr;
use std::fs::{DirEntry, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::import::Skipped;
use crate::{Error, Result};

/// The endings of files that are looked at.
const ENDINGS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Longer files are no pictures that could be used: 40 megapixels of 16 bits without compression have 240 MB.
const MAX_BYTES: u64 = 256 << 20;

/// A picture below the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FoundFile {
    /// Its path below the folder as text: see [`name_of`].
    pub(super) name: String,
    /// Its path below the folder.
    pub(super) path: PathBuf,
}

/// The pictures below `root`, by name, and what could not be looked at.
///
/// # Errors
/// The folder itself cannot be read.
pub(super) fn files(root: &Path) -> Result<(Vec<FoundFile>, Vec<Skipped>)> {
    let (mut found, mut skipped, mut folders) = (Vec::new(), Vec::new(), vec![PathBuf::new()]);
    while let Some(below) = folders.pop() {
        let here = root.join(&below);
        let entries = match std::fs::read_dir(&here) {
            Ok(entries) => entries,
            Err(source) if below.as_os_str().is_empty() => {
                return Err(Error::Input { path: here, source });
            }
            Err(error) => {
                skipped.push(Skipped::of(
                    name_of(&below),
                    format!("the folder cannot be read: {error}"),
                ));
                continue;
            }
        };
        for entry in entries {
            let looked = entry.and_then(|entry| look(&entry).map(|kind| (entry, kind)));
            match looked {
                Ok((entry, Kind::Folder)) => folders.push(below.join(entry.file_name())),
                Ok((entry, Kind::Picture)) => {
                    let path = below.join(entry.file_name());
                    found.push(FoundFile { name: name_of(&path), path });
                }
                Ok((_, Kind::Other)) => {}
                Err(error) => skipped.push(Skipped::of(
                    name_of(&below),
                    format!("an entry of the folder cannot be looked at: {error}"),
                )),
            }
        }
    }
    found.sort_unstable();
    Ok((found, skipped))
}

enum Kind {
    Folder,
    /// By its name; whether it is one, decoding tells.
    Picture,
    Other,
}

fn look(entry: &DirEntry) -> io::Result<Kind> {
    if entry.file_type()?.is_dir() {
        return Ok(Kind::Folder);
    }
    let path = entry.path();
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    let is_picture = ending.is_some_and(|ending| ENDINGS.contains(&&*ending));
    // A link to a folder that is named like a picture.
    Ok(if is_picture && !path.is_dir() { Kind::Picture } else { Kind::Other })
}

/// The bytes of a file, or why it is left out.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is a pipe or a device, not a file".into());
    }
    let too_long = || format!("it has more than {} MiB", MAX_BYTES >> 20);
    if metadata.len() > MAX_BYTES {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES { Err(too_long()) } else { Ok(bytes) }
}

/// A path as text, with `/` between its parts. Bytes that are no UTF-8 are written `\xFF`, and a backslash `\\`, so that no two paths have
/// the same text.
pub(super) fn name_of(path: &Path) -> String {
    path.iter().map(part_name).collect::<Vec<_>>().join("/")
}

fn part_name(part: &OsStr) -> String {
    let mut name = String::new();
    for chunk in part.as_encoded_bytes().utf8_chunks() {
        name += &chunk.valid().replace('\\', "\\\\");
        name.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_stay_apart() {
        assert_eq!(name_of(Path::new("a/b c/ä.png")), "a/b c/ä.png");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let name = |bytes: &[u8]| name_of(Path::new(OsStr::from_bytes(bytes)));
            assert_eq!(name(b"a/\xff\xfe.png"), "a/\\xFF\\xFE.png");
            assert_eq!(name(b"a/\\xFF\\xFE.png"), "a/\\\\xFF\\\\xFE.png");
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long.png");
        // It has no blocks on the disk.
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(read(&path).unwrap_err().contains("256 MiB"));
    }
}
