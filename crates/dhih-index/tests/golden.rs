//! Indexes that earlier releases wrote stay readable and can be changed, and the version that is written now stays the same byte for
//! byte. Below `tests/golden/`, each folder `v1`, `v2`, ... holds folders of indexes, and beside each of these a file that says what
//! the index holds. `examples/compat_gen.rs` wrote them.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod common;
#[path = "common/golden_indexes.rs"]
mod golden_indexes;

use std::fs;
use std::path::{Path, PathBuf};

use dhih_index::{CodeSet, Filter, Flat, Index, IndexWriter};
use golden_indexes::{Items, files, write_all};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// The folders in a folder, by name.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// All golden indexes, each with its format version and the text that says what it holds.
fn golden_indexes() -> Vec<(u32, PathBuf, String)> {
    let mut found = Vec::new();
    for version in folders(Path::new(GOLDEN)) {
        let number = version.file_name().unwrap().to_str().unwrap()[1..].parse().unwrap();
        for index in folders(&version) {
            let expected = fs::read_to_string(index.with_extension("jsonl")).unwrap();
            found.push((number, index, expected));
        }
    }
    // Versions 1 and 2 have one golden index each.
    assert!(found.len() >= 2, "{found:?}");
    found
}

#[test]
fn every_version_stays_readable() {
    for (version, dir, expected) in golden_indexes() {
        let index = Index::open(&dir).unwrap();
        index.verify().unwrap();
        assert_eq!(index.info().version, version, "{}", dir.display());
        assert_eq!(Items::of_index(&index).to_json_lines(), expected, "{}", dir.display());
        let set = index.to_code_set().unwrap();
        let ids: Vec<u64> = index.ids().into_iter().step_by(2).collect();
        let selection = index.select(&Filter::default().ids(ids.iter().copied()));
        let wanted = among(&set, &ids);
        let (flat, some) = (Flat::of(&set).unwrap(), Flat::of(&wanted).unwrap());
        for query in set.codes.iter() {
            assert_eq!(index.knn(query, 5).unwrap(), flat.knn(query, 5).unwrap());
            assert_eq!(index.within(query, 4).unwrap(), flat.within(query, 4).unwrap());
            assert_eq!(selection.knn(query, 5).unwrap(), some.knn(query, 5).unwrap());
        }
    }
}

/// The items of a set with these ids, without their labels.
fn among(set: &CodeSet, ids: &[u64]) -> CodeSet {
    let all = set.ids.as_deref().unwrap();
    let rows: Vec<usize> = (0..all.len()).filter(|&row| ids.contains(&all[row])).collect();
    let ids = rows.iter().map(|&row| all[row]).collect();
    CodeSet { ids: Some(ids), ..CodeSet::new(set.codes.select(&rows)) }
}

#[test]
fn an_index_of_every_version_can_be_changed() {
    for (_, golden, expected) in golden_indexes() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files(&golden).unwrap() {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let mut writer = IndexWriter::open(dir.path()).unwrap();
        let all = writer.snapshot().to_code_set().unwrap();
        let half = writer.snapshot().ids().split_off(all.codes.len() / 2);
        assert_eq!(writer.remove(&half).unwrap(), half.len());
        assert_eq!(Index::open(dir.path()).unwrap().len(), all.codes.len() - half.len());
        // What was removed comes back, and the index is rewritten in the current format.
        writer.flush().unwrap();
        let rest = writer.snapshot().ids();
        writer.remove(&rest).unwrap();
        writer.add(&all).unwrap();
        for _ in 0..2 {
            let index = Index::open(dir.path()).unwrap();
            index.verify().unwrap();
            assert_eq!(Items::of_index(&index).to_json_lines(), expected, "{}", golden.display());
            writer.compact().unwrap();
        }
    }
}

/// Where the format changes, its version does too, and the golden files of the new version go to a folder of their own.
#[test]
fn the_current_version_is_written_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    write_all(dir.path()).unwrap();
    let version = Index::open(dir.path().join("built")).unwrap().info().version;
    let golden = Path::new(GOLDEN).join(format!("v{version}"));
    assert!(golden.exists(), "write {} with `--example compat_gen`", golden.display());
    let names = |dir: &Path| -> Vec<_> {
        folders(dir).iter().map(|dir| dir.file_name().unwrap().to_owned()).collect()
    };
    assert_eq!(names(dir.path()), names(&golden));
    for name in names(&golden).iter().map(Path::new).chain([Path::new("")]) {
        let (written, golden) = (files(&dir.path().join(name)), files(&golden.join(name)));
        let (written, golden) = (written.unwrap(), golden.unwrap());
        assert!(written.keys().eq(golden.keys()), "{:?} {:?}", written.keys(), golden.keys());
        for (file, bytes) in &golden {
            assert!(written[file] == *bytes, "{} {file} differs", name.display());
        }
    }
}
