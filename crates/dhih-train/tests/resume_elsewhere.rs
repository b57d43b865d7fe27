//! A run can be resumed wherever its data and the user are.
//!
//! A run that was begun with a relative `--data-dir` could only be resumed from the folder in which it was begun: another folder was refused as
//! another setting, although the digest of the data is compared anyway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;

use common::{dhih_train, stdout};
use dhih_train::RunDir;

const TRAIN: [&str; 9] =
    ["train", "--dataset", "folder", "--image-side", "16", "--bits", "12", "--epochs", "1"];

/// Takes from a run what is written after training.
fn cut_off(run: &Path) {
    for name in [RunDir::MODEL, RunDir::CODES, RunDir::QUERIES, RunDir::EVALUATION] {
        std::fs::remove_file(run.join(name)).unwrap();
    }
}

#[test]
fn the_digest_of_the_data_decides_and_not_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (home, elsewhere) = (dir.path().join("home"), dir.path().join("elsewhere"));
    common::folder(&home.join("photos"), 20);
    std::fs::create_dir_all(&elsewhere).unwrap();
    let flags = ["--data-dir", "photos", "--run-dir", "run"];
    stdout(&dhih_train(&home, &[&TRAIN[..], &flags].concat()));
    let run = home.join("run");
    let before = std::fs::read(run.join(RunDir::CODES)).unwrap();
    let config = std::fs::read(run.join(RunDir::CONFIG)).unwrap();
    cut_off(&run);

    // The data is not below the current folder: the error names the flag that helps.
    let resume = ["train", "--resume", "../home/run"];
    let refused = dhih_train(&elsewhere, &resume);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(error.contains("photos") && error.contains("--data-dir"), "{error}");

    std::fs::rename(home.join("photos"), elsewhere.join("moved")).unwrap();
    let with_data = [&resume[..], &["--data-dir", "moved"]].concat();
    stdout(&dhih_train(&elsewhere, &with_data));
    assert!(std::fs::read(run.join(RunDir::CODES)).unwrap() == before, "other codes");
    assert!(
        std::fs::read(run.join(RunDir::CONFIG)).unwrap() == config,
        "the run's settings changed"
    );

    // Files beside the data do not count; other data do.
    cut_off(&run);
    std::fs::write(elsewhere.join("moved/dark/notes.txt"), "no picture").unwrap();
    stdout(&dhih_train(&elsewhere, &with_data));
    cut_off(&run);
    let dark = elsewhere.join("moved/dark");
    std::fs::copy(dark.join("001.png"), dark.join("000.png")).unwrap();
    let refused = dhih_train(&elsewhere, &with_data);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("no longer what the run began with"), "{error}");
    // Other settings are refused as before.
    let refused = dhih_train(&elsewhere, &[&with_data[..], &["--bits", "16"]].concat());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("bits: 16, 12") && !error.contains("data_dir"), "{error}");
}

/// The same settings by the same flags were once refused as given twice.
#[test]
fn constants_of_the_loss_may_be_given_again() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 20);
    let begun = [&TRAIN[..], &["--data-dir", "photos", "--run-dir", "run"]].concat();
    let hi = ["--hi-mode", "global", "--hi-alpha", "0.5", "--hi-lambda-q", "0.25"];
    stdout(&dhih_train(dir.path(), &[&begun[..], &hi].concat()));
    let run = dir.path().join("run");
    let resume = |flags: &[&str]| {
        cut_off(&run);
        dhih_train(dir.path(), &[&["train", "--resume", "run"][..], flags].concat())
    };
    for flags in [&hi[..], &[], &["--loss-param", "alpha=0.5", "--hi-alpha", "0.5"]] {
        stdout(&resume(flags));
    }
    for (flags, part) in [
        (&["--hi-alpha", "0.75"][..], "other settings than it began with (loss: "),
        (&["--hi-alpha", "0.75", "--loss-param", "alpha=0.5"], "hi_alpha is 0.75, and"),
    ] {
        let output = resume(flags);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(part), "{error}");
        stdout(&dhih_train(dir.path(), &["train", "--resume", "run"]));
    }
}
