//! Where runs are made and found again, and messages about `latest`. The bugs: an interrupted run had to be searched for by hand, since `latest`
//! points to complete runs only; and a `latest` that copying had turned into a folder silently kept the old run in use.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;
use std::process::Output;

use common::{dhih_train, stdout};
use dhih_train::{RunConfig, RunDir};

fn train(dir: &Path, words: &str) -> Output {
    let small =
        "--dataset folder --data-dir photos --image-side 16 --bits 12 --batch-size 8 --epochs 2";
    let words = format!("{small} {words}");
    dhih_train(dir, &words.split_whitespace().collect::<Vec<_>>())
}

fn photos() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 8);
    dir
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Removes what only a complete run has.
fn cut_off(run: &Path) {
    for name in [RunDir::MODEL, RunDir::EVALUATION, RunDir::CODES, RunDir::QUERIES] {
        std::fs::remove_file(run.join(name)).unwrap();
    }
}

#[test]
fn a_run_has_the_name_and_the_folder_that_are_asked_for_and_the_last_one_goes_on() {
    let dir = photos();
    stdout(&train(dir.path(), "--name first"));
    stdout(&train(dir.path(), "--name second"));
    stdout(&train(dir.path(), "--runs-dir elsewhere"));
    let runs = dir.path().join("runs");
    assert!(dir.path().join("elsewhere/folder-hi-12-001/evaluation.json").is_file());
    let message = stderr(&train(dir.path(), "--resume last"));
    assert!(message.contains("no run in runs was cut off"), "{message}");

    cut_off(&runs.join("first"));
    let output = dhih_train(dir.path(), &["--resume", "last"]);
    assert!(stdout(&output).contains("run         runs/first"), "{}", stderr(&output));
    for words in ["--name a/b", "--name latest", "--name x --run-dir y"] {
        assert!(!train(dir.path(), words).status.success(), "{words}");
    }
}

/// `--run-dir` once replaced codes and thumbnails that were there.
#[test]
fn a_new_run_replaces_nothing() {
    let dir = photos();
    for name in [RunDir::CODES, RunDir::GALLERY, RunDir::EVALUATION, "index", "checkpoint"] {
        let path = dir.path().join("mine").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "mine").unwrap();
        let message = stderr(&train(dir.path(), "--run-dir mine"));
        assert!(message.contains(&format!("run_dir is mine, which has {name}")), "{message}");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        std::fs::remove_file(&path).unwrap();
    }
    stdout(&train(dir.path(), "--run-dir mine"));
}

#[test]
fn settings_are_printed_as_a_file_that_gives_them_again() {
    let dir = photos();
    let printed =
        stdout(&train(dir.path(), "--recipe cifar10-5k --loss csq --no-mirror --print-config"));
    assert!(printed.contains("mirror = false") && !dir.path().join("runs").exists(), "{printed}");
    std::fs::write(dir.path().join("printed.toml"), &printed).unwrap();
    let again = dhih_train(dir.path(), &["--config", "printed.toml", "--print-config"]);
    assert_eq!(stdout(&again), printed);
    let swept = "sweep --loss hi,csq --bits 16,32 --set epochs=3 --vary seed=5,8 --print-config";
    let swept = stdout(&dhih_train(dir.path(), &swept.split(' ').collect::<Vec<_>>()));
    assert!(swept.contains("# runs/sweep/loss-csq_bits-32_seed-8\n"), "{swept}");
    assert_eq!(swept.matches("epochs = 3\n").count(), 8, "{swept}");
}

#[test]
fn a_latest_that_is_no_link_is_told_and_left() {
    let dir = photos();
    let latest = dir.path().join("runs/latest");
    stdout(&train(dir.path(), "--name old"));
    std::fs::remove_file(&latest).unwrap();
    std::fs::rename(dir.path().join("runs/old"), &latest).unwrap();
    let output = train(dir.path(), "--name new");
    stdout(&output);
    let message = stderr(&output);
    assert!(
        message.contains("runs/latest is no link") && message.contains("hint: `mv "),
        "{message}"
    );
    assert!(latest.join("config.toml").is_file() && !latest.is_symlink());
    for words in [&["evaluate"][..], &["report"], &["export", "--out", "m.onnx"]] {
        let output = dhih_train(dir.path(), words);
        stdout(&output);
        assert!(stderr(&output).contains("runs/latest is a folder and no link"), "{words:?}");
    }
    let named = dhih_train(dir.path(), &["evaluate", "--run", "runs/new"]);
    assert!(!stderr(&named).contains("NOTE"), "{}", stderr(&named));
}

#[test]
fn a_latest_that_is_a_file_leads_to_the_run_that_it_names() {
    let dir = photos();
    let latest = dir.path().join("runs/latest");
    stdout(&train(dir.path(), "--name old"));
    std::fs::remove_file(&latest).unwrap();
    std::fs::write(&latest, "old\n").unwrap();
    let printed = stdout(&dhih_train(dir.path(), &["evaluate", "--json"]));
    let codes = ["evaluate", "--database", "runs/latest/codes.safetensors", "--queries"];
    let codes = [&codes[..], &["runs/latest/queries.safetensors", "--json"]].concat();
    assert!(
        printed.contains("\"map\"") && stdout(&dhih_train(dir.path(), &codes)).contains("\"map\"")
    );
    stdout(&dhih_train(dir.path(), &["export", "--run", "runs/latest", "--out", "m.onnx"]));
    // The next run has a link again where there are links.
    stdout(&train(dir.path(), "--name new"));
    assert_eq!(std::fs::read_link(&latest).unwrap(), std::path::Path::new("new"));
}

#[test]
fn a_run_tells_which_program_began_it_and_which_went_on() {
    let dir = photos();
    stdout(&train(dir.path(), "--name run"));
    let path = dir.path().join("runs/run");
    let config = || RunDir::open(&path).unwrap().read_config().unwrap();
    let RunConfig { origin, resumed_by, .. } = config();
    let origin = origin.unwrap();
    assert!(origin.machine.contains(" cores, ") && origin.threads > 0 && !origin.isa.is_empty());
    assert!(resumed_by.is_empty());
    cut_off(&path);
    assert!(!stderr(&dhih_train(dir.path(), &["--resume", "runs/run"])).contains("NOTE"));
    assert!(config().resumed_by.is_empty());

    cut_off(&path);
    let text = std::fs::read_to_string(path.join("config.toml")).unwrap();
    let other = text.replace(&format!("commit = \"{}\"", origin.commit), "commit = \"0123456\"");
    std::fs::write(path.join("config.toml"), other).unwrap();
    let output = dhih_train(dir.path(), &["--resume", "runs/run"]);
    let message = stderr(&output);
    assert!(message.contains("NOTE") && message.contains(", 0123456"), "{message}");
    assert!(stdout(&output).contains("commit 0123456"));
    assert_eq!(config().resumed_by, [origin]);
}

#[test]
fn threads_are_those_that_are_asked_for() {
    let dir = photos();
    stdout(&train(dir.path(), "--name one -j 1"));
    stdout(&train(dir.path(), "--name three --threads 3"));
    let runs = ["one", "three"].map(|name| dir.path().join("runs").join(name));
    let threads = runs
        .clone()
        .map(|run| RunDir::open(&run).unwrap().read_config().unwrap().origin.unwrap().threads);
    assert_eq!(threads, [1, 3]);
    let [one, three] = runs.map(|run| std::fs::read(run.join(RunDir::MODEL)).unwrap());
    assert!(one == three, "the number of threads changes the result");
}

/// Two programs that were started at once in one directory left the settings of one run with the model of the other.
#[cfg(unix)]
#[test]
fn one_program_at_a_time_makes_a_run() {
    let dir = photos();
    let run = dir.path().join("runs/run");
    std::fs::create_dir_all(&run).unwrap();
    let held = std::fs::File::open(&run).unwrap();
    held.lock().unwrap();
    let message = stderr(&train(dir.path(), "--name run"));
    assert!(message.contains("another program is making this run"), "{message}");
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 0);
    drop(held);
    stdout(&train(dir.path(), "--name run"));
    cut_off(&run);
    let held = std::fs::File::open(&run).unwrap();
    held.lock().unwrap();
    let resume = || dhih_train(dir.path(), &["--resume", "runs/run"]);
    assert!(stderr(&resume()).contains("another program is making this run"));
    drop(held);
    stdout(&resume());
}

#[test]
fn what_is_wrong_with_a_run_is_told_and_a_damaged_split_is_written_anew() {
    let dir = photos();
    stdout(&train(dir.path(), "--name run"));
    let run = dir.path().join("runs/run");
    let split = std::fs::read(run.join(RunDir::SPLIT)).unwrap();
    cut_off(&run);
    let call = |words: &str| dhih_train(dir.path(), &words.split(' ').collect::<Vec<_>>());
    for words in ["evaluate --run runs/run", "report --run runs/run"] {
        let message = stderr(&call(words));
        assert!(message.contains("it is not finished"), "{message}");
        assert!(message.contains("hint: `dhih-train --resume runs/run` finishes it"), "{message}");
    }
    assert!(
        stderr(&call("evaluate --run runs/no"))
            .contains("runs/no: not a usable run: it is not there")
    );
    std::fs::write(run.join(RunDir::SPLIT), "{}").unwrap();
    stdout(&call("--resume runs/run"));
    assert_eq!(std::fs::read(run.join(RunDir::SPLIT)).unwrap(), split);
    std::fs::rename(dir.path().join("photos"), dir.path().join("moved")).unwrap();
    let message = stderr(&call("calibrate --run runs/run"));
    assert!(message.contains("the data of the run is not here"), "{message}");
    assert!(message.contains("--images FOLDER"), "{message}");
}

#[test]
fn settings_without_effect_are_told() {
    let dir = photos();
    let output = dhih_train(dir.path(), &["--data-dir", "photos", "--print-config"]);
    stdout(&output);
    assert!(stderr(&output).contains("NOTE: --data-dir photos is not read"), "{}", stderr(&output));
    let words = "--weights w.pth --freeze-backbone --cutout 4 --print-config";
    let output = train(dir.path(), words);
    stdout(&output);
    assert!(stderr(&output).contains("NOTE: without effect: cutout; "), "{}", stderr(&output));
    // One held-out image a class: with `--patience`, the first epoch was taken for the best without a word.
    for (share, is_told) in [("0.01", true), ("0.3", false)] {
        let output = train(dir.path(), &format!("--validation {share}"));
        stdout(&output);
        assert_eq!(stderr(&output).contains("their mAP is always 0"), is_told, "{share}");
    }
}
