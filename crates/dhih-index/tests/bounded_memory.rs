//! Builds that stay within a limit of memory, with the buffers of a release: the same bytes, and no more memory than was given.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::Numbers;
use dhih_index::{CodeSet, Codes, Error, Index, IndexBuilder, IndexConfig};

/// The files of an index but for the lock, and what is in them.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: Vec<_> = names.filter(|name| name != "lock").map(PathBuf::from).collect();
    files.sort();
    files.into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

#[test]
fn too_little_memory_is_refused_with_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let set = CodeSet::new(Numbers(1).codes(64, 1000));
    let build = |memory: u64| {
        let config = IndexConfig::default().with_memory(memory);
        IndexBuilder::new(config).build(&set, dir.path())
    };
    let Err(Error::Memory { memory: 1, least }) = build(1) else { panic!("a byte is enough") };
    assert!(matches!(Index::open(dir.path()), Err(Error::NoIndex { .. })));
    assert!((10 << 20..200 << 20).contains(&least), "{least}");
    build(least).unwrap();
}

/// Peak memory of a command in bytes, as the system counts it.
#[cfg(target_os = "linux")]
fn peak_memory(command: &mut Command) -> u64 {
    let mut child = command.spawn().unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak_line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes =
            peak_line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
        peak = kilobytes.map_or(peak, |kilobytes: u64| peak.max(1024 * kilobytes));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    peak
}

#[cfg(target_os = "linux")]
#[test]
fn the_program_stays_within_its_memory_and_writes_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, numbers, count) = (dir.path(), &mut Numbers(7), 2_500_000);
    // A quarter of the codes have another one's value, so that lists of rows are merged, too.
    let mut bytes = Vec::with_capacity(8 * count);
    for item in 0..count {
        let code = if item % 4 == 3 { 8 * numbers.below(item) } else { bytes.len() };
        match bytes.get(code..code + 8).map(<[u8]>::to_vec) {
            Some(again) => bytes.extend(again),
            None => bytes.extend(numbers.next().to_le_bytes()),
        }
    }
    CodeSet::new(Codes::new(64, bytes).unwrap()).write(dir.join("codes.npy")).unwrap();
    let build = |out: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dhih-index"));
        command.current_dir(dir).stdout(std::process::Stdio::null());
        command.args(["build", "--bits", "64", "--codes", "codes.npy", "--out", out]).args(more);
        let peak = peak_memory(&mut command);
        (peak, files(&dir.join(out)))
    };
    let (_, in_memory) = build("a", &["--memory", "1TB"]);
    let (peak, on_disk) = build("b", &["--memory", "110MiB"]);
    assert!(in_memory == on_disk && on_disk.len() == 2);
    assert!(peak <= 110 << 20, "{peak}");
    assert!(peak > 20 << 20, "{peak}");
}
