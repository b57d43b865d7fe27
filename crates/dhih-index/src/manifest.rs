//! The manifest: which data file a directory's index consists of. Replacing it replaces the index.
//! The data file's bytes: `format.rs`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::error::{Error, Result};

/// Its name in the index directory.
pub(crate) const FILE: &str = "manifest.json";
const FORMAT: &str = "dhih-index";
const VERSION: u32 = 1;

/// The manifest, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: String,
    version: u32,
    segments: Vec<Entry>,
}

/// A data file of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its name in the directory.
    pub(crate) file: String,
    /// Its length.
    pub(crate) bytes: u64,
    /// The checksum of its header, in hexadecimal.
    pub(crate) xxh3: String,
}

impl Entry {
    /// The data file whose header has this checksum: its name follows from its content.
    pub(crate) fn new(bytes: u64, xxh3: u64) -> Self {
        Self { file: format!("segment-{xxh3:016x}.dhih"), bytes, xxh3: format!("{xxh3:016x}") }
    }
}

impl Manifest {
    pub(crate) fn new(segment: Entry) -> Self {
        Self { format: FORMAT.into(), version: VERSION, segments: vec![segment] }
    }

    /// The one data file.
    pub(crate) fn segment(&self, dir: &Path) -> Result<&Entry> {
        match &self.segments[..] {
            [segment] if *segment.file == *format!("segment-{}.dhih", segment.xxh3) => {
                let plain = segment.xxh3.bytes().all(|byte| byte.is_ascii_hexdigit());
                if plain { Ok(segment) } else { Err(corrupt(dir, "it names no data file")) }
            }
            [_] => Err(corrupt(dir, "it names no data file")),
            more => Err(corrupt(dir, &format!("it names {} data files, not one", more.len()))),
        }
    }

    /// Reads the manifest of a directory.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Error::NoIndex { dir: dir.to_path_buf() }
            }
            _ => Error::io("read", &path)(error),
        })?;
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|error| corrupt(dir, &error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(corrupt(dir, "it is no manifest of an index"));
        }
        if manifest.version != VERSION {
            return Err(Error::Version { path, found: manifest.version, supported: VERSION });
        }
        Ok(manifest)
    }

    /// Checks that the file holds exactly the bytes that this program writes for what it says.
    pub(crate) fn verify(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        if text == self.text().as_bytes() {
            return Ok(());
        }
        Err(corrupt(dir, "its bytes are not those that were written"))
    }

    /// Replaces the manifest of a directory.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        atomic_file::write(&dir.join(FILE), |out| out.write_all(self.text().as_bytes()))
    }

    #[expect(clippy::expect_used, reason = "texts and numbers always have a JSON form")]
    fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain fields") + "\n"
    }
}

fn corrupt(dir: &Path, what: &str) -> Error {
    Error::corrupt(&dir.join(FILE), what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    #[test]
    fn any_flip_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = Manifest::new(Entry::new(4096, 0x0123_4567_89ab_cdef));
        manifest.write(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), manifest);
        manifest.verify(dir.path()).unwrap();
        let text = fs::read(dir.path().join(FILE)).unwrap();
        let mut file = fs::File::options().write(true).open(dir.path().join(FILE)).unwrap();
        let mut poke = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        for (at, &byte) in text.iter().enumerate() {
            for bit in 0..8 {
                poke(at, byte ^ (1 << bit));
                // What still reads as a manifest either shows its bytes to be others, or names
                // another data file.
                let sound = Manifest::read(dir.path())
                    .and_then(|read| read.verify(dir.path()).map(|()| read))
                    .and_then(|read| read.segment(dir.path()).cloned());
                assert!(
                    sound.is_err() || sound.unwrap() != manifest.segments[0],
                    "byte {at} bit {bit}"
                );
            }
            poke(at, byte);
        }
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Manifest::read(dir.path()), Err(Error::NoIndex { .. })));
        let read = |text: &str| {
            fs::write(dir.path().join(FILE), text).unwrap();
            Manifest::read(dir.path()).and_then(|manifest| manifest.segment(dir.path()).cloned())
        };
        let good = r#"{"format":"dhih-index","version":1,
            "segments":[{"file":"segment-0a.dhih","bytes":1,"xxh3":"0a"}]}"#;
        assert!(read(good).is_ok());
        assert!(matches!(
            read(&good.replace("\"version\":1", "\"version\":2")),
            Err(Error::Version { .. })
        ));
        for (from, to) in [
            (good, ""),
            (good, "{}"),
            ("dhih-index", "other"),
            ("segment-0a", "segment-0b"),
            ("0a", "../0a"),
            ("[{", "[], \"more\": [{"),
            ("}]", "},{\"file\":\"\",\"bytes\":1,\"xxh3\":\"\"}]"),
        ] {
            assert!(matches!(read(&good.replace(from, to)), Err(Error::Corrupt { .. })), "{to}");
        }
    }
}
