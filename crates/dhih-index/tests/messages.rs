//! Help, output and failures once read differently from command to command, and changed without anybody noticing. What a user reads is kept
//! here, word for word, in `snapshots/`; `INSTA_UPDATE=always cargo nextest run -p dhih-index -E 'binary(messages)'` takes over what a change is
//! meant to say. The style is described in CONTRIBUTING.md.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use common::small_set;
use insta::assert_snapshot;
use program::run;

/// The words of a command, its exit code, and what it prints.
fn told(dir: &Path, words: &str) -> String {
    let output = run(dir, &words.split_whitespace().collect::<Vec<_>>());
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    // How fast it was is another figure each time.
    let err: String = err
        .lines()
        .filter(|line| !line.contains("queries/s"))
        .map(|line| format!("{line}\n"))
        .collect();
    let code = output.status.code().unwrap();
    format!("$ dhih-index {words}\n{out}{err}[exit code {code}]\n")
}

const COMMANDS: [&str; 14] = [
    "build",
    "search",
    "pairs",
    "add",
    "upsert",
    "remove",
    "merge",
    "compact",
    "export",
    "checkpoint",
    "salvage",
    "bench",
    "inspect",
    "verify",
];

#[test]
fn help() {
    let dir = tempfile::tempdir().unwrap();
    for command in COMMANDS {
        assert_snapshot!(format!("help_{command}"), told(dir.path(), &format!("{command} --help")));
    }
}

#[test]
fn failures() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1234567\n";
    write("pointer.safetensors", pointer);
    fs::create_dir(dir.path().join("index")).unwrap();
    write("index/manifest.json", pointer);
    small_set().write(dir.path().join("codes.npy")).unwrap();
    let told: String = [
        "build",
        "build --codes absent.npy",
        "build --codes codes.npy",
        "build --codes codes.npy --bits 17",
        "build --codes pointer.safetensors",
        "inspect --index absent",
        "inspect --index index",
        "search --index absent --code 00",
        "search --index absent --code 00 -k 1",
        "search --code 00 -k 1 --radius 2",
        "remove --index absent",
        "serach",
    ]
    .map(|words| told(dir.path(), words))
    .join("\n");
    assert_snapshot!(told);
}

#[test]
fn output() {
    let dir = tempfile::tempdir().unwrap();
    small_set().write(dir.path().join("codes.safetensors")).unwrap();
    run(dir.path(), &["build", "--codes", "codes.safetensors", "--out", "idx"]);
    let told: String = [
        "search --index idx --code 000000 -k 2",
        "search --index idx --code 000000 --radius 3 --json",
        "verify --index idx",
    ]
    .map(|words| told(dir.path(), words))
    .join("\n");
    assert_snapshot!(told);
}
