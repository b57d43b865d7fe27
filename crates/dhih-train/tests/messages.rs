//! Help, output and error messages once differed in style from command to command, and changed unnoticed. `snapshots/` has the text that a user
//! reads. `INSTA_UPDATE=always cargo nextest run -p dhih-train -E 'binary(messages)'` accepts intended changes. CONTRIBUTING.md describes the
//! style.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;

use common::dhih_train;
use insta::assert_snapshot;

/// A command, its exit code, and what it prints.
fn told(dir: &Path, words: &str) -> String {
    let output = dhih_train(dir, &words.split_whitespace().collect::<Vec<_>>());
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let code = output.status.code().unwrap();
    format!("$ dhih-train {words}\n{out}{err}[exit code {code}]\n")
}

#[test]
fn help() {
    let dir = tempfile::tempdir().unwrap();
    for command in [
        "train",
        "encode",
        "codec",
        "photos",
        "dedup",
        "evaluate",
        "report",
        "sweep",
        "export",
        "push",
        "list",
        "bench",
        "calibrate",
    ] {
        assert_snapshot!(format!("help_{command}"), told(dir.path(), &format!("{command} --help")));
    }
}

#[test]
fn failures() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("settings.toml", b"bitz = 3\n");
    std::fs::create_dir_all(dir.path().join("pointer")).unwrap();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1234567\n";
    write("pointer/model.safetensors", pointer);
    let told: String = [
        "--dataset cifar",
        "--dataset cifar10",
        "--batch-size 1",
        "--warmup 2",
        "--label-smoothing 0.1 --loss dpsh",
        "--patience 3",
        "--recipe cifar10",
        "--config settings.toml",
        "--name a/b",
        "--resume last",
        "--resume nowhere",
        "--epochs three",
        "--epocs 3",
        "--device gpu",
        "evaluate",
        "evaluate --bits 48",
        "evaluate --topk 0",
        "report --runs a b",
        "export --run pointer --out m.onnx",
        "sweep --vary seed=1,1",
        "sweep --loss hi --vary bitz=1",
        "sweep --loss hi --set hi_alph=0.5",
        "sweep --loss hi --set colour=red",
        "sweep --loss hi --set bits=many",
        "list cats",
        "push ann/cats",
        "push hf:ann/cats --run nowhere",
        "push hf:ann/cats --licence MIT",
    ]
    .map(|words| told(dir.path(), words))
    .join("\n");
    assert_snapshot!(told);
}

#[test]
fn output() {
    let dir = tempfile::tempdir().unwrap();
    let told: String = [
        "list losses",
        "list protocols --json",
        "--recipe cifar10-fast --loss dpsh --epochs 4 --print-config",
    ]
    .map(|words| told(dir.path(), words))
    .join("\n");
    assert_snapshot!(told);
}
