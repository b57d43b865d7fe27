//! A folder of pictures for which neither a network nor weights are named: available weights are used, and the choice is reported.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;

use common::dhih_train;
use common::dinov2::dinov2;

const KEPT: &str = "data/weights/facebook/dinov2-small/main/model.safetensors";

fn write_weights(dir: &Path) {
    let path = dir.join(KEPT);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    candle_core::safetensors::save(&dinov2().into_iter().collect(), &path).unwrap();
}

/// The settings of a run with these flags, and the message about the choice.
fn settings(dir: &Path, flags: &[&str]) -> (toml::Table, String) {
    let output = dhih_train(dir, &[&["--print-config"], flags].concat());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{message}");
    (toml::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap(), message)
}

const FOLDER: [&str; 4] = ["--dataset", "folder", "--data-dir", "photos"];

#[test]
fn without_weights_a_small_network_is_trained_and_the_way_to_weights_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (config, message) = settings(dir.path(), &FOLDER);
    assert_eq!(config["backbone"].as_str(), Some("small"));
    assert!(!config.contains_key("weights"), "{config}");
    assert_eq!(message.lines().count(), 1, "{message}");
    for part in ["from scratch", "--backbone dinov2-small --weights hf:facebook/dinov2-small"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // Nothing is reported where the user chooses, or where the choice does not apply.
    for flags in [&[&FOLDER[..], &["--backbone", "small"]].concat(), &["--dataset", "demo"][..]] {
        assert_eq!(settings(dir.path(), flags).1, "");
    }
}

#[test]
fn weights_at_hand_are_taken_and_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    write_weights(dir.path());
    common::folder(&dir.path().join("photos"), 6);
    let few = ["--image-side", "28", "--epochs", "1", "--bits", "8", "--device", "cpu"];
    let flags = [&FOLDER[..], &few, &["--run-dir", "run"]].concat();
    let output = dhih_train(dir.path(), &flags);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    for part in [KEPT, "features of dinov2-small", "--backbone small"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let config = std::fs::read_to_string(dir.path().join("run/config.toml")).unwrap();
    for part in ["backbone = \"dinov2-small\"", "freeze_backbone = true", "weights_sha256"] {
        assert!(config.contains(part), "{part}: {config}");
    }
}

#[test]
fn other_settings_keep_their_meaning() {
    let dir = tempfile::tempdir().unwrap();
    write_weights(dir.path());
    let with = |flags: &[&str]| settings(dir.path(), &[&FOLDER[..], flags].concat());
    let (last, message) = with(&["--train-last", "2"]);
    assert_eq!(last["freeze_backbone"].as_bool(), Some(false));
    assert!(message.contains("training begins with dinov2-small"), "{message}");
    let (whole, _) = with(&["--no-freeze-backbone"]);
    assert_eq!(whole["freeze_backbone"].as_bool(), Some(false));
    assert_eq!(whole["backbone"].as_str(), Some("dinov2-small"));
    // A frozen backbone cannot be trained on mixed images.
    let (mixed, message) = with(&["--cutmix", "0.5"]);
    assert_eq!(mixed["backbone"].as_str(), Some("small"));
    assert!(message.contains("are not used"), "{message}");
    let (own, message) = with(&["--backbone", "resnet18"]);
    assert_eq!((own["backbone"].as_str(), &*message), (Some("resnet18"), ""));
    // Where an option is wrong in any case, only that is reported.
    let output = dhih_train(dir.path(), &[&FOLDER[..], &["--bits", "0"]].concat());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && !message.contains("NOTE"), "{message}");
}
