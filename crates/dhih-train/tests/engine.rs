//! The engine of GPUs, run on the CPU, trains networks like the CPU's own engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;

use common::{dhih_train, stdout};

/// The loss of each epoch.
fn losses(dir: &Path, engine: &str, backbone: &str) -> Vec<f64> {
    let run = format!("{engine}-{backbone}");
    let words = format!(
        "--dataset folder --data-dir photos --image-side 32 --bits 12 --epochs 3 --batch-size 16 --learning-rate 0.02 --backbone {backbone} --engine {engine} --run-dir {run}"
    );
    stdout(&dhih_train(dir, &words.split(' ').collect::<Vec<_>>()));
    let metrics = std::fs::read_to_string(dir.join(run).join("metrics.jsonl")).unwrap();
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    metrics.lines().map(|text| line(text)["loss"].as_f64().unwrap()).collect()
}

#[test]
fn losses_are_those_of_our_own_operators() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 40);
    // Deeper networks amplify differences of rounding.
    for backbone in ["small", "squeezenet1-1"] {
        let own = losses(dir.path(), "own", backbone);
        let portable = losses(dir.path(), "portable", backbone);
        assert_eq!(own.len(), 3);
        assert!(own[2] < own[0], "{own:?}");
        for (own, portable) in own.iter().zip(&portable) {
            assert!((own - portable).abs() < 0.01 * own.max(0.1), "{backbone}: {own} {portable}");
        }
    }
}

#[test]
fn unknown_engines_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let output = dhih_train(dir.path(), &["--engine", "gpu"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("own, portable and candle"), "{message}");
    // It once had a stack trace where `RUST_BACKTRACE` is set.
    assert!(!message.contains("candle_core::"), "{message}");
    // An empty twin is as good as none, also of a flag that all commands have.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dhih-train"));
    command.args(["list", "losses"]).env("DHIH_OPS", "").env("DHIH_THREADS", "");
    let output = command.env("RUST_BACKTRACE", "1").output().unwrap();
    assert!(stdout(&output).contains("csq"));
    let output = command.env("DHIH_OPS", "gpu").output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("there is no engine gpu") && !message.contains("candle_core::"));
}
