//! Where commands write. The bugs: `encode --codec C --vectors v.npy --out v.npy` replaced the vectors by their codes, `dedup --out` a picture by
//! the page, and a mistyped folder was reported only after everything had been computed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{dhih_train, stdout};

fn call(dir: &Path, words: &str) -> String {
    stdout(&dhih_train(dir, &words.split_whitespace().collect::<Vec<_>>()))
}

/// What a refused command says.
fn failure(dir: &Path, words: &str) -> String {
    let output = dhih_train(dir, &words.split_whitespace().collect::<Vec<_>>());
    assert!(!output.status.success() && output.stdout.is_empty(), "{words}");
    String::from_utf8(output.stderr).unwrap()
}

/// The bytes of all files below a folder.
fn contents(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(contents(&path)),
            false => all.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    all.sort();
    all
}

#[test]
fn an_output_replaces_no_input_and_a_wrong_place_is_told_before_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    common::folder(&dir.join("photos"), 8);
    fs::create_dir(dir.join("folder")).unwrap();
    call(
        dir,
        "--dataset folder --data-dir photos --image-side 16 --bits 12 --batch-size 8 --epochs 1 --run-dir run",
    );
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 4), }\n";
    let values: Vec<u8> =
        (0..160u32).flat_map(|i| ((i * 37 % 23) as f32 - 11.0).to_le_bytes()).collect();
    let length = (header.len() as u16).to_le_bytes();
    let vectors = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &values].concat();
    fs::write(dir.join("v.npy"), vectors).unwrap();
    call(dir, "codec --vectors v.npy --bits 4 --nested 2 --out c.safetensors");
    let before = contents(dir);
    for words in [
        "codec --vectors v.npy --bits 4 --out v.npy",
        "codec --shorten c.safetensors --bits 2 --out ./c.safetensors",
        "encode --codec c.safetensors --vectors v.npy --out v.npy",
        "encode --codec c.safetensors --vectors v.npy --out c.safetensors",
        "encode --run run --input photos --out run/codes.safetensors",
        "encode --run run --input photos --out photos/dark/000.png",
        "encode --run run --input photos/dark/000.png --out photos/dark/000.png",
        "export --run run --out run/model.safetensors",
        "report --run run --out run/evaluation.json",
        "dedup photos --out photos/light/001.png",
        "dedup photos --out page.html --list photos/light/001.png",
    ] {
        let message = failure(dir, words);
        assert!(message.contains("would replace an input"), "{words}: {message}");
    }
    let message = failure(dir, "dedup photos --out page --list page");
    assert!(message.contains("the same file"), "{message}");
    for words in [
        "codec --vectors v.npy --bits 4 --out",
        "encode --codec c.safetensors --vectors v.npy --out",
        "encode --run run --input photos --out",
        "export --run run --out",
        "report --run run --out",
        "dedup photos --out",
    ] {
        let message = failure(dir, &format!("{words} no/file"));
        assert!(message.contains("its folder is missing"), "{words}: {message}");
        assert!(message.contains("\nhint: `mkdir -p no` makes it"), "{words}: {message}");
        assert!(!message.contains("fitted to"), "{words}: {message}");
        let message = failure(dir, &format!("{words} folder"));
        assert!(message.contains("it is a folder"), "{words}: {message}");
    }
    assert!(contents(dir) == before, "a refused command changed a file");
}

#[test]
fn a_flag_is_not_told_as_a_fault_of_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    common::folder(&dir.join("photos"), 8);
    call(
        dir,
        "--dataset folder --data-dir photos --image-side 16 --bits 12 --batch-size 8 --epochs 1 --run-dir run",
    );
    let message = failure(dir, "encode --run run --input photos --dtype u8 --out o.npy");
    assert!(message.starts_with("error: dtype is u8, expected"), "{message}");
    let message = failure(dir, "encode --run absent --text x --out o.npy");
    assert!(message.starts_with("error: cannot read absent"), "{message}");
    let message = failure(dir, "bench --seconds nan");
    assert!(message.starts_with("error: seconds is NaN"), "{message}");
    let message = failure(dir, "bench --seconds 0 --batch-size 9223372036854775807");
    assert!(message.contains("expected 1 to 65536"), "{message}");
    let message = failure(dir, "--demo-images 9223372036854775807");
    assert!(message.contains("expected at most 1000000"), "{message}");
}

/// After the work was done, `--json` failed, or ended in a panic, for a path that is not UTF-8.
#[cfg(target_os = "linux")]
#[test]
fn json_has_paths_that_are_not_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    common::folder(&dir.join("photos"), 8);
    call(
        dir,
        "--dataset folder --data-dir photos --image-side 16 --bits 12 --batch-size 8 --epochs 1 --run-dir run",
    );
    for words in [
        "evaluate --run run --shard 1/2 --json --out",
        "encode --run run --input photos --json --out",
        "report --run run --json --out",
        "export --run run --json --out",
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dhih-train"));
        command.current_dir(dir).args(words.split(' '));
        let out = [words.split(' ').next().unwrap().as_bytes(), b"-\xff"].concat();
        let printed = stdout(&command.arg(OsStr::from_bytes(&out)).output().unwrap());
        let object: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert!(object["out"].as_str().unwrap().contains(r"-\xFF"), "{words}: {printed}");
    }
}
