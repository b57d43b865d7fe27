//! What a sweep takes for done. The bug: the results of a sweep over one folder were given out as those of another, because the place of the data
//! is not a setting of a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;
use std::process::Output;

use common::{dhih_train, stdout};

fn sweep(dir: &Path, data: &str, words: &str) -> Output {
    let words = format!(
        "sweep --dir sweep --set dataset=folder --set data_dir={data} --set image_side=16 --set epochs=1 --set batch_size=8 {words}"
    );
    dhih_train(dir, &words.split_whitespace().collect::<Vec<_>>())
}

fn failure(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn results_of_other_data_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    common::folder(&path.join("photos"), 8);
    common::folder(&path.join("others"), 9);
    let table = stdout(&sweep(path, "photos", "--bits 8"));
    let message = failure(&sweep(path, "others", "--bits 8"));
    assert!(message.contains("with other settings (data_dir: others, photos)"), "{message}");
    // The same folder by another path, and a folder that was moved, are the same data.
    let absolute = path.join("photos").display().to_string();
    assert_eq!(stdout(&sweep(path, &absolute, "--bits 8")), table);
    std::fs::rename(path.join("photos"), path.join("moved")).unwrap();
    assert_eq!(stdout(&sweep(path, "moved", "--bits 8")), table);
}

#[test]
fn a_setting_varies_once_and_has_each_value_once() {
    let dir = tempfile::tempdir().unwrap();
    for (words, part) in [
        ("--bits 8 --vary bits=16", "over bits twice"),
        ("--bits 8,16,8", "over bits with 8 twice"),
        ("--loss hi,csq,hi", "over loss with \"hi\" twice"),
        ("--vary bits=many", "the combination bits=\"many\": invalid type"),
        ("--loss hi:", "the combination loss=\"hi:\": "),
        ("--seeds 18446744073709551615", "not in 1..=100000"),
        ("--print-config --json", "cannot be used with"),
    ] {
        let message = failure(&sweep(dir.path(), "photos", words));
        assert!(message.contains(part), "{words}: {message}");
    }
    assert!(!dir.path().join("sweep").exists());
}

/// Thumbnails were most of the bytes of a sweep.
#[test]
fn runs_have_thumbnails_only_if_a_setting_asks_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    common::folder(&path.join("photos"), 8);
    let gallery = |bits: u32| {
        let run = format!("sweep/bits-{bits}_seed-0/gallery.safetensors");
        path.join(run).exists()
    };
    stdout(&sweep(path, "photos", "--bits 8"));
    assert!(!gallery(8));
    let table = stdout(&sweep(path, "photos", "--bits 16 --set gallery=all"));
    assert!(gallery(16));
    // Runs of older programs have thumbnails, and are still taken as they are.
    assert_eq!(stdout(&sweep(path, "photos", "--bits 16")), table);
    assert!(gallery(16));
}
