//! The commands of the program, run as a user runs them: what they print, write and refuse.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::io::Read;
use std::process::Stdio;

use common::{Numbers, small_set};
use dhih_index::{CodeSet, Flat, Hit, Index, Labels};
use program::{command, failure, json_lines, run, stdout};
use safetensors::SafeTensors;
use serde_json::Value;

fn hits(value: &Value) -> Vec<Hit> {
    let number = |hit: &Value, name: &str| hit[name].as_u64().unwrap();
    let hit = |hit: &Value| Hit::new(number(hit, "distance") as u32, number(hit, "id"));
    value["hits"].as_array().unwrap().iter().map(hit).collect()
}

#[test]
fn a_run_is_indexed_and_searched_with_no_further_words() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, set) = (dir.path(), small_set());
    assert!(failure(dir, &["build"], 1).contains("cargo run --release -p dhih-train"));
    assert!(failure(dir, &["verify"], 1).contains("dhih-index build"));
    fs::create_dir_all(dir.join("runs/latest")).unwrap();
    set.write(dir.join("runs/latest/codes.safetensors")).unwrap();

    assert!(stdout(dir, &["build"]).contains("codes       12"));
    assert!(dir.join("runs/latest/index/manifest.json").exists());
    let info: Value = serde_json::from_str(&stdout(dir, &["build", "--json"])).unwrap();
    let inspected: Value = serde_json::from_str(&stdout(dir, &["inspect", "--json"])).unwrap();
    assert_eq!(info, inspected);
    assert_eq!(
        (&info["bits"], &info["codes"], &info["version"]),
        (&20.into(), &12.into(), &3.into())
    );
    assert!(stdout(dir, &["inspect"]).contains(set.model_sha256.as_ref().unwrap()));
    assert!(stdout(dir, &["verify"]).contains("12 codes"));
    let verified: Value = serde_json::from_str(&stdout(dir, &["verify", "--json"])).unwrap();
    assert_eq!(verified["verified"], true);

    let table = stdout(dir, &["search", "--code", &set.codes.to_hex(4), "-k", "3"]);
    assert_eq!(table.lines().count(), 2 + 3, "{table}");
    let (id, class) = (set.ids.as_ref().unwrap()[4].to_string(), &set.classes[4 % 3]);
    let own = table.lines().find(|line| line.split_whitespace().nth(2) == Some(&id));
    assert!(
        own.is_some_and(|line| line.split_whitespace().eq(["1", "0", &id, class])
            || line.split_whitespace().nth(1) == Some("0")),
        "{table}"
    );
}

#[test]
fn searches_of_a_file_agree_with_the_scan_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, numbers) = (dir.path(), &mut Numbers(11));
    let set = CodeSet { ids: Some(numbers.ids(500)), ..CodeSet::new(numbers.codes(48, 500)) };
    set.write(dir.join("codes.safetensors")).unwrap();
    let queries = CodeSet::new(set.codes.select(&[1, 2, 3, 499]));
    queries.write(dir.join("queries.npy")).unwrap();
    stdout(dir, &["build", "--codes", "codes.safetensors", "--out", "idx", "--substrings", "4"]);
    assert_eq!(Index::open(dir.join("idx")).unwrap().info().substrings.len(), 4);
    let flat = Flat::of(&set).unwrap();
    let search = ["search", "--index", "idx", "--queries", "queries.npy"];

    let nearest = flat.knn_batch(&queries.codes, 7).unwrap();
    let lines = json_lines(&stdout(
        dir,
        &[&search[..], &["-k", "7", "--in-memory", "--json", "--out", "k"]].concat(),
    ));
    for (query, line) in lines.iter().enumerate() {
        assert_eq!((&line["query"], hits(line)), (&query.into(), nearest[query].clone()));
    }
    let within = flat.within_batch(&queries.codes, 9).unwrap();
    let words =
        [&search[..], &["--radius", "9", "--threads", "1", "--json", "--out", "r"]].concat();
    let lines = json_lines(&stdout(dir, &words));
    assert_eq!(lines.iter().map(hits).collect::<Vec<_>>(), within);

    let (nearest_file, within_file) =
        (fs::read(dir.join("k")).unwrap(), fs::read(dir.join("r")).unwrap());
    let nearest_file = SafeTensors::deserialize(&nearest_file).unwrap();
    assert_eq!(nearest_file.tensor("ids").unwrap().shape(), [4, 7]);
    assert_eq!(file_hits(&nearest_file), nearest.concat());
    let within_file = SafeTensors::deserialize(&within_file).unwrap();
    assert_eq!(file_hits(&within_file), within.concat());
    let offsets = within_file.tensor("offsets").unwrap();
    let offsets: Vec<u64> =
        offsets.data().as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    let lengths: Vec<usize> = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).collect();
    assert_eq!(offsets[0], 0);
    assert_eq!(lengths, within.iter().map(Vec::len).collect::<Vec<_>>());

    // A row has no more places than the index has items, which is told.
    let output = run(dir, &[&search[..], &["-k", "502", "--out", "k"]].concat());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && message.contains("500 places, not 502"), "{message}");
    let file = fs::read(dir.join("k")).unwrap();
    let file = file_hits(&SafeTensors::deserialize(&file).unwrap());
    assert_eq!((file.len(), output.stdout.len()), (4 * 500, 0));
    assert_eq!(file[..500], flat.knn(queries.codes.get(0), 500).unwrap());
    // A query with fewer hits has places without one.
    let few = ["--ids", &nearest[0][0].id.to_string(), "-k", "2", "--out", "k"];
    stdout(dir, &[&search[..], &few].concat());
    let file = fs::read(dir.join("k")).unwrap();
    let file = file_hits(&SafeTensors::deserialize(&file).unwrap());
    let none = Hit::new(u32::MAX, u64::MAX);
    assert_eq!((file.len(), file[0], file[1]), (4 * 2, nearest[0][0], none));
}

fn file_hits(file: &SafeTensors) -> Vec<Hit> {
    let (distances, ids) = (file.tensor("distances").unwrap(), file.tensor("ids").unwrap());
    let distances = distances.data().as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
    let ids = ids.data().as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    distances.zip(ids).map(|(distance, id)| Hit::new(distance, id)).collect()
}

#[test]
fn every_failure_names_the_cause_and_what_helps() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, set) = (dir.path(), small_set());
    set.write(dir.join("codes.safetensors")).unwrap();
    set.write(dir.join("codes.npy")).unwrap();
    fs::write(dir.join("empty.safetensors"), b"").unwrap();
    let other = CodeSet { model_sha256: Some("cd".repeat(32)), ..set.clone() };
    other.write(dir.join("other.safetensors")).unwrap();
    CodeSet::new(Numbers(0).codes(24, 3)).write(dir.join("longer.safetensors")).unwrap();
    let build = |more: &[&str]| failure(dir, &[&["build", "--out", "idx"], more].concat(), 1);
    let message = build(&["--codes", "none.safetensors"]);
    assert!(message.contains("cannot open none.safetensors: No such file"), "{message}");
    assert_eq!(message.matches("No such file").count(), 1, "{message}");
    assert!(build(&["--codes", "empty.safetensors"]).contains("empty.safetensors"));
    assert!(build(&["--codes", "codes.npy"]).contains("\nhint: add `--bits"));
    assert!(build(&["--codes", "codes.npy", "--bits", "0"]).contains("1 to 4096"));
    assert!(build(&["--codes", "codes.safetensors", "--bits", "24"]).contains("20-bit codes"));
    assert!(build(&["--codes", "codes.safetensors", "--substrings", "99"]).contains("use 1 to 20"));
    assert!(!dir.join("idx").exists());

    stdout(dir, &["build", "--codes", "codes.npy", "--bits", "20", "--out", "idx"]);
    stdout(dir, &["build", "--codes", "codes.safetensors", "--out", "idx"]);
    let search =
        |more: &[&str]| failure(dir, &[&["search", "--index", "idx", "-k", "1"], more].concat(), 1);
    assert!(
        search(&["--queries", "other.safetensors"]).contains("encode them with the index's model")
    );
    assert!(search(&["--queries", "longer.safetensors"]).contains("24 bits"));
    assert!(search(&["--queries", "none.safetensors"]).contains("none.safetensors"));
    assert!(search(&["--code", "xyz"]).contains("6 hexadecimal digits"));
    assert!(search(&["--code", "ffffff"]).contains("beyond bit 20"));
    let output = command(dir, &["search", "--index", "idx", "-k", "1", "--code", "ffff0f"])
        .env("DHIH_ISA", "mmx")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("DHIH_ISA=mmx"));
    assert_eq!(output.status.code(), Some(1));

    let usage = |words: &[&str]| failure(dir, words, 2);
    usage(&[]);
    usage(&["search", "--index", "idx"]);
    usage(&["search", "--index", "idx", "--code", "ffff0f"]);
    usage(&["search", "--index", "idx", "--code", "ffff0f", "-k", "0"]);
    usage(&["search", "--index", "idx", "--code", "ffff0f", "-k", "1", "--radius", "1"]);
    usage(&["search", "--index", "idx", "--code", "ffff0f", "-k", "1", "--threads", "0"]);

    let file = fs::read_dir(dir.join("idx")).unwrap().map(|entry| entry.unwrap().path());
    let mut files = file.filter(|path| path.extension().is_some_and(|e| e == "dhih"));
    let file = files.next().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(failure(dir, &["verify", "--index", "idx"], 1).contains("is corrupt"));
}

#[test]
fn flags_have_environment_twins_and_a_closed_pipe_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let codes = Numbers(1).codes(32, 3000);
    CodeSet::new(codes).write(dir.join("codes.npy")).unwrap();
    let built = command(dir, &["build"])
        .envs([("DHIH_CODES", "codes.npy"), ("DHIH_BUILD_BITS", "32"), ("DHIH_JSON", "1")])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert_eq!(json_lines(&String::from_utf8(built.stdout).unwrap())[0]["codes"], 3000);

    let mut child = command(dir, &["search", "--index", "index", "--json"])
        .envs([("DHIH_QUERIES", "codes.npy"), ("DHIH_K", "50")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 10]).unwrap();
    drop(out);
    let ended = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && message.contains("queries/s"), "{message}");
    for words in [&["--help"][..], &["build", "--help"], &["search", "--help"]] {
        assert!(stdout(dir, words).contains("dhih-index"));
    }
}

#[test]
fn every_instruction_set_gives_the_same_hits() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    CodeSet::new(Numbers(6).codes(96, 2000)).write(dir.join("codes.npy")).unwrap();
    stdout(dir, &["build", "--codes", "codes.npy", "--bits", "96"]);
    let words = ["search", "--index", "index", "--queries", "codes.npy", "-k", "20", "--json"];
    let expected = stdout(dir, &words);
    for isa in ["scalar", "avx2", "avx512bw", "avx512", "neon"] {
        let output = command(dir, &words).env("DHIH_ISA", isa).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            assert!(isa != "scalar" && message.contains("is not available here"), "{message}");
            continue;
        }
        assert!(message.contains(isa));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{isa}");
    }
}

#[test]
fn an_index_is_changed_filtered_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, numbers) = (dir.path(), &mut Numbers(21));
    let set = small_set();
    set.write(dir.join("codes.safetensors")).unwrap();
    let more = CodeSet {
        codes: numbers.codes(20, 3),
        ids: None,
        labels: Some(Labels::Single(vec![2, 0, 2])),
        ..set.clone()
    };
    more.write(dir.join("more.safetensors")).unwrap();
    stdout(dir, &["build", "--codes", "codes.safetensors", "--out", "idx"]);
    let index = ["--index", "idx", "--json"];
    let json = |words: &[&str]| -> Value {
        serde_json::from_str(&stdout(dir, &[words, &index].concat())).unwrap()
    };
    assert_eq!(json(&["add", "--codes", "more.safetensors"])["codes"], 15);
    assert!(
        failure(dir, &["add", "--index", "idx", "--codes", "codes.safetensors"], 1)
            .contains("is taken")
    );
    let gone = set.ids.as_ref().unwrap()[2].to_string();
    assert_eq!(json(&["remove", "--ids", &gone])["removed"], 1);
    assert_eq!(json(&["remove", "--ids", &gone])["removed"], 0);
    assert_eq!(
        (&json(&["inspect"])["logged"], &json(&["inspect"])["deleted"]),
        (&3.into(), &1.into())
    );
    stdout(dir, &["verify", "--index", "idx"]);

    let query = set.codes.to_hex(2);
    let search = ["search", "--code", &query, "-k", "99"];
    let found = |words: &[&str]| hits(&json(&[&search[..], words].concat()));
    let all = found(&[]);
    assert!(all.len() == 14 && all.iter().all(|hit| hit.id.to_string() != gone));
    let ships = found(&["--label", "ship"]);
    assert_eq!((ships.len(), &ships), (3 + 2, &found(&["--label", "2"])));
    assert_eq!(found(&["--label", "cat", "--label", "dog"]).len(), 14 - ships.len());
    let id = ships[1].id.to_string();
    assert_eq!(found(&["--label", "ship", "--ids", &id]), [ships[1]]);
    let refused = |index: &str, label: &str| {
        let words = ["--index", index, "--label", label];
        failure(dir, &[&search[..], &words].concat(), 1)
    };
    for label in ["bird", "3", "99999999999999999999"] {
        let message = refused("idx", label);
        assert!(message.contains(&format!("no class of the index is named or numbered {label}\n")));
        assert!(message.contains("hint: give `--label` one of cat (0), dog (1), ship (2)"));
    }

    assert_eq!(json(&["compact"])["reclaimed"], 1);
    assert_eq!((found(&[]), found(&["--label", "ship"])), (all, ships));
    assert_eq!(json(&["export", "--out", "all.safetensors"])["codes"], 14);
    let exported = CodeSet::read(dir.join("all.safetensors"), None).unwrap();
    assert_eq!((exported.codes.len(), &exported.classes), (14, &set.classes));
    assert!(!exported.ids.unwrap().contains(&set.ids.unwrap()[2]));
    // Parquet holds the same, and an index of it finds the same.
    json(&["export", "--out", "all.parquet"]);
    let parquet = CodeSet::read(dir.join("all.parquet"), None).unwrap();
    assert_eq!(parquet, CodeSet::read(dir.join("all.safetensors"), None).unwrap());
    stdout(dir, &["build", "--codes", "all.parquet", "--out", "again"]);
    let again = stdout(dir, &[&search[..], &["--index", "again", "--json"]].concat());
    assert_eq!(hits(&serde_json::from_str(&again).unwrap()), found(&[]));
    let words = [&search[..], &["--index", "idx", "--explain"]].concat();
    let explained = String::from_utf8(run(dir, &words).stderr).unwrap();
    assert!(explained.contains("\"costs\"") && explained.contains("\"action\""), "{explained}");
}

#[test]
fn classes_without_names_are_known_by_the_items_that_have_them() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let unnamed = CodeSet { classes: Vec::new(), ..small_set() };
    unnamed.write(dir.join("codes.safetensors")).unwrap();
    CodeSet { labels: None, ..unnamed }.write(dir.join("none.safetensors")).unwrap();
    stdout(dir, &["build", "--codes", "codes.safetensors", "--out", "idx"]);
    stdout(dir, &["build", "--codes", "none.safetensors", "--out", "none"]);
    let search = ["search", "--code", "000000", "-k", "9", "--index"];
    let found = stdout(dir, &[&search[..], &["idx", "--label", "2", "--json"]].concat());
    assert_eq!(hits(&json_lines(&found)[0]).len(), 4);
    for (index, label, hint) in [
        ("idx", "3", "hint: give `--label` one of 0, 1, 2\n"),
        ("idx", "cat", "hint: give `--label` one of 0, 1, 2\n"),
        ("none", "0", "hint: the items of this index have no labels: leave out `--label`\n"),
    ] {
        let message = failure(dir, &[&search[..], &[index, "--label", label]].concat(), 1);
        assert!(message.ends_with(hint), "{message}");
    }
}

#[test]
fn a_flag_overrules_the_twins_of_its_rivals() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    small_set().write(dir.join("codes.safetensors")).unwrap();
    stdout(dir, &["build", "--codes", "codes.safetensors", "--out", "idx"]);
    let rivals = [("DHIH_K", "5"), ("DHIH_QUERIES", "absent.npy"), ("DHIH_EXPLAIN", "1")];
    let search = ["search", "--index", "idx", "--code", "000000", "--label", "cat", "--json"];
    let run = |words: &[&str]| {
        let words = [&search[..], words].concat();
        let output = command(dir, &words).envs(rivals).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        hits(&json_lines(&String::from_utf8(output.stdout).unwrap())[0]).len()
    };
    // The four cats are within 20 bits; at most two hits are asked for.
    assert_eq!((run(&["--radius", "20"]), run(&["-k", "2"]), run(&[])), (4, 2, 4));
    let both = command(dir, &search).envs([("DHIH_K", "5"), ("DHIH_RADIUS", "1")]).output();
    // Of two twins that exclude each other, the one whose flag is declared first counts.
    let both = String::from_utf8(both.unwrap().stdout).unwrap();
    assert_eq!(hits(&json_lines(&both)[0]).len(), run(&["-k", "5"]));
}

/// macOS writes an accent in the name of a class folder behind its letter; a keyboard gives one character for both.
#[test]
fn a_class_is_found_however_its_accent_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let set = small_set();
    let classes = ["Cafe\u{301}", "dog", "ship"].map(str::to_owned).to_vec();
    let set = CodeSet { classes, ..set };
    set.write(dir.join("codes.safetensors")).unwrap();
    stdout(dir, &["build", "--codes", "codes.safetensors", "--out", "idx"]);
    let found = |label: &str| {
        let search =
            ["search", "--index", "idx", "--code", "000000", "-k", "99", "--json", "--label"];
        let output = stdout(dir, &[&search[..], &[label]].concat());
        hits(&json_lines(&output)[0])
    };
    assert!(!found("0").is_empty());
    assert_eq!((found("Caf\u{e9}"), found("Cafe\u{301}")), (found("0"), found("0")));
}
