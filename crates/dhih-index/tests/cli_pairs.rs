//! `dhih-index pairs`: what it writes, prints and refuses. That the pairs are right is tested beside the library.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use common::Numbers;
use dhih_index::{CodeSet, Codes, Error, PairOptions};
use program::{failure, json_lines, stdout};

/// An index `idx` of 500 clustered codes, and one of 40 of them, `other`, under other ids.
fn indexes() -> (tempfile::TempDir, CodeSet) {
    let (dir, mut numbers) = (tempfile::tempdir().unwrap(), Numbers(3));
    let centres: Vec<_> = (0..60).map(|_| numbers.code(64)).collect();
    let codes = (0..500).map(|at| numbers.near(&centres[at % 60], 64, 3));
    let set = CodeSet::new(Codes::from_codes(64, codes).unwrap());
    let other = CodeSet {
        ids: Some((0..40).map(|id| id + 10_000).collect()),
        ..CodeSet::new(set.codes.select(&(0..40).collect::<Vec<_>>()))
    };
    for (set, name) in [(&set, "idx"), (&other, "other")] {
        set.write(dir.path().join("codes.parquet")).unwrap();
        stdout(dir.path(), &["build", "--codes", "codes.parquet", "--out", name]);
    }
    (dir, set)
}

fn csv(dir: &Path, name: &str) -> Vec<Vec<u64>> {
    let text = fs::read_to_string(dir.join(name)).unwrap();
    let number = |word: &str| match word {
        "true" => 1,
        "false" => 0,
        word => word.parse().unwrap(),
    };
    text.lines().skip(1).map(|line| line.split(',').map(number).collect()).collect()
}

#[test]
fn pairs_and_groups_are_written_in_every_format() {
    let (dir, set) = indexes();
    let dir = dir.path();
    let mut expected = Vec::new();
    set.pairs(&PairOptions::within(4), |pairs| {
        expected.extend(pairs.iter().map(|p| vec![p.first, p.second, u64::from(p.distance)]));
        Ok::<(), Error>(())
    })
    .unwrap();
    assert!(expected.len() > 500);
    let pairs = ["pairs", "--index", "idx", "--radius", "4", "--out"];
    let told = stdout(dir, &[&pairs[..], &["p.csv", "--json"]].concat());
    let told = &json_lines(&told)[0];
    assert_eq!((&told["pairs"], &told["items"]), (&expected.len().into(), &500.into()));
    assert_eq!(csv(dir, "p.csv"), expected);
    let told = stdout(dir, &[&pairs[..], &["p.jsonl"]].concat());
    assert!(
        told.contains(&format!("{} pairs of 500 items within radius 4 in p.jsonl", expected.len())),
        "{told}"
    );
    let lines = json_lines(&fs::read_to_string(dir.join("p.jsonl")).unwrap());
    let numbers = |line: &serde_json::Value| {
        ["first", "second", "distance"].map(|name| line[name].as_u64().unwrap()).to_vec()
    };
    assert_eq!(lines.iter().map(numbers).collect::<Vec<_>>(), expected);
    // Little memory, and another number of threads.
    let little = ["p2.csv", "--memory", "64MiB", "--threads", "3"];
    stdout(dir, &[&pairs[..], &little].concat());
    assert_eq!(csv(dir, "p2.csv"), expected);
    stdout(dir, &[&pairs[..], &["p.parquet"]].concat());
    assert!(fs::read(dir.join("p.parquet")).unwrap().starts_with(b"PAR1"));

    stdout(dir, &[&pairs[..], &["against.csv", "--against", "other"]].concat());
    let against = csv(dir, "against.csv");
    let own = |row: &Vec<u64>| row[0] + 10_000 == row[1] && row[2] == 0;
    assert!(against.iter().filter(|row| own(row)).count() == 40 && against.len() > 40);

    for (linkage, bound) in [("stars", 8), ("components", 64), ("complete", 4)] {
        let words = [&pairs[..], &["groups.csv", "--group", linkage, "--json"]].concat();
        let told = &json_lines(&stdout(dir, &words))[0];
        let rows = csv(dir, "groups.csv");
        let groups = rows.iter().map(|row| row[0]).max().unwrap() + 1;
        assert_eq!((&told["groups"], &told["grouped"]), (&groups.into(), &rows.len().into()));
        assert_eq!(rows.iter().filter(|row| row[2] == 1).count() as u64, groups);
        assert!(rows.iter().all(|row| row[3] <= row[4] && row[4] <= bound), "{linkage}");
        assert_eq!(told["beside_kept"], rows.len() - groups as usize);
    }
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_written() {
    let (dir, _) = indexes();
    let dir = dir.path();
    let short = CodeSet::new(Codes::new(16, vec![0, 1]).unwrap());
    short.write(dir.join("short.safetensors")).unwrap();
    stdout(dir, &["build", "--codes", "short.safetensors", "--out", "short"]);
    for (words, code, expected) in [
        (
            &["--index", "idx", "--radius", "3", "--out", "p.txt"][..],
            1,
            "end it in .parquet, .jsonl or .csv",
        ),
        (&["--index", "absent", "--radius", "3", "--out", "p.csv"], 1, "no index at absent"),
        (
            &["--index", "idx", "--radius", "3", "--out", "p.csv", "--against", "short"],
            1,
            "16 bits",
        ),
        (&["--index", "idx", "--radius", "3", "--out", "p.csv", "--memory", "1MiB"], 1, "too few"),
        (&["--index", "idx", "--radius", "3", "--out", "no/p.csv"], 1, "cannot write no/p.csv"),
        (&["--index", "idx", "--out", "p.csv"], 2, "--radius"),
        (&["--index", "idx", "--radius", "3", "--out", "p.csv", "--group", "chains"], 2, "stars"),
        (
            &[
                "--index",
                "idx",
                "--radius",
                "3",
                "--out",
                "p.csv",
                "--group",
                "stars",
                "--against",
                "idx",
            ],
            2,
            "cannot be used with",
        ),
    ] {
        let told = failure(dir, &[&["pairs"], words].concat(), code);
        assert!(told.contains(expected), "{words:?}: {told}");
        assert!(!dir.join("p.csv").exists(), "{words:?}");
    }
}

#[test]
fn lists_of_hashes_are_codes_files() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let set = CodeSet::new(Numbers(4).codes(256, 30));
    let text: String = (0..30).map(|at| set.codes.to_hex(at) + "\n").collect();
    fs::write(dir.join("hashes.txt"), format!("# hashes\n{text}")).unwrap();
    stdout(dir, &["build", "--codes", "hashes.txt", "--out", "idx"]);
    stdout(dir, &["export", "--index", "idx", "--out", "again.hex"]);
    assert_eq!(fs::read_to_string(dir.join("again.hex")).unwrap(), text);
    assert_eq!(CodeSet::read(dir.join("again.hex"), Some(256)).unwrap(), set);
    fs::write(dir.join("wrong.hex"), "00ff\n00fg\n").unwrap();
    let told = failure(dir, &["build", "--codes", "wrong.hex", "--out", "wrong"], 1);
    assert!(
        told.contains("wrong.hex is not a usable codes file: line 2 is not hexadecimal"),
        "{told}"
    );
}
