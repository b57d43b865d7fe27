//! Folders of part files, and parts of jobs: a set that is divided and joined is the set that it was, and files that do not belong
//! together are refused.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use common::{Numbers, small_set};
use dhih_index::{CodeSet, CodesFormat, Error, Index, Labels, Shard};
use program::run;

/// Rows of a set.
fn rows(set: &CodeSet, range: std::ops::Range<usize>) -> CodeSet {
    let rows: Vec<usize> = range.clone().collect();
    let labels = match &set.labels {
        Some(Labels::Single(labels)) => Some(Labels::Single(labels[range.clone()].to_vec())),
        _ => None,
    };
    let ids = set.ids.as_ref().map(|ids| ids[range].to_vec());
    CodeSet { codes: set.codes.select(&rows), ids, labels, ..set.clone() }
}

/// Writes the set as part files of these names, of which one is empty.
fn parts(dir: &Path, set: &CodeSet, names: [&str; 3]) {
    fs::create_dir_all(dir).unwrap();
    for (name, range) in names.into_iter().zip([0..5, 5..5, 5..12]) {
        rows(set, range).write(dir.join(name)).unwrap();
    }
}

const SPARK: [&str; 3] = [
    "part-00000-4c1f.snappy.parquet",
    "part-00001-4c1f.snappy.parquet",
    "part-00002-4c1f.snappy.parquet",
];
const SHARDS: [&str; 3] = [
    "part-00001-of-00003.safetensors",
    "part-00002-of-00003.safetensors",
    "part-00003-of-00003.safetensors",
];

#[test]
fn parts_are_read_as_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let set = small_set();
    for names in [SPARK, SHARDS] {
        let folder = dir.path().join(names[0]);
        parts(&folder, &set, names);
        // Spark and `encode` leave such files beside the data.
        for name in [
            "_SUCCESS",
            ".part-00000.crc",
            "part-00001-of-00003.safetensors.files.txt",
            "part-00001-of-00003.safetensors.files.jsonl",
        ] {
            fs::write(folder.join(name), "x").unwrap();
        }
        assert_eq!(CodeSet::read(&folder, None).unwrap(), set);
        assert_eq!(CodeSet::map(&folder, Some(20)).unwrap(), set);
        let error = CodeSet::map(&folder, Some(24)).unwrap_err();
        assert!(matches!(error, Error::BitsDiffer { found: 20, .. }), "{error}");
    }
    // Items without ids are numbered over all part files.
    let unnamed = CodeSet { ids: None, ..set };
    let folder = dir.path().join("unnamed");
    parts(&folder, &unnamed, SHARDS);
    assert_eq!(CodeSet::read(&folder, None).unwrap(), unnamed);
}

/// pyarrow numbers its files without zeros in front: read as text, `part-10` would come before `part-2`, and items without ids would
/// get the ids of others.
#[test]
fn part_files_follow_each_other_by_number() {
    let dir = tempfile::tempdir().unwrap();
    let unnamed = CodeSet { ids: None, ..small_set() };
    // Parquet files always have ids.
    for (extension, set) in [("parquet", small_set()), ("safetensors", unnamed)] {
        let folder = dir.path().join(extension);
        fs::create_dir(&folder).unwrap();
        for row in 0..12 {
            rows(&set, row..row + 1).write(folder.join(format!("part-{row}.{extension}"))).unwrap();
        }
        assert_eq!(CodeSet::read(&folder, None).unwrap(), set);
    }
}

#[test]
fn parts_of_a_job_are_the_whole_wherever_files_end() {
    let dir = tempfile::tempdir().unwrap();
    let set = CodeSet { ids: None, ..small_set() };
    let (folder, file) = (dir.path().join("folder"), dir.path().join("codes.safetensors"));
    parts(&folder, &set, SHARDS);
    set.write(&file).unwrap();
    for count in [1, 2, 3, 5, 12, 20] {
        for path in [&folder, &file] {
            let (mut codes, mut ids) = (Vec::new(), Vec::new());
            for number in 1..=count {
                let shard = Shard::new(number, count).unwrap();
                let part = CodeSet::map_shard(path, None, shard).unwrap();
                assert_eq!(part.model_sha256, set.model_sha256);
                codes.extend_from_slice(part.codes.as_bytes());
                ids.extend(part.ids.unwrap_or_else(|| (0..12).collect()));
            }
            assert_eq!(codes, set.codes.as_bytes(), "{count}");
            assert!(ids.into_iter().eq(0..12), "{count}");
        }
    }
}

#[test]
fn folders_of_other_files_or_of_an_incomplete_job_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let set = small_set();
    let mut number = 0;
    let mut refused = |names: [&str; 3], change: &dyn Fn(&Path), expected: &str| {
        number += 1;
        let folder = dir.path().join(number.to_string());
        parts(&folder, &set, names);
        assert!(CodeSet::read(&folder, None).is_ok());
        change(&folder);
        let error = CodeSet::read(&folder, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    };
    let copy = |from: &'static str, to: &'static str| {
        move |folder: &Path| {
            fs::copy(folder.join(from), folder.join(to)).unwrap();
        }
    };
    let write = |name: &'static str, set: CodeSet| {
        move |folder: &Path| set.write(folder.join(name)).unwrap()
    };
    refused(SPARK, &|folder| fs::create_dir(folder.join("_temporary")).unwrap(), "has not ended");
    refused(SPARK, &|folder| fs::create_dir(folder.join("day=1")).unwrap(), "partitionBy");
    refused(SPARK, &|folder| fs::write(folder.join("part-9.csv"), "").unwrap(), "part-9.csv");
    refused(SHARDS, &|folder| fs::remove_file(folder.join(SHARDS[1])).unwrap(), "part 2/3");
    refused(SHARDS, &copy(SHARDS[0], "part-00001-of-00004.safetensors"), "different jobs");
    refused(SHARDS, &copy(SHARDS[0], "part-00000-4c1f.safetensors"), "different jobs");
    refused(SHARDS, &copy(SHARDS[0], "part-00001-of-00003.x.safetensors"), "there twice");
    refused(SPARK, &copy(SPARK[0], "part-00003.parquet"), "more than once");
    let none = |folder: &Path| {
        SPARK.iter().for_each(|name| fs::remove_file(folder.join(name)).unwrap());
    };
    refused(SPARK, &none, "no file `part-*.parquet`");

    let one = || rows(&set, 5..6);
    let last = |set| write("part-00003.parquet", set);
    let other = || CodeSet { model_sha256: Some("cd".repeat(32)), ..one() };
    refused(SPARK, &last(other()), "different model");
    refused(SPARK, &last(CodeSet { model_sha256: None, ..one() }), "different model");
    let int8 = CodeSet { precision: Some("int8".into()), ..one() };
    refused(SPARK, &last(int8), "different precision");
    refused(SPARK, &last(rows(&other(), 0..0)), "different model");
    refused(SPARK, &last(CodeSet { codes: Numbers(1).codes(24, 1), ..one() }), "different bits");
    refused(SPARK, &last(CodeSet { labels: None, ..one() }), "different labels");
    let hot = Some(Labels::MultiHot { classes: 3, values: vec![0, 1, 0] });
    refused(SPARK, &last(CodeSet { labels: hot, ..one() }), "different labels");
    refused(SPARK, &last(CodeSet { classes: vec!["a".into(); 3], ..one() }), "different classes");
    refused(SHARDS, &write(SHARDS[2], CodeSet { ids: None, ..one() }), "different ids");
}

#[test]
fn an_index_is_built_of_a_folder_and_of_parts_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, set) = (dir.path(), small_set());
    parts(&dir.join("parts"), &set, SPARK);
    set.write(dir.join("codes.safetensors")).unwrap();
    let done = |words: &[&str]| {
        let output = run(dir, words);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    done(&["build", "--codes", "parts"]);
    done(&["build", "--codes", "codes.safetensors", "--out", "plain"]);
    let manifest = |index: &str| fs::read(dir.join(index).join("manifest.json")).unwrap();
    assert_eq!(manifest("index"), manifest("plain"));

    // Each part has an index of its own. Building one again replaces it by the next generation of the same items.
    let open = |number| {
        let shard = Shard::new(number, 2).unwrap();
        Index::open(dir.join("shards").join(shard.file_name(""))).unwrap()
    };
    let build = |shard| done(&["build", "--codes", "parts", "--shard", shard, "--out", "shards"]);
    build("1/2");
    build("2/2");
    let before = open(2);
    build("2/2");
    let after = open(2);
    assert_eq!((before.id(), before.generation() + 1), (after.id(), after.generation()));
    assert_eq!(before.to_code_set().unwrap(), after.to_code_set().unwrap());
    let indexes = [open(1), after];
    let whole = Index::open(dir.join("index")).unwrap();
    for query in set.codes.iter() {
        let mut hits: Vec<_> =
            indexes.iter().flat_map(|index| index.knn(query, 4).unwrap()).collect();
        hits.sort_by_key(|hit| (hit.distance, hit.id));
        assert_eq!(hits[..4], whole.knn(query, 4).unwrap());
    }

    // The index of all items is made again from the exports of these indexes.
    for name in ["part-00001-of-00002", "part-00002-of-00002"] {
        let out = format!("joined/{name}.parquet");
        fs::create_dir_all(dir.join("joined")).unwrap();
        done(&["export", "--index", &format!("shards/{name}"), "--out", &out]);
    }
    done(&["build", "--codes", "joined", "--out", "again"]);
    assert_eq!(manifest("again"), manifest("index"));

    for shard in ["0/0", "0/2", "3/2", "x", "1"] {
        let output = run(dir, &["build", "--codes", "parts", "--shard", shard]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("no part of a job"), "{message}");
    }
}

#[test]
fn the_type_of_a_file_can_be_given() {
    let dir = tempfile::tempdir().unwrap();
    let (path, set) = (dir.path().join("codes"), small_set());
    for format in [CodesFormat::Parquet, CodesFormat::Safetensors] {
        set.write_as(&path, format).unwrap();
        assert_eq!(CodeSet::read(&path, None).unwrap(), set);
    }
    let output = |words: &[&str]| run(dir.path(), words);
    assert!(output(&["build", "--codes", "codes", "--out", "idx"]).status.success());
    for (format, begin) in [("parquet", &b"PAR1"[..]), ("npy", b"\x93NUMPY")] {
        let words = ["export", "--index", "idx", "--out", "all.codes", "--format", format];
        assert!(output(&words).status.success());
        assert!(fs::read(dir.path().join("all.codes")).unwrap().starts_with(begin));
    }
    let wrong = output(&["export", "--index", "idx", "--out", "x", "--format", "csv"]);
    assert_eq!(wrong.status.code(), Some(2));
}
