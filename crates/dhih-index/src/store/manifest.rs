//! The manifest: which segments and which write-ahead log a directory's index consists of, which index it is, and how often it was
//! replaced. Replacing the manifest replaces the index. The bytes of the files that it names: `format.rs`, `wal/`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::pointer;
use crate::search::profile::Profile;
use crate::store::disk;
use crate::store::format::{self, Origin};

/// Its name in the index directory.
pub(crate) const FILE: &str = "manifest.json";
const FORMAT: &str = "dhih-index";
const VERSION: u32 = 3;
/// The oldest version that is read.
const OLDEST: u32 = 1;
/// The greatest possible generation. No index is replaced that often, so a greater number is damage, and adding to it could overflow.
const GREATEST_GENERATION: u64 = u64::MAX >> 1;

/// The fields that every version of the manifest has. They are read before anything else, so that a newer version can be told from damage.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
    #[serde(default)]
    features_required: u32,
}

/// The manifest, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: String,
    version: u32,
    /// The identity of the index in hexadecimal; absent before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// How often the manifest was replaced; absent before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    /// Features that a reader must know. Absent before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    features_required: Option<u32>,
    /// Features that a reader may ignore; none are defined yet. Absent before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    features_ignorable: Option<u32>,
    segments: Vec<Entry>,
    /// The write-ahead log of the changes since the segments were written; absent where there were none, and in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// The checksum of what stands before it as compact JSON; absent in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xxh3: Option<String>,
    /// Fields of features that this program does not know and may ignore.
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
    /// Whether the file holds exactly the bytes that this program writes for it.
    #[serde(skip)]
    exact: bool,
}

/// A segment of the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its name in the directory.
    pub(crate) file: String,
    /// Its length.
    pub(crate) bytes: u64,
    /// The checksum of its header, in hexadecimal.
    pub(crate) xxh3: String,
    /// The statistics of its codes; absent if there are none, and in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<Profile>,
}

impl Entry {
    /// The segment whose header has this checksum: its name follows from its content.
    pub(crate) fn new(bytes: u64, xxh3: u64) -> Self {
        let file = format!("segment-{xxh3:016x}.dhih");
        Self { file, bytes, xxh3: format!("{xxh3:016x}"), profile: None }
    }
}

/// The name of the write-ahead log that was begun for a generation.
pub(crate) fn log_name(generation: u64) -> String {
    format!("log-{generation}.dhih")
}

impl Manifest {
    /// The manifest of an index with these segments, whose readers must know `features`, and with the log that was begun for the generation
    /// `log`.
    pub(crate) fn new(
        features: u32,
        origin: Origin,
        segments: Vec<Entry>,
        log: Option<u64>,
    ) -> Self {
        let mut manifest = Self {
            format: FORMAT.into(),
            version: VERSION,
            id: Some(format!("{:032x}", origin.id)),
            generation: Some(origin.generation),
            features_required: Some(features),
            features_ignorable: Some(0),
            segments,
            log: log.map(log_name),
            xxh3: None,
            unknown: BTreeMap::new(),
            exact: true,
        };
        manifest.xxh3 = manifest.checksum();
        manifest
    }

    /// Which index it is, and its generation; zeros before version 3.
    pub(crate) fn origin(&self, dir: &Path) -> Result<Origin> {
        let Some(text) = &self.id else { return Ok(Origin::default()) };
        let id = u128::from_str_radix(text, 16).ok().filter(|id| *text == format!("{id:032x}"));
        let may_be = |generation: &u64| self.version >= 3 && *generation <= GREATEST_GENERATION;
        let generation = self.generation.filter(may_be);
        match (id, generation) {
            (Some(id), Some(generation)) => Ok(Origin { id, generation }),
            _ => Err(corrupt(dir, "it does not name the index and its generation")),
        }
    }

    /// The features that a reader must know.
    pub(crate) fn features(&self) -> u32 {
        self.features_required.unwrap_or(0)
    }

    /// The segments, one at least.
    pub(crate) fn segments(&self, dir: &Path) -> Result<&[Entry]> {
        let named = |segment: &Entry| {
            let plain = segment.xxh3.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain && *segment.file == *format!("segment-{}.dhih", segment.xxh3)
        };
        match &self.segments[..] {
            [] => Err(corrupt(dir, "it names no segment")),
            segments if !segments.iter().all(named) => Err(corrupt(dir, "it names no segment")),
            segments if self.version == 1 && segments.len() > 1 => {
                Err(corrupt(dir, &format!("it names {} segments, not one", segments.len())))
            }
            segments => Ok(segments),
        }
    }

    /// The number and the name of the log.
    pub(crate) fn log(&self, dir: &Path) -> Result<Option<(u64, &str)>> {
        let Some(name) = self.log.as_deref() else { return Ok(None) };
        let number = name.strip_prefix("log-").and_then(|name| name.strip_suffix(".dhih"));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        let number = number.filter(|number| *name == *log_name(*number));
        number.map(|number| Some((number, name))).ok_or_else(|| corrupt(dir, "it names no log"))
    }

    /// Whether it names this file.
    pub(crate) fn names(&self, file: &str) -> bool {
        self.log.as_deref() == Some(file) || self.segments.iter().any(|entry| entry.file == file)
    }

    /// Reads the manifest of a directory.
    ///
    /// # Errors
    /// No manifest; one of a newer version or with features that are not known; one that is damaged.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Error::NoIndex { dir: dir.to_path_buf() }
            }
            _ => Error::io("read", &path)(error),
        })?;
        if pointer::is_pointer(&text) {
            return Err(corrupt(dir, pointer::REASON));
        }
        let no_json = |error: serde_json::Error| corrupt(dir, &error.to_string());
        let head: Head = serde_json::from_slice(&text).map_err(no_json)?;
        if head.format != FORMAT {
            return Err(corrupt(
                dir,
                &format!("its `format` is {:?}, not {FORMAT:?}", head.format),
            ));
        }
        if !(OLDEST..=VERSION).contains(&head.version) {
            return Err(Error::Version { path, found: head.version, supported: VERSION });
        }
        if let Some(unknown) = format::unknown(head.features_required) {
            return Err(Error::Features { path, unknown });
        }
        let mut manifest: Self = serde_json::from_slice(&text).map_err(no_json)?;
        if let Some(name) = manifest.unknown.keys().next()
            && manifest.features_ignorable.unwrap_or(0) == 0
        {
            return Err(corrupt(dir, &format!("it has an unknown field {name:?}")));
        }
        let complete = manifest.id.is_some() == (manifest.version >= 3);
        if manifest.xxh3 != manifest.checksum() || !complete {
            return Err(corrupt(dir, "its checksum is wrong"));
        }
        manifest.origin(dir)?;
        manifest.exact = text == manifest.text().as_bytes();
        Ok(manifest)
    }

    /// The greatest generation that a directory shows, whatever state its manifest is in; 0 if it shows none. An index that is built in the
    /// same directory continues from it.
    pub(crate) fn last_generation(dir: &Path) -> u64 {
        let text = fs::read(dir.join(FILE)).unwrap_or_default();
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        let logs = fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix("log-")?.strip_suffix(".dhih")?.parse().ok()
        });
        let generations = logs.chain(value["generation"].as_u64());
        generations.filter(|generation| *generation <= GREATEST_GENERATION).max().unwrap_or(0)
    }

    /// Checks that the file held exactly the bytes that this program writes for what it says.
    pub(crate) fn verify(&self, dir: &Path) -> Result<()> {
        match self.exact || self.features_ignorable.unwrap_or(0) != 0 {
            true => Ok(()),
            false => Err(corrupt(dir, "its bytes are not those that were written")),
        }
    }

    /// Replaces the manifest of a directory.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        disk::write(&dir.join(FILE), |out| out.write_all(self.text().as_bytes()))
    }

    #[expect(clippy::expect_used, reason = "texts and numbers always have a JSON form")]
    fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain fields") + "\n"
    }

    /// The checksum that it should have; none in version 1.
    #[expect(clippy::expect_used, reason = "texts and numbers always have a JSON form")]
    fn checksum(&self) -> Option<String> {
        let Self { id, generation, features_required, features_ignorable, segments, log, .. } =
            self;
        let text = match self.version {
            1 => return None,
            2 => serde_json::to_vec(&(segments, log)),
            _ => serde_json::to_vec(&(
                id,
                generation,
                features_required,
                features_ignorable,
                segments,
                log,
            )),
        };
        Some(format!("{:016x}", xxh3_64(&text.expect("plain fields"))))
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
        let profile = Profile { distances: [0.5, 1.0, 2.25, 3.0], bucket_codes: [9.5, 3.0, 1.0] };
        let entry = Entry::new(4096, 0x0123_4567_89ab_cdef);
        let origin = Origin { id: 5, generation: 9 };
        let segments = vec![Entry { profile: Some(profile), ..entry }];
        let manifest = Manifest::new(0, origin, segments, Some(3));
        assert_eq!(manifest.log(dir.path()).unwrap(), Some((3, "log-3.dhih")));
        manifest.write(dir.path()).unwrap();
        let read = Manifest::read(dir.path()).unwrap();
        assert_eq!((read.origin(dir.path()).unwrap(), &read), (origin, &manifest));
        read.verify(dir.path()).unwrap();
        let text = fs::read(dir.path().join(FILE)).unwrap();
        let mut file = fs::File::options().write(true).open(dir.path().join(FILE)).unwrap();
        let mut poke = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        for (at, &byte) in text.iter().enumerate() {
            for bit in 0..8 {
                poke(at, byte ^ (1 << bit));
                // A changed file that can still be parsed is detected by its bytes, or names another data file.
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
        // A newer version is reported as such, whatever else the manifest contains.
        for newer in ["\"version\":4", "\"version\":12,\"shards\":[]"] {
            assert!(matches!(
                read(&good.replace("\"version\":1", newer)),
                Err(Error::Version { supported: 3, .. })
            ));
        }
        let needs_more = good.replace("\"version\":1", "\"version\":3,\"features_required\":4");
        assert!(matches!(read(&needs_more), Err(Error::Features { unknown: 4, .. })));
        for (from, to) in [
            (good, ""),
            (good, "{}"),
            ("\"version\":1", "\"version\":2"),
            ("\"version\":1", "\"version\":3"),
            ("\"version\":1", "\"version\":1,\"more\":1"),
            ("dhih-index", "other"),
            ("segment-0a", "segment-0b"),
            ("0a", "../0a"),
            ("[{", "[], \"more\": [{"),
            ("}]", "},{\"file\":\"\",\"bytes\":1,\"xxh3\":\"\"}]"),
        ] {
            assert!(matches!(read(&good.replace(from, to)), Err(Error::Corrupt { .. })), "{to}");
        }
    }

    #[test]
    fn fields_of_features_that_may_be_ignored_are() {
        let dir = tempfile::tempdir().unwrap();
        let origin = Origin { id: 5, generation: 9 };
        let mut manifest = Manifest::new(0, origin, vec![Entry::new(1, 2)], None);
        manifest.features_ignorable = Some(2);
        manifest.xxh3 = manifest.checksum();
        manifest.unknown.insert("hints".into(), Value::Bool(true));
        manifest.write(dir.path()).unwrap();
        Manifest::read(dir.path()).unwrap().verify(dir.path()).unwrap();
    }

    #[test]
    fn the_last_generation_is_found_whatever_the_manifest_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::last_generation(dir.path()), 0);
        fs::write(dir.path().join(log_name(4)), b"").unwrap();
        assert_eq!(Manifest::last_generation(dir.path()), 4);
        Manifest::new(0, Origin { id: 1, generation: 6 }, vec![], None).write(dir.path()).unwrap();
        assert_eq!(Manifest::last_generation(dir.path()), 6);
        fs::write(dir.path().join(FILE), b"{").unwrap();
        assert_eq!(Manifest::last_generation(dir.path()), 4);
        // A number that no index reaches is damage.
        fs::write(dir.path().join(log_name(u64::MAX)), b"").unwrap();
        assert_eq!(Manifest::last_generation(dir.path()), 4);
        Manifest::new(0, Origin { id: 1, generation: u64::MAX }, vec![], None)
            .write(dir.path())
            .unwrap();
        assert!(matches!(Manifest::read(dir.path()), Err(Error::Corrupt { .. })));
        assert_eq!(Manifest::last_generation(dir.path()), 4);
    }
}
