//! The manifest: which data files and which log a directory's index consists of. Replacing it replaces the index. Their bytes:
//! `format.rs`, `log.rs`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::search::plan::Profile;
use crate::store::disk;

/// Its name in the index directory.
pub(crate) const FILE: &str = "manifest.json";
const FORMAT: &str = "dhih-index";
const VERSION: u32 = 2;
/// The oldest version that is read.
const OLDEST: u32 = 1;

/// The manifest, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: String,
    version: u32,
    segments: Vec<Entry>,
    /// The log of changes since they were written; absent where there were none, and in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// The checksum of segments and log as compact JSON; absent in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xxh3: Option<String>,
}

/// A data file of the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its name in the directory.
    pub(crate) file: String,
    /// Its length.
    pub(crate) bytes: u64,
    /// The checksum of its header, in hexadecimal.
    pub(crate) xxh3: String,
    /// What its codes are like; absent where there are none, and in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<Profile>,
}

impl Entry {
    /// The data file whose header has this checksum: its name follows from its content.
    pub(crate) fn new(bytes: u64, xxh3: u64) -> Self {
        let file = format!("segment-{xxh3:016x}.dhih");
        Self { file, bytes, xxh3: format!("{xxh3:016x}"), profile: None }
    }
}

impl Manifest {
    /// Of these data files and the log of this number.
    pub(crate) fn new(segments: Vec<Entry>, log: Option<u64>) -> Self {
        let log = log.map(|number| format!("log-{number}.dhih"));
        let xxh3 = Some(checksum(&segments, log.as_deref()));
        Self { format: FORMAT.into(), version: VERSION, segments, log, xxh3 }
    }

    /// The data files, one at least.
    pub(crate) fn segments(&self, dir: &Path) -> Result<&[Entry]> {
        let named = |segment: &Entry| {
            let plain = segment.xxh3.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain && *segment.file == *format!("segment-{}.dhih", segment.xxh3)
        };
        match &self.segments[..] {
            [] => Err(corrupt(dir, "it names no data file")),
            segments if !segments.iter().all(named) => Err(corrupt(dir, "it names no data file")),
            segments if self.version == 1 && segments.len() > 1 => {
                Err(corrupt(dir, &format!("it names {} data files, not one", segments.len())))
            }
            segments => Ok(segments),
        }
    }

    /// The number and the name of the log.
    pub(crate) fn log(&self, dir: &Path) -> Result<Option<(u64, &str)>> {
        let Some(name) = self.log.as_deref() else { return Ok(None) };
        let number = name.strip_prefix("log-").and_then(|name| name.strip_suffix(".dhih"));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        let number = number.filter(|number| *name == *format!("log-{number}.dhih"));
        number.map(|number| Some((number, name))).ok_or_else(|| corrupt(dir, "it names no log"))
    }

    /// Whether it names this file.
    pub(crate) fn names(&self, file: &str) -> bool {
        self.log.as_deref() == Some(file) || self.segments.iter().any(|entry| entry.file == file)
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
        if !(OLDEST..=VERSION).contains(&manifest.version) {
            return Err(Error::Version { path, found: manifest.version, supported: VERSION });
        }
        let expected =
            (manifest.version > 1).then(|| checksum(&manifest.segments, manifest.log.as_deref()));
        if manifest.xxh3 != expected {
            return Err(corrupt(dir, "its checksum is wrong"));
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
        disk::write(&dir.join(FILE), |out| out.write_all(self.text().as_bytes()))
    }

    #[expect(clippy::expect_used, reason = "texts and numbers always have a JSON form")]
    fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain fields") + "\n"
    }
}

#[expect(clippy::expect_used, reason = "texts and numbers always have a JSON form")]
fn checksum(segments: &[Entry], log: Option<&str>) -> String {
    format!("{:016x}", xxh3_64(&serde_json::to_vec(&(segments, log)).expect("plain fields")))
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
        let profile = Profile { distances: [0.5, 1.0, 2.25, 3.0], bucket_codes: [9.5, 3.0, 1.0] };
        let entry = Entry::new(4096, 0x0123_4567_89ab_cdef);
        let manifest = Manifest::new(vec![Entry { profile: Some(profile), ..entry }], Some(3));
        assert_eq!(manifest.log(dir.path()).unwrap(), Some((3, "log-3.dhih")));
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
                    .and_then(|read| read.segments(dir.path()).map(<[Entry]>::to_vec));
                assert!(
                    sound.is_err() || sound.unwrap() != manifest.segments,
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
            Manifest::read(dir.path())
                .and_then(|manifest| manifest.segments(dir.path()).map(<[Entry]>::to_vec))
        };
        let good = r#"{"format":"dhih-index","version":1,
            "segments":[{"file":"segment-0a.dhih","bytes":1,"xxh3":"0a"}]}"#;
        assert!(read(good).is_ok());
        assert!(matches!(
            read(&good.replace("\"version\":1", "\"version\":3")),
            Err(Error::Version { .. })
        ));
        for (from, to) in [
            (good, ""),
            (good, "{}"),
            ("\"version\":1", "\"version\":2"),
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
