//! What users name without meaning harm: paths that are not UTF-8, pipes and devices, one file twice, two classes of one name, negative
//! numbers, thousands of threads. Each of these once ended in a crash, a hang, a lost file or hits that were left out.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/program.rs"]
mod program;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Numbers, small_set};
use dhih_index::{CodeSet, Labels, VectorSet};
use program::{command, failure, json_lines, stdout};
use serde_json::Value;

fn hits(text: &str) -> usize {
    json_lines(text)[0]["hits"].as_array().unwrap().len()
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// The bug: with `--json`, these commands did their work and then panicked.
#[test]
fn paths_need_not_be_utf_8() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join(OsStr::from_bytes(b"\xff"));
    fs::create_dir(&odd).unwrap();
    small_set().write(odd.join("codes.safetensors")).unwrap();
    stdout(&odd, &["build", "--codes", "codes.safetensors", "--out", "idx"]);
    let run = |words: &[&str], out: Option<&str>| -> Value {
        let mut command = command(dir.path(), words);
        command.arg("--json").arg("--index").arg(odd.join("idx"));
        if let Some(out) = out {
            command.arg("--out").arg(odd.join(out));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for (words, out) in [
        (&["checkpoint"][..], "copy"),
        (&["export"], "codes.npy"),
        (&["pairs", "--radius", "3"], "pairs.csv"),
        (&["pairs", "--radius", "3", "--group", "stars"], "groups.csv"),
    ] {
        assert!(run(words, Some(out))["out"].as_str().unwrap().ends_with(out), "{words:?}");
        assert!(odd.join(out).exists());
    }
    run(&["remove", "--ids", &small_set().ids.unwrap()[0].to_string()], None);
    let mut files = fs::read_dir(odd.join("idx")).unwrap().map(|entry| entry.unwrap().path());
    let is_log = |path: &PathBuf| path.file_name().unwrap().as_bytes().starts_with(b"log-");
    common::poke(&files.find(is_log).unwrap(), 0, 0);
    let salvaged = run(&["salvage"], None);
    assert!(salvaged["lost"][0]["file"].as_str().unwrap().ends_with(".dhih"), "{salvaged}");
    assert!(salvaged["kept"].as_str().unwrap().ends_with(".damaged"), "{salvaged}");
}

/// The bugs: a device or a pipe as the output was replaced by a file, and a pipe as the input was read twice, which waited for ever.
#[test]
fn pipes_and_devices_are_written_to_and_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    small_set().write(dir.join("codes.safetensors")).unwrap();
    stdout(dir, &["build", "--codes", "codes.safetensors", "--out", "idx"]);
    symlink("/dev/null", dir.join("null.csv")).unwrap();
    make_pipe(&dir.join("pipe.csv"));
    let pairs = ["pairs", "--index", "idx", "--radius", "20", "--out"];
    stdout(dir, &[&pairs[..], &["null.csv"]].concat());
    let path = dir.join("pipe.csv");
    let reader = std::thread::spawn(move || fs::read_to_string(path).unwrap());
    stdout(dir, &[&pairs[..], &["pipe.csv"]].concat());
    assert!(fs::metadata(dir.join("null.csv")).unwrap().file_type().is_char_device());
    assert!(fs::metadata(dir.join("pipe.csv")).unwrap().file_type().is_fifo());
    assert_eq!(reader.join().unwrap().lines().count(), 1 + 12 * 11 / 2);

    make_pipe(&dir.join("pipe.npy"));
    for words in [
        &["search", "--index", "idx", "-k", "1", "--queries", "pipe.npy"][..],
        &["build", "--bits", "20", "--codes", "pipe.npy"],
        &["build", "--codes", "codes.safetensors", "--vectors", "pipe.npy"],
        &["add", "--index", "idx", "--codes", "pipe.npy"],
    ] {
        assert!(failure(dir, words, 1).contains("pipe or a device: write its content to a file"));
    }
}

/// The bug: the vectors took the place of the codes, which the command said it had written.
#[test]
fn codes_and_vectors_are_not_written_to_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let set = small_set();
    let numbers: Vec<f32> = (0..24).map(|number| number as f32).collect();
    let set = CodeSet { vectors: Some(VectorSet::from_f32(2, &numbers).unwrap()), ..set };
    common::build(&set, &dir.join("idx"), None);
    let export = ["export", "--index", "idx", "--out", "all.safetensors", "--vectors"];
    for (file, what) in [("all.safetensors", "cannot both be in"), ("v.parquet", "as .npy")] {
        assert!(failure(dir, &[&export[..], &[file]].concat(), 1).contains(what));
    }
    assert!(!dir.join("all.safetensors").exists() && !dir.join("v.parquet").exists());
    stdout(dir, &[&export[..], &["v.npy"]].concat());
}

/// The bugs: of two classes of one name only the first was searched, and `--label -7` counted as a flag that does not exist.
#[test]
fn labels_may_share_a_name_or_be_negative() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let set = CodeSet { classes: ["a", "b", "a"].map(str::to_owned).to_vec(), ..small_set() };
    set.write(dir.join("named.safetensors")).unwrap();
    let labels = Some(Labels::Single((0..12).map(|item| -(item % 3)).collect()));
    let numbered = CodeSet { labels, classes: Vec::new(), ..small_set() };
    numbered.write(dir.join("numbered.safetensors")).unwrap();
    for name in ["named", "numbered"] {
        stdout(dir, &["build", "--codes", &format!("{name}.safetensors"), "--out", name]);
    }
    let found = |index: &str, label: &str| {
        let words = ["search", "--code", "000000", "-k", "99", "--json", "--index", index];
        hits(&stdout(dir, &[&words[..], &["--label", label]].concat()))
    };
    assert_eq!((found("named", "a"), found("named", "b")), (8, 4));
    assert_eq!((found("named", "0"), found("numbered", "-2")), (4, 4));
}

/// The bug: with 100,000 threads a search had not begun after a minute.
#[test]
fn thousands_of_threads_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let message = failure(dir.path(), &["inspect", "--threads", "100000"], 2);
    assert!(message.contains("a whole number from 1 to 1024"), "{message}");
}

/// A file of an unknown name is taken for safetensors, and the message once advised to write it again.
#[test]
fn a_file_of_another_format_is_told_apart_from_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    CodeSet::new(Numbers(1).codes(16, 3)).write(dir.join("codes.npy")).unwrap();
    fs::copy(dir.join("codes.npy"), dir.join("codes.npz")).unwrap();
    let message = failure(dir, &["build", "--codes", "codes.npz", "--bits", "16"], 1);
    assert!(message.contains("does not end in .npy, .parquet, .hex or .txt"), "{message}");
}
