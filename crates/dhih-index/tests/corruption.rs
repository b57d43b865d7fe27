//! Damaged index files: `verify` finds every flipped byte, opening and searching never panic. And
//! what a build leaves behind when it replaces an index or fails.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Numbers, build, cut, poke, small_set};
use dhih_index::{
    CodeSet, Codes, Error, Filter, Hit, Index, IndexBuilder, IndexConfig, Rescore, Result,
    Strategy, VectorError, VectorSet, VectorType,
};

/// The one data file of an index.
fn data_file(dir: &Path) -> PathBuf {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files = paths.filter(|path| path.extension().is_some_and(|e| e == "dhih"));
    let file = files.next().unwrap();
    assert_eq!(files.next(), None);
    file
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Opens and uses an index in every way there is; the bytes may be anything.
fn use_all(dir: &Path, bits: u32) -> Result<()> {
    let index = Index::open(dir)?;
    let query = Numbers(9).code(bits);
    let mut first_error = Ok(());
    for strategy in [Strategy::Auto, Strategy::Scan, Strategy::Probe] {
        for hits in [index.knn_by(strategy, &query, 5), index.within_by(strategy, &query, 6)] {
            let usable = |hit: &Hit| hit.distance <= bits;
            match hits {
                Ok(hits) => assert!(hits.iter().all(usable)),
                Err(error) => first_error = Err(error),
            }
        }
    }
    let selection = index.select(&Filter::default().labels([0, 1]).not_ids([3]));
    let _ = (selection.knn(&query, 5), selection.within(&query, 6), index.knn_within(&query, 5, 6));
    let _ = (index.count_within(&query, 6), index.for_each_within(&query, 6, |_| ()));
    let _ = (selection.count_within(&query, 6), selection.for_each_within(&query, 6, |_| ()));
    for id in index.ids().into_iter().take(20).chain([0, u64::MAX]) {
        let _ = (index.code(id), index.label(id), index.vector(id));
    }
    let query_vector = vec![1.0; index.vector_dims().unwrap_or(1)];
    match index.knn_rescored(&query, &query_vector, &Rescore::new(3, 9)) {
        Ok(rescored) => assert!(rescored.hits.len() <= 3),
        Err(Error::Vectors(VectorError::NotKept { .. })) => {}
        Err(error) => first_error = Err(error),
    }
    let _ = index.info();
    first_error
}

#[test]
fn every_flipped_byte_is_found_and_none_panics() {
    let dir = tempfile::tempdir().unwrap();
    // The second set is dense enough for a directly addressed table; the first has keys.
    let dense = CodeSet::new(Codes::new(8, (0..=255).chain([0, 255]).collect()).unwrap());
    let numbers: Vec<f32> = (0..36).map(|number| (number * 7 % 11) as f32 - 5.0).collect();
    let vectors = VectorSet::from_f32(3, &numbers).unwrap().to_type(VectorType::Int8).unwrap();
    let with_vectors = CodeSet { vectors: Some(vectors), ..small_set() };
    for set in [small_set(), with_vectors, dense] {
        let index = build(&set, dir.path(), None);
        index.verify().unwrap();
        drop(index);
        for path in [data_file(dir.path()), dir.path().join("manifest.json")] {
            let whole = fs::read(&path).unwrap();
            assert!(whole.len() < 8192);
            for (at, &byte) in whole.iter().enumerate() {
                for flip in [1, 0x80, 0xff] {
                    poke(&path, at, byte ^ flip);
                    let _ = use_all(dir.path(), set.codes.bits());
                    let found = Index::open(dir.path()).and_then(|index| index.verify());
                    assert!(found.is_err(), "{} byte {at} flip {flip:#x}", path.display());
                }
                poke(&path, at, byte);
            }
        }
        Index::open(dir.path()).unwrap().verify().unwrap();
    }
}

#[test]
fn every_cut_is_found_when_opening() {
    let dir = tempfile::tempdir().unwrap();
    drop(build(&small_set(), dir.path(), None));
    let path = data_file(dir.path());
    let whole = fs::read(&path).unwrap();
    for end in (0..whole.len()).rev() {
        cut(&path, end);
        let error = Index::open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "cut at {end}: {error}");
    }
    fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(matches!(Index::open(dir.path()), Err(Error::Corrupt { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(Index::open(dir.path()), Err(Error::Io { .. })));
}

/// The bug: a number in the table of whole codes that no code has was passed over, and the item behind it was silently not found.
#[test]
fn a_number_that_leaves_the_table_of_whole_codes_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let codes = Numbers(3).codes(64, 600);
    // Every code ten times, so that there is such a table.
    let rows: Vec<usize> = (0..6000).map(|row| row % 600).collect();
    let set = CodeSet::new(codes.select(&rows));
    let index = build(&set, dir.path(), None);
    let query = &codes[5];
    assert!(index.within(query, 0).unwrap().len() >= 10);
    let distinct = index.info().distinct;
    drop(index);
    // The slots are the last section of the file.
    let path = data_file(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let slots = bytes.len() - 64 * distinct.div_ceil(12);
    bytes[slots..].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let found = Index::open(dir.path()).unwrap().within(query, 0);
    assert!(matches!(found, Err(Error::Corrupt { .. })), "{found:?}");
}

/// An index of one data file, with a manifest as version 1 had it: without a checksum of its own.
fn plant(dir: &Path, header: u64, bytes: &[u8]) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(format!("segment-{header:016x}.dhih")), bytes).unwrap();
    let entry = serde_json::json!({
        "file": format!("segment-{header:016x}.dhih"), "bytes": bytes.len(), "xxh3": format!("{header:016x}"),
    });
    let lines = [
        "{".to_owned(),
        "  \"format\": \"dhih-index\",".to_owned(),
        "  \"version\": 1,".to_owned(),
        "  \"segments\": [".to_owned(),
        "    {".to_owned(),
        format!("      \"file\": {},", entry["file"]),
        format!("      \"bytes\": {},", entry["bytes"]),
        format!("      \"xxh3\": {}", entry["xxh3"]),
        "    }".to_owned(),
        "  ]".to_owned(),
        "}\n".to_owned(),
    ];
    fs::write(dir.join("manifest.json"), lines.join("\n")).unwrap();
}

/// Contents that lie although every checksum holds: the way to them is through the checksums, so
/// these are made anew.
#[test]
fn contents_that_contradict_each_other_are_found_behind_good_checksums() {
    use xxhash_rust::xxh3::xxh3_64;
    let dir = tempfile::tempdir().unwrap();
    for set in [small_set(), CodeSet::new(Numbers(5).codes(8, 300))] {
        let bits = set.codes.bits();
        drop(build(&set, dir.path(), None));
        let whole = fs::read(data_file(dir.path())).unwrap();
        let sections = u32::from_le_bytes(whole[32..36].try_into().unwrap()) as usize;
        let truth = dir.path().join("truth");
        plant(&truth, u64::from_le_bytes(whole[56..64].try_into().unwrap()), &whole);
        Index::open(&truth).unwrap().verify().unwrap();
        fs::remove_dir_all(&truth).unwrap();
        let mut lies = 0;
        for section in 0..sections {
            let entry = 96 + 32 * section;
            let word =
                |at: usize| u64::from_le_bytes(whole[at..at + 8].try_into().unwrap()) as usize;
            let kind = whole[entry];
            let (start, len) = (word(entry + 8), word(entry + 16));
            for at in (start..start + len).step_by(3) {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x41;
                let xxh3 = xxh3_64(&bytes[start..start + len]);
                bytes[entry + 24..entry + 32].copy_from_slice(&xxh3.to_le_bytes());
                let table_end = 96 + 32 * sections;
                let header = xxh3_64(&[&bytes[..56], &bytes[64..table_end]].concat());
                bytes[56..64].copy_from_slice(&header.to_le_bytes());
                let lie = dir.path().join("lie");
                plant(&lie, header, &bytes);
                let _ = use_all(&lie, bits);
                let found = Index::open(&lie).and_then(|index| index.verify());
                // Names, ids and unnamed labels may be anything that fits; the rest is bound by
                // what it must agree with.
                if !matches!(kind, 1 | 6 | 7) {
                    assert!(found.is_err(), "kind {kind} byte {at}");
                    lies += 1;
                }
                fs::remove_dir_all(&lie).unwrap();
            }
        }
        assert!(lies > 100, "{lies}");
    }
}

#[test]
fn a_build_replaces_the_index_and_removes_the_old_data() {
    let dir = tempfile::tempdir().unwrap();
    let old = build(&small_set(), dir.path(), None);
    let old_file = data_file(dir.path());
    fs::write(dir.path().join(".segment-0.dhih.1-0.dhih-tmp"), b"left by a crash").unwrap();
    fs::write(dir.path().join("notes.txt"), b"not ours").unwrap();
    let set = CodeSet::new(Numbers(2).codes(16, 50));
    let new = build(&set, dir.path(), None);
    assert_ne!(data_file(dir.path()), old_file);
    assert_eq!(names(dir.path()).len(), 4, "{:?}", names(dir.path()));
    assert_eq!((old.len(), new.len()), (12, 50));
    // Who had the old one open still has it.
    assert_eq!(old.knn(small_set().codes.get(0), 1).unwrap()[0].distance, 0);
    drop(build(&set, dir.path(), None));
    new.verify().unwrap();
}

#[test]
fn a_build_that_fails_leaves_the_old_index() {
    let dir = tempfile::tempdir().unwrap();
    let index = build(&small_set(), dir.path(), None);
    let before = names(dir.path());
    let builder =
        |substrings| IndexBuilder::new(IndexConfig::default().with_substrings(substrings));
    let twice = CodeSet { ids: Some(vec![5; 12]), ..small_set() };
    let error = builder(None).build(&twice, dir.path()).unwrap_err();
    assert!(matches!(error, Error::DuplicateId { id: 5, .. }));
    let error = builder(Some(21)).build(&small_set(), dir.path()).unwrap_err();
    assert!(matches!(error, Error::Substrings { substrings: 21, bits: 20 }));

    let lock = fs::File::open(dir.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let other = CodeSet::new(Numbers(2).codes(16, 50));
    let error = builder(None).build(&other, dir.path()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }));
    drop(lock);

    assert_eq!(names(dir.path()), before);
    index.verify().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(builder(None).build(&other, &file), Err(Error::Io { action: "make", .. })));
}

/// What a build was doing when it was cut off: the data file is there, the manifest is still the
/// old one, or none.
#[test]
fn a_build_cut_off_before_its_manifest_is_as_if_it_had_not_been() {
    let dir = tempfile::tempdir().unwrap();
    let (index, other) = (dir.path().join("index"), dir.path().join("other"));
    drop(build(&CodeSet::new(Numbers(2).codes(16, 50)), &other, None));
    let half = data_file(&other);
    fs::create_dir(&index).unwrap();
    fs::copy(&half, index.join(half.file_name().unwrap())).unwrap();
    assert!(matches!(Index::open(&index), Err(Error::NoIndex { .. })));
    drop(build(&small_set(), &index, None));
    fs::copy(&half, index.join(half.file_name().unwrap())).unwrap();
    let open = Index::open(&index).unwrap();
    assert_eq!(open.len(), 12);
    open.verify().unwrap();
    drop(build(&small_set(), &index, None));
    assert_eq!(names(&index).len(), 3);
}

#[test]
fn bad_searches_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Index::open(dir.path().join("none")), Err(Error::NoIndex { .. })));
    let (set, index) = (small_set(), build(&small_set(), dir.path(), None));
    assert!(matches!(index.knn(&[0; 3], 0), Err(Error::ZeroK)));
    assert!(matches!(index.knn(&[0; 2], 1), Err(Error::QueryBytes { expected: 3, found: 2, .. })));
    assert!(matches!(index.within(&[0, 0, 0x10], 1), Err(Error::QueryPadding { bits: 20 })));
    assert_eq!(index.knn(&[0; 3], 99).unwrap().len(), 12);
    let longer = Codes::new(24, vec![0; 3]).unwrap();
    assert!(matches!(
        index.knn_batch(&longer, 1),
        Err(Error::QueryBits { expected: 20, found: 24 })
    ));
    assert!(matches!(index.within_batch(&longer, 1), Err(Error::QueryBits { .. })));
    index.check_queries(&set).unwrap();
    index.check_queries(&CodeSet { model_sha256: None, ..set.clone() }).unwrap();
    let other = CodeSet { model_sha256: Some("cd".repeat(32)), ..set };
    assert!(matches!(index.check_queries(&other), Err(Error::OtherModel { .. })));
    assert!(matches!(index.check_queries(&CodeSet::new(longer)), Err(Error::QueryBits { .. })));
}
