//! Index files of earlier versions stay readable, and the version written now stays the same byte
//! for byte.

mod common;

use std::fs;
use std::path::Path;

use common::{build, small_set};
use dhih_index::{Flat, Index};

const VERSION_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1");
const VERSION_2: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v2");

#[test]
fn every_version_stays_readable() {
    for (version, dir) in [(1, VERSION_1), (2, VERSION_2)] {
        let index = Index::open(Path::new(dir)).unwrap();
        index.verify().unwrap();
        let set = small_set();
        let flat = Flat::of(&set).unwrap();
        for query in set.codes.iter() {
            assert_eq!(index.knn(query, 5).unwrap(), flat.knn(query, 5).unwrap());
            assert_eq!(index.within(query, 4).unwrap(), flat.within(query, 4).unwrap());
        }
        assert_eq!(index.model_sha256(), set.model_sha256.as_deref());
        assert_eq!((index.info().version, index.classes()), (version, &set.classes[..]));
    }
}

/// Where the format changes, its version does too, and the new files go to a folder of their own.
#[test]
fn version_2_is_written_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    drop(build(&small_set(), dir.path(), None));
    for entry in fs::read_dir(VERSION_2).unwrap() {
        let golden = entry.unwrap();
        let written = dir.path().join(golden.file_name());
        assert_eq!(fs::read(&written).unwrap(), fs::read(golden.path()).unwrap(), "{written:?}");
    }
    assert_eq!(fs::read_dir(VERSION_2).unwrap().count(), 2);
}
