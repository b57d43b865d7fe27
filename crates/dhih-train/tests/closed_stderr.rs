//! A run outlives whoever watches it. The bug: `dhih-train train 2> >(head -1)` ended in a panic at the second line of progress, before the state
//! of the epoch was saved, because `eprintln!` panics where nobody reads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use dhih_train::RunDir;

/// Runs the program with a stderr that is closed before its first line.
fn unheard(dir: &Path, words: &str) -> ExitStatus {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dhih-train"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DHIH_")) {
        command.env_remove(name);
    }
    let command = command.current_dir(dir).args(words.split(' '));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    child.wait().unwrap()
}

#[test]
fn work_goes_on_where_nobody_reads_what_it_tells() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 8);
    std::fs::write(dir.path().join("photos/dark/003.png"), "no picture").unwrap();
    let small = "--image-side 16 --bits 12 --batch-size 8 --epochs 2 --device cpu --name run";
    let trained = unheard(dir.path(), &format!("--dataset folder --data-dir photos {small}"));
    assert!(trained.success(), "{trained}");
    let run = RunDir::open(&dir.path().join("runs/run")).unwrap();
    assert_eq!(run.read_metrics().unwrap().len(), 2);
    assert!(run.file(RunDir::EVALUATION).is_file());
    for words in ["encode --input photos --out codes.safetensors", "dedup photos --out page.html"] {
        let done = unheard(dir.path(), words);
        assert!(done.success(), "{words}: {done}");
    }
    // A failure is a failure all the same.
    assert_eq!(unheard(dir.path(), "evaluate --run nowhere").code(), Some(1));
}
