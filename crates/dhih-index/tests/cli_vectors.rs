//! Vectors beside codes, as a user of the program keeps and rescores with them: the same hits as by the definition, and clear refusals.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use common::Numbers;
use dhih_index::{CodeSet, Codes, Flat, VectorSet};
use program::{failure, json_lines, stdout};
use safetensors::SafeTensors;
use serde_json::Value;

const DIMS: usize = 24;

fn vectors(numbers: &mut Numbers, count: usize) -> Vec<f32> {
    let mut number = || numbers.below(2001) as f32 / 1000.0 - 1.0;
    let centres: Vec<f32> = (0..5 * DIMS).map(|_| number()).collect();
    let near = |at: usize| centres[(at / DIMS % 5) * DIMS + at % DIMS];
    (0..count * DIMS).map(|at| near(at) + 0.4 * number()).collect()
}

fn write(dir: &Path, name: &str, vectors: &[f32]) -> CodeSet {
    let set = CodeSet::new(Codes::from_real(DIMS as u32, vectors).unwrap());
    set.write(dir.join(format!("{name}.safetensors"))).unwrap();
    let vectors = VectorSet::from_f32(DIMS, vectors).unwrap();
    vectors.write(dir.join(format!("{name}.npy"))).unwrap();
    CodeSet { vectors: Some(vectors), ..set }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let sum = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    sum(a, b) / (sum(a, a) * sum(b, b)).sqrt()
}

#[test]
fn candidates_of_a_file_of_queries_are_rescored() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, numbers) = (dir.path(), &mut Numbers(31));
    let all = write(dir, "all", &vectors(numbers, 400));
    let queries = write(dir, "queries", &vectors(numbers, 6));
    let kept = all.vectors.as_ref().unwrap();
    for (number, slack) in [("f32", 1e-6), ("f16", 1e-3), ("int8", 2e-2)] {
        let build = ["build", "--codes", "all.safetensors", "--vectors", "all.npy", "--as", number];
        let told = stdout(dir, &[&build[..], &["--out", "idx"]].concat());
        assert!(told.contains(&format!("vectors     24 numbers, {number}")), "{told}");
        let search = ["search", "--index", "idx", "--queries", "queries.safetensors", "-k", "7"];
        let rescore = ["--query-vectors", "queries.npy", "--rescore", "50"];
        let lines = json_lines(&stdout(
            dir,
            &[&search[..], &rescore, &["--json", "--out", "hits.safetensors"]].concat(),
        ));
        let bytes = fs::read(dir.join("hits.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("similarities").unwrap().shape(), [6, 7]);
        let flat = Flat::of(&all).unwrap();
        for (row, line) in lines.iter().enumerate() {
            let query = queries.vectors.as_ref().unwrap().get(row).unwrap();
            let candidates = flat.knn(&queries.codes[row], 51).unwrap();
            let within = candidates[50].distance.checked_sub(1);
            assert_eq!(line["query"], row);
            assert_eq!((&line["exact"], &line["certain_within"]), (&true.into(), &within.into()));
            let mut expected: Vec<f64> = candidates[..50]
                .iter()
                .map(|hit| cosine(&query, &kept.get(hit.id as usize).unwrap()))
                .collect();
            expected.sort_by(|a, b| b.total_cmp(a));
            let hits = line["hits"].as_array().unwrap();
            assert_eq!(hits.len(), 7);
            for (hit, expected) in hits.iter().zip(&expected) {
                let similarity = hit["similarity"].as_f64().unwrap();
                assert!((similarity - expected).abs() < slack, "{number}: {similarity} {expected}");
            }
        }
        let table = stdout(dir, &[&search[..], &rescore].concat());
        assert!(table.contains("query 0: 7 hits; every code within"), "{table}");
        assert_eq!(table.lines().count(), 6 * (2 + 7), "{table}");
    }
}

#[test]
fn vectors_come_with_items_and_leave_with_an_export() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, numbers) = (dir.path(), &mut Numbers(32));
    let all = write(dir, "all", &vectors(numbers, 100));
    let more = write(dir, "more", &vectors(numbers, 9));
    let build = ["build", "--codes", "all.safetensors", "--out", "idx"];
    stdout(dir, &[&build[..], &["--vectors", "all.npy", "--as", "f16"]].concat());
    let add = ["add", "--index", "idx", "--codes", "more.safetensors"];
    let told = failure(dir, &add, 1);
    assert!(told.contains("no vectors, those of the index vectors of 24 numbers"), "{told}");
    assert!(told.contains("hint: `--vectors FILE`"), "{told}");
    stdout(dir, &[&add[..], &["--vectors", "more.npy"]].concat());
    stdout(dir, &["remove", "--index", "idx", "--ids", "0,3"]);
    stdout(dir, &["compact", "--index", "idx"]);
    stdout(dir, &["verify", "--index", "idx"]);
    let export = ["export", "--index", "idx", "--out", "out.safetensors"];
    stdout(dir, &[&export[..], &["--vectors", "out.npy"]].concat());
    let (exported, again) = (
        VectorSet::open(dir.join("out.npy")).unwrap(),
        CodeSet::read(dir.join("out.safetensors"), None),
    );
    let ids = again.unwrap().ids.unwrap();
    assert_eq!((exported.len(), ids.len()), (107, 107));
    for (row, id) in ids.into_iter().enumerate() {
        let (set, at) = if id < 100 { (&all, id) } else { (&more, id - 100) };
        let given = set.vectors.as_ref().unwrap().get(at as usize).unwrap();
        for (kept, given) in exported.get(row).unwrap().iter().zip(&given) {
            assert!((kept - given).abs() <= given.abs() / 2048.0 + 1e-7, "{kept} {given}");
        }
    }
    // An index of the export has the same items.
    let info = |words: &[&str]| -> Value { serde_json::from_str(&stdout(dir, words)).unwrap() };
    let build = ["build", "--codes", "out.safetensors", "--vectors", "out.npy", "--out", "b"];
    let built = info(&[&build[..], &["--json"]].concat());
    let kept = |info: &Value| -> Vec<Value> {
        let sections = info["segments"][0]["sections"].as_array().unwrap().iter();
        let is_kept = |section: &&Value| section["kind"] == "ids" || section["kind"] == "vectors";
        sections.filter(is_kept).map(|section| section["xxh3"].clone()).collect()
    };
    assert_eq!(kept(&built).len(), 2);
    assert_eq!(kept(&built), kept(&info(&["inspect", "--index", "idx", "--json"])));
}

#[test]
fn a_budget_has_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, numbers) = (dir.path(), &mut Numbers(33));
    write(dir, "all", &vectors(numbers, 200));
    stdout(dir, &["build", "--codes", "all.safetensors", "--out", "idx"]);
    let search = ["search", "--index", "idx", "--queries", "all.safetensors", "-k", "3", "--json"];
    for (budget, exact) in [("0", false), ("9000000", true)] {
        let lines = json_lines(&stdout(dir, &[&search[..], &["--budget-us", budget]].concat()));
        assert_eq!(lines.len(), 200);
        for line in lines {
            assert_eq!(
                (&line["exact"], line["hits"].as_array().unwrap().len() == 3),
                (&exact.into(), exact)
            );
            assert!(exact || line["certain_within"].is_null());
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, numbers) = (dir.path(), &mut Numbers(34));
    let all = write(dir, "all", &vectors(numbers, 30));
    write(dir, "few", &vectors(numbers, 29));
    let build = |vectors: &str, more: &[&str]| {
        let words = ["build", "--codes", "all.safetensors", "--out", "new", "--vectors", vectors];
        failure(dir, &[&words[..], more].concat(), 1)
    };
    assert!(build("few.npy", &[]).contains("29 vectors for 30 codes"));
    assert!(build("absent.npy", &[]).contains("absent.npy"));
    assert!(build("all.safetensors", &[]).contains("all.safetensors"));
    let numbers_of = |change: &dyn Fn(&mut Vec<f32>)| {
        let kept = all.vectors.as_ref().unwrap();
        let mut numbers: Vec<f32> = (0..30).flat_map(|row| kept.get(row).unwrap()).collect();
        change(&mut numbers);
        let mut bytes = fs::read(dir.join("all.npy")).unwrap();
        let start = bytes.len() - 4 * numbers.len();
        bytes.truncate(start);
        bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        fs::write(dir.join("odd.npy"), bytes).unwrap();
    };
    numbers_of(&|numbers| numbers[7 * DIMS + 3] = f32::NAN);
    let told = build("odd.npy", &["--as", "int8"]);
    assert!(told.contains("odd.npy") && told.contains("row 7 has NaN at 3"), "{told}");
    numbers_of(&|numbers| numbers[8 * DIMS + 2] = 1e5);
    let told = build("odd.npy", &["--as", "f16"]);
    assert!(told.contains("vector 8 cannot be kept: its number 2 is 100000"), "{told}");
    assert!(!dir.join("new/manifest.json").exists());

    stdout(dir, &["build", "--codes", "all.safetensors", "--out", "plain"]);
    stdout(dir, &["build", "--codes", "all.safetensors", "--vectors", "all.npy", "--out", "idx"]);
    let search = |index: &str, more: &[&str], code: i32| {
        let words = ["search", "--index", index, "--queries", "all.safetensors", "-k", "5"];
        failure(dir, &[&words[..], more].concat(), code)
    };
    let rescore = ["--query-vectors", "all.npy", "--rescore", "9"];
    let told = search("plain", &rescore, 1);
    assert!(
        told.contains("keeps no vectors") && told.contains("hint: `dhih-index build --vectors")
    );
    assert!(
        search("idx", &["--query-vectors", "few.npy", "--rescore", "9"], 1)
            .contains("29 vectors for 30")
    );
    assert!(
        search("idx", &["--query-vectors", "all.npy", "--rescore", "4"], 1)
            .contains("4 candidates are fewer")
    );
    assert!(search("idx", &["--rescore", "9"], 2).contains("--query-vectors"));
    assert!(search("idx", &["--query-vectors", "all.npy"], 2).contains("--rescore"));
    let told = failure(dir, &["export", "--index", "plain", "--out", "o", "--vectors", "o.npy"], 1);
    assert!(told.contains("keeps no vectors"), "{told}");
}
