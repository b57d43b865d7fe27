//! What the targets share: a folder in memory where there is one, and checksums that hold, so that what lies behind them is
//! reached.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// An empty folder, the same in each run of a process.
pub fn folder() -> PathBuf {
    let root = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let dir = root.join(format!("dhih-fuzz-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder");
    dir
}

/// The bytes with the magic, the length and the header's checksum of a data file, and that checksum.
pub fn sealed(bytes: &[u8]) -> (Vec<u8>, u64) {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(64), 0);
    bytes[..8].copy_from_slice(b"DHIHIDX\n");
    let length = (bytes.len() as u64).to_le_bytes();
    bytes[40..48].copy_from_slice(&length);
    let sections = u32::from_le_bytes(bytes[32..36].try_into().expect("four bytes")) as usize;
    let end = 64_usize.saturating_add(sections.saturating_mul(32)).min(bytes.len());
    let header = xxh3_64(&[&bytes[..56], &bytes[64..end]].concat());
    bytes[56..64].copy_from_slice(&header.to_le_bytes());
    (bytes, header)
}

/// A manifest of one data file, as version 1 had it: without a checksum of its own.
pub fn manifest_of_version_1(dir: &Path, name: &str, bytes: usize) {
    let xxh3 = name.trim_start_matches("segment-");
    let entry = format!(r#"{{"file":"{name}.dhih","bytes":{bytes},"xxh3":"{xxh3}"}}"#);
    let text = format!(r#"{{"format":"dhih-index","version":1,"segments":[{entry}]}}"#);
    fs::write(dir.join("manifest.json"), text).expect("a file");
}

/// A record of a log with this payload, first after the header.
pub fn record(payload: &[u8], header: &[u8]) -> Vec<u8> {
    let chain = u64::from_le_bytes(header[24..32].try_into().expect("eight bytes"));
    let mut record = (payload.len() as u64).to_le_bytes().to_vec();
    record.extend(xxh3_64_with_seed(payload, chain).to_le_bytes());
    record.extend_from_slice(payload);
    record
}
