//! DINOv2's weights from a hub, in one file and in several: they are fetched once, checked as a whole, and trained on.
#![cfg(feature = "hub")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::collections::HashMap;
use std::path::Path;

use candle_core::Tensor;
use common::dinov2::dinov2;
use common::hub::{Files, Hub};
use dhih_model::Pretrained;
use dhih_train::RunDir;

const FOLDER: &str = "/facebook/dinov2-small/resolve/main/";
const KEPT: &str = "data/weights/facebook/dinov2-small/main";

fn shard(number: usize) -> String {
    format!("model-{number:05}-of-00003.safetensors")
}

fn bytes(dir: &Path, tensors: &HashMap<String, Tensor>) -> Vec<u8> {
    let path = dir.join("part");
    candle_core::safetensors::save(tensors, &path).unwrap();
    std::fs::read(&path).unwrap()
}

/// The files of a hub with the weights as one, and as three.
fn repositories(dir: &Path) -> (Files, Files) {
    let all = dinov2();
    let whole = bytes(dir, &all.clone().into_iter().collect());
    let mut parts: [HashMap<String, Tensor>; 3] = Default::default();
    let mut map = HashMap::new();
    for (number, (name, tensor)) in all.into_iter().enumerate() {
        map.insert(name.clone(), shard(number % 3 + 1));
        parts[number % 3].insert(name, tensor);
    }
    let index = serde_json::json!({"metadata": {"total_size": 0}, "weight_map": map}).to_string();
    let at = |name: &str| format!("{FOLDER}{name}");
    let mut several = Files::from([(at(Pretrained::INDEX), index.into_bytes())]);
    for (number, part) in parts.iter().enumerate() {
        several.insert(at(&shard(number + 1)), bytes(dir, part));
    }
    (Files::from([(at(Pretrained::FILE), whole)]), several)
}

/// Trains the last block on pictures of 28 x 28.
fn train<'a>(source: &'a str, run: &'a str) -> Vec<&'a str> {
    let data = ["--dataset", "folder", "--data-dir", "photos", "--image-side", "28"];
    let network = ["--backbone", "dinov2-small", "--train-last", "1", "--weights", source];
    let rest = ["--epochs", "1", "--bits", "8", "--device", "cpu", "--run-dir", run];
    [&data[..], &network, &rest].concat()
}

#[test]
fn one_file_and_several_train_the_same_network() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, several) = repositories(dir.path());
    let mut models = Vec::new();
    for (name, files) in [("whole", whole), ("several", several)] {
        let dir = dir.path().join(name);
        common::folder(&dir.join("photos"), 6);
        let (count, hub) = (files.len(), Hub::start(files));
        let output = hub.dhih_train(&dir, &train("hf:facebook/dinov2-small", "run"));
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{message}");
        assert!(message.contains("unused: embeddings.mask_token"), "{message}");
        assert_eq!(hub.taken().len(), count, "{message}");
        let kept: Vec<_> = std::fs::read_dir(dir.join(KEPT)).unwrap().collect();
        assert_eq!(kept.len(), count, "{kept:?}");
        models.push(std::fs::read(dir.join("run").join(RunDir::MODEL)).unwrap());
        // Nothing is fetched again, and the digest covers all files.
        let sha256 = Pretrained::read(&dir.join(KEPT)).unwrap().sha256().to_owned();
        let source = format!("hf:facebook/dinov2-small#sha256={sha256}");
        let output = hub.dhih_train(&dir, &train(&source, "again"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(hub.taken().is_empty());
        let config = std::fs::read_to_string(dir.join("again").join(RunDir::CONFIG)).unwrap();
        assert!(config.contains(&format!("weights_sha256 = \"{sha256}\"")), "{config}");
        // Nothing is fetched either where the folder of the files is given.
        let output = hub.dhih_train(&dir, &train(KEPT, "local"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        models.push(std::fs::read(dir.join("local").join(RunDir::MODEL)).unwrap());
    }
    assert!(models.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn photos_takes_several_files_too() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 6);
    let (_, several) = repositories(dir.path());
    let hub = Hub::start(several);
    let output = hub.dhih_train(dir.path(), &["photos", "photos", "--image-side", "28"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(hub.taken().len(), 4);
}

#[test]
fn files_that_are_absent_or_other_ones_are_refused_and_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 2);
    let (_, several) = repositories(dir.path());
    let wrong_digest = format!("hf:facebook/dinov2-small#sha256={}", "0".repeat(64));
    let refused = |files: &Files, source: &str, without: Option<&str>, expected: &str| {
        let hub = Hub::start(files.clone());
        without.iter().for_each(|name| hub.remove(&format!("{FOLDER}{name}")));
        let output = hub.dhih_train(dir.path(), &train(source, "run"));
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(expected), "{expected}: {message}");
        let left = std::fs::read_dir(dir.path().join(KEPT)).unwrap().count();
        assert_eq!(left, 0, "{message}");
        assert!(!dir.path().join("run").exists());
    };
    let plain = "hf:facebook/dinov2-small";
    let neither = "no model.safetensors or model.safetensors.index.json";
    refused(&several, plain, Some(Pretrained::INDEX), neither);
    refused(&several, plain, Some(&shard(2)), "its index wants model-00002-of-00003.safetensors");
    refused(&several, &wrong_digest, None, "the SHA-256 of");
    refused(&several, "hf:facebook/dinov2-small/other.safetensors", None, "no other.safetensors");
    let mut swapped = several.clone();
    let [one, two] = [1, 2].map(|number| format!("{FOLDER}{}", shard(number)));
    swapped.insert(one, several[&two].clone());
    refused(&swapped, plain, None, "model-00001-of-00003.safetensors: the index has tensors there");
}

#[test]
fn a_file_that_was_lost_is_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 6);
    let (_, several) = repositories(dir.path());
    let hub = Hub::start(several);
    let args = train("hf:facebook/dinov2-small/model.safetensors.index.json", "run");
    assert!(hub.dhih_train(dir.path(), &args).status.success());
    hub.taken();
    std::fs::remove_file(dir.path().join(KEPT).join(shard(3))).unwrap();
    std::fs::remove_dir_all(dir.path().join("run")).unwrap();
    let output = hub.dhih_train(dir.path(), &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(hub.taken().contains(&format!("{FOLDER}{}", shard(3))));
}
