//! The commands that change an index or save it from damage: what they do, print and refuse.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Numbers, small_set};
use dhih_index::{CodeSet, Index};
use program::{failure, json_lines, run, stdout};
use serde_json::{Value, json};

/// An index of the small set in `idx`, and one line of JSON from each command on it.
struct Changed {
    dir: tempfile::TempDir,
    set: CodeSet,
}

impl Changed {
    fn new() -> Self {
        let (dir, set) = (tempfile::tempdir().unwrap(), small_set());
        set.write(dir.path().join("codes.safetensors")).unwrap();
        stdout(dir.path(), &["build", "--codes", "codes.safetensors", "--out", "idx"]);
        Self { dir, set }
    }

    fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--index", "idx", "--json"]].concat();
        json_lines(&stdout(self.dir.path(), &words)).remove(0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ids(&self) -> Vec<u64> {
        Index::open(self.path("idx")).unwrap().ids()
    }
}

#[test]
fn upsert_replaces_items_of_the_same_ids() {
    let changed = Changed::new();
    let (ids, mut numbers) = (changed.set.ids.clone().unwrap(), Numbers(5));
    let new = CodeSet {
        ids: Some(vec![ids[3], u64::MAX - 1, ids[0]]),
        codes: numbers.codes(20, 3),
        labels: Some(dhih_index::Labels::Single(vec![1, 1, 1])),
        ..changed.set.clone()
    };
    new.write(changed.path("new.parquet")).unwrap();
    let message =
        failure(changed.dir.path(), &["add", "--index", "idx", "--codes", "new.parquet"], 1);
    assert!(message.contains("is taken") && message.contains("hint: `dhih-index upsert`"));
    assert_eq!(changed.ids().len(), 12);

    let upsert = ["upsert", "--codes", "new.parquet"];
    assert_eq!(changed.json(&upsert), json!({"added": 1, "replaced": 2, "codes": 13}));
    assert_eq!(changed.json(&upsert), json!({"added": 0, "replaced": 3, "codes": 13}));
    let index = Index::open(changed.path("idx")).unwrap();
    for (row, id) in new.ids.iter().flatten().enumerate() {
        assert_eq!(index.code(*id), Some(new.codes.get(row)));
    }
    index.verify().unwrap();
}

#[test]
fn ids_to_remove_come_from_a_file_too() {
    let changed = Changed::new();
    let ids = changed.set.ids.clone().unwrap();
    fs::write(changed.path("ids.txt"), format!("{},{}\n\n  {} 7\r\n", ids[1], ids[4], ids[9]))
        .unwrap();
    let remove = ["remove", "--ids-file", "ids.txt"];
    assert_eq!(changed.json(&remove), json!({"removed": 3, "codes": 9}));
    assert!([1, 4, 9].iter().all(|row| !changed.ids().contains(&ids[*row])));
    fs::write(changed.path("ids.txt"), "1 x").unwrap();
    let words = ["remove", "--index", "idx", "--ids-file", "ids.txt"];
    assert!(failure(changed.dir.path(), &words, 1).contains("\"x\" in ids.txt"));
    failure(changed.dir.path(), &[&words[..], &["--ids", "1"]].concat(), 2);
    failure(changed.dir.path(), &["remove", "--index", "idx"], 2);
}

/// The bug: an id that was given twice counted as one that is not there.
#[test]
fn an_id_that_is_given_twice_is_removed_once() {
    let changed = Changed::new();
    let id = changed.ids()[3];
    let ids = format!("{id},{id},1");
    let output = run(changed.dir.path(), &["remove", "--index", "idx", "--ids", &ids]);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && notes.contains("1 of these ids were not"), "{notes}");
    assert_eq!(changed.ids().len(), 11);
}

/// The bug: the length of codes in hexadecimal was taken for a multiple of eight bits, and then did not suit the index.
#[test]
fn hexadecimal_text_has_codes_of_the_length_of_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let codes = Numbers(6).codes(20, 9);
    CodeSet::new(codes.clone()).write(dir.join("codes.hex")).unwrap();
    stdout(dir, &["build", "--codes", "codes.hex", "--bits", "20", "--out", "idx"]);
    let search = ["search", "--index", "idx", "--queries", "codes.hex", "-k", "1", "--json"];
    let hits = json_lines(&stdout(dir, &search));
    assert!(hits.len() == 9 && hits.iter().all(|line| line["hits"][0]["distance"] == 0));
    // Where the index is while it is searched changes no hit.
    for flag in ["--on-disk", "--in-memory"] {
        assert_eq!(json_lines(&stdout(dir, &[&search[..], &[flag]].concat())), hits, "{flag}");
    }
    failure(dir, &[&search[..], &["--on-disk", "--in-memory"]].concat(), 2);
    stdout(dir, &["bench", "--index", "idx", "--queries", "codes.hex", "-k", "1", "--on-disk"]);
    for command in ["add", "upsert"] {
        stdout(dir, &[command, "--index", "idx", "--codes", "codes.hex"]);
    }
    assert_eq!(Index::open(dir.join("idx")).unwrap().len(), 27);
    fs::write(dir.join("long.hex"), "00000000\n").unwrap();
    let message = failure(dir, &["add", "--index", "idx", "--codes", "long.hex"], 1);
    assert!(message.contains("a code of 20 bits has 6 hexadecimal digits"), "{message}");
}

#[test]
fn merge_keeps_all_items_and_a_checkpoint_is_an_index() {
    let changed = Changed::new();
    let ids = Some((1 << 40..(1 << 40) + 12).collect());
    let more = CodeSet { ids, ..changed.set.clone() };
    more.write(changed.path("more.safetensors")).unwrap();
    changed.json(&["add", "--codes", "more.safetensors"]);
    let before = changed.ids();
    let merged = changed.json(&["merge", "--memory", "1GiB"]);
    assert_eq!((&merged["codes"], changed.ids()), (&json!(24), before.clone()));
    failure(changed.dir.path(), &["merge", "--index", "idx", "--memory", "much"], 2);

    for words in [&["--out", "linked"][..], &["--out", "copied", "--copy"]] {
        let made = changed.json(&[&["checkpoint"], words].concat());
        assert_eq!(made["codes"], 24);
        // What is changed later is not in the checkpoint.
        let gone = changed.ids()[0].to_string();
        changed.json(&["remove", "--ids", &gone]);
        let index = Index::open(changed.path(words[1])).unwrap();
        index.verify().unwrap();
        assert_eq!(index.ids(), before);
        changed.json(&["upsert", "--codes", "codes.safetensors"]);
        stdout(changed.dir.path(), &["upsert", "--index", "idx", "--codes", "more.safetensors"]);
    }
    let words = ["checkpoint", "--index", "idx", "--out", "linked"];
    assert!(failure(changed.dir.path(), &words, 1).contains("linked holds an index already"));
}

/// The write-ahead log of an index.
fn log(dir: &Path) -> PathBuf {
    let mut files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.find(|file| file.file_name().unwrap().to_string_lossy().starts_with("log-")).unwrap()
}

#[test]
fn salvage_tells_what_is_lost_before_it_goes_on_without() {
    let changed = Changed::new();
    let dir = changed.dir.path();
    assert_eq!(changed.json(&["salvage"])["sound"], true);
    for id in &changed.set.ids.as_ref().unwrap()[..3] {
        changed.json(&["remove", "--ids", &id.to_string()]);
    }
    let file = log(&dir.join("idx"));
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();

    // Nothing that may be lost is left out in silence, and nothing is cut off.
    for words in [
        &["search", "--code", "000000", "-k", "1"][..],
        &["add", "--codes", "codes.safetensors"],
        &["export", "--out", "all.npy"],
    ] {
        let message = failure(dir, &[words, &["--index", "idx"]].concat(), 1);
        assert!(message.contains("is damaged at byte"), "{message}");
        assert!(message.contains("hint: `dhih-index salvage --index idx --dry-run`"), "{message}");
    }
    let told = changed.json(&["salvage", "--dry-run"]);
    assert_eq!(
        (&told["sound"], &told["dry_run"], &told["kept"]),
        (&json!(false), &json!(true), &Value::Null)
    );
    assert!(told["lost"][0]["bytes"].as_u64().unwrap() > 0, "{told}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
    assert!(
        stdout(dir, &["salvage", "--index", "idx", "--dry-run"]).contains("nothing was changed")
    );

    let saved = changed.json(&["salvage"]);
    assert_eq!((&saved["codes"], &saved["lost"]), (&told["codes"], &told["lost"]));
    assert_eq!(fs::read(dir.join(saved["kept"].as_str().unwrap())).unwrap(), bytes);
    assert!(run(dir, &["verify", "--index", "idx"]).status.success());
    assert_eq!(changed.ids().len() as u64, saved["codes"].as_u64().unwrap());
}
