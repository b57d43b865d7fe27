//! What the targets share: a folder in memory where there is one, fields read from the fuzzer's bytes, and files of the index format
//! whose checksums hold, so that what lies behind the checksums is reached. The layouts are those of docs/src/FORMAT.md.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// An empty folder. Every run of a process uses the same one.
pub fn folder() -> PathBuf {
    let root = if Path::new("/dev/shm").is_dir() {
        PathBuf::from("/dev/shm")
    } else {
        std::env::temp_dir()
    };
    let dir = root.join(format!("dhih-fuzz-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder");
    dir
}

/// The fuzzer's bytes, read as fields from the front. Once they are used up, every field is 0.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// A number below `end`, of one byte where that is enough and of two where not.
    pub fn below(&mut self, end: usize) -> usize {
        let number = if end <= 256 {
            self.byte().into()
        } else {
            usize::from(self.byte()) << 8 | usize::from(self.byte())
        };
        number % end.max(1)
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn u64(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// Often a small number, at times any.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..=249 => byte.into(),
            250 => u64::MAX,
            _ => self.u64(),
        }
    }

    /// Up to `count` bytes.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// SplitMix64: what need not be chosen byte for byte comes from a seed, so that short inputs go a long way.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// The bytes with the magic, the length and the checksums of the metadata and the header of a data file, and the header's checksum.
pub fn sealed(bytes: &[u8]) -> (Vec<u8>, u64) {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(96), 0);
    bytes[..8].copy_from_slice(b"DHIHIDX\n");
    let length = (bytes.len() as u64).to_le_bytes();
    bytes[40..48].copy_from_slice(&length);
    // The header of version 3 has 32 bytes more than those before it: the index's id, the generation and zeros.
    let header = if u32_at(&bytes, 8) < 3 { 64_usize } else { 96 };
    let sections = u32_at(&bytes, 32) as usize;
    let end = header.saturating_add(sections.saturating_mul(32)).min(bytes.len());
    seal_metadata(&mut bytes, header, end);
    let checksum = xxh3_64(&[&bytes[..56], &bytes[64..end]].concat());
    bytes[56..64].copy_from_slice(&checksum.to_le_bytes());
    (bytes, checksum)
}

/// Makes the checksum of the metadata hold: the first section, whose entry begins behind the header of a section table that ends at `end`.
fn seal_metadata(bytes: &mut [u8], header: usize, end: usize) {
    if end < header + 32 || u32_at(bytes, header) != 1 {
        return;
    }
    let (start, length) = (u64_at(bytes, header + 8), u64_at(bytes, header + 16));
    let range = usize::try_from(start).ok().zip(usize::try_from(start.saturating_add(length)).ok());
    let Some(metadata) = range.and_then(|(start, end)| bytes.get(start..end)) else { return };
    let checksum = xxh3_64(metadata);
    bytes[header + 24..header + 32].copy_from_slice(&checksum.to_le_bytes());
}

/// Writes a manifest of one data file that its format version allows: of version 3 for a data file of that version, else of version
/// 1, which has no checksum of its own.
pub fn write_manifest_of_one(dir: &Path, file: &[u8], checksum: u64) {
    let entry = entry(
        &format!("segment-{checksum:016x}.dhih"),
        file.len() as u64,
        &format!("{checksum:016x}"),
    );
    let text = if u32_at(file, 8) < 3 {
        format!(r#"{{"format":"dhih-index","version":1,"segments":[{entry}]}}"#)
    } else {
        let id = u128::from_le_bytes(file[64..80].try_into().expect("16 bytes"));
        let manifest = Manifest {
            id: format!("{id:032x}"),
            generation: u64_at(file, 80),
            segments: vec![entry],
            ..Manifest::default()
        };
        manifest.text()
    };
    fs::write(dir.join("manifest.json"), text).expect("a file");
}

/// A data file in a manifest. No text may need escapes.
pub fn entry(file: &str, bytes: u64, checksum: &str) -> String {
    format!(r#"{{"file":"{file}","bytes":{bytes},"xxh3":"{checksum}"}}"#)
}

/// A manifest of version 3.
#[derive(Debug, Default)]
pub struct Manifest {
    /// 32 hexadecimal digits.
    pub id: String,
    pub generation: u64,
    pub features_required: u64,
    pub features_ignorable: u64,
    /// Compact JSON objects, as [`entry`] gives them.
    pub segments: Vec<String>,
    pub wal: Option<String>,
}

impl Manifest {
    /// The text with a checksum that holds.
    pub fn text(&self) -> String {
        let Self { id, generation, features_required, features_ignorable, .. } = self;
        let segments = self.segments.join(",");
        let wal = self.wal.as_ref().map(|wal| format!("\"{wal}\""));
        let array = format!(
            r#"["{id}",{generation},{features_required},{features_ignorable},[{segments}],{}]"#,
            wal.as_deref().unwrap_or("null")
        );
        let checksum = xxh3_64(array.as_bytes());
        let wal = wal.map_or(String::new(), |wal| format!(r#""log":{wal},"#));
        format!(
            r#"{{"format":"dhih-index","version":3,"id":"{id}","generation":{generation},"features_required":{features_required},"features_ignorable":{features_ignorable},"segments":[{segments}],{wal}"xxh3":"{checksum:016x}"}}"#
        )
    }
}

/// Length of the header of a log of version 2 and of its first record, which names the index.
pub const WAL_HEADER: usize = 97;

/// Makes the checksums of a log's header and of its first record hold.
pub fn seal_wal_header(wal: &mut [u8]) {
    let header = xxh3_64(&wal[..24]);
    wal[24..32].copy_from_slice(&header.to_le_bytes());
    let payload = xxh3_64_with_seed(&wal[64..WAL_HEADER], header);
    wal[40..48].copy_from_slice(&payload.to_le_bytes());
    let head = xxh3_64_with_seed(&wal[32..56], header);
    wal[56..64].copy_from_slice(&head.to_le_bytes());
}

/// A record of a log of version 2 with this number and payload, behind this header and first record.
pub fn wal_record(seq: u64, payload: &[u8], header: &[u8]) -> Vec<u8> {
    let seed = u64_at(header, 40);
    let mut record = (16 + payload.len() as u64).to_le_bytes().to_vec();
    record.extend(xxh3_64_with_seed(payload, seed).to_le_bytes());
    record.extend(seq.to_le_bytes());
    record.extend(xxh3_64_with_seed(&record, seed).to_le_bytes());
    record.extend_from_slice(payload);
    record
}

/// The bytes of a log of version 1 with these payloads: each record's checksum is the seed of the next record's.
pub fn log_of_version_1(bits: u32, label_bytes: u32, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut log = b"DHIHLOG\n".to_vec();
    for word in [1, bits, label_bytes, 0] {
        log.extend(word.to_le_bytes());
    }
    let mut seed = xxh3_64(&log);
    log.extend(seed.to_le_bytes());
    for payload in payloads {
        seed = xxh3_64_with_seed(payload, seed);
        log.extend((payload.len() as u64).to_le_bytes());
        log.extend(seed.to_le_bytes());
        log.extend_from_slice(payload);
    }
    log
}

/// The one file of a folder whose name begins so.
pub fn only_file(dir: &Path, prefix: &str) -> PathBuf {
    let paths = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let named = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    let found: Vec<PathBuf> = paths.filter(named).collect();
    match &found[..] {
        [one] => one.clone(),
        other => panic!("{} files {prefix}*", other.len()),
    }
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
