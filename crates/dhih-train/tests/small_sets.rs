//! Sets that are smaller than the settings assume: once a step was divided into more parts than it had images, which ended in a stack trace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use common::{dhih_train, stdout};

#[test]
fn a_step_has_no_more_parts_than_its_images_allow() {
    for (loss, each, accumulate) in
        [("hi", 2, "4"), ("ortho-arc", 2, "1"), ("ortho-arc", 12, "5"), ("csq", 9, "8")]
    {
        let dir = tempfile::tempdir().unwrap();
        common::folder(&dir.path().join("photos"), each);
        let words = format!(
            "--dataset folder --data-dir photos --image-side 16 --bits 12 --epochs 2 --loss {loss} --batch-size 32 --accumulate {accumulate}"
        );
        stdout(&dhih_train(dir.path(), &words.split(' ').collect::<Vec<_>>()));
    }
}

#[test]
fn a_set_with_too_few_images_is_refused_before_training() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 1);
    let words = "--dataset folder --data-dir photos --image-side 16 --loss ortho-arc";
    let output = dhih_train(dir.path(), &words.split(' ').collect::<Vec<_>>());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("expected at least 2"), "{message}");
    assert!(!dir.path().join("runs").exists());
}
