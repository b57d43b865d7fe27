//! Weights from the hub, with a server in the test that behaves well or badly.
#![cfg(feature = "hub")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device};
use common::hub::{Answer, dead, serve};
use dhih_model::{Backbone, InputShape, Parameters, Pretrained};

const PATH: &str = "/owner/tiny/resolve/v1/sub/w.safetensors";
const SOURCE: &str = "hf:owner/tiny@v1/sub/w.safetensors";
const KEPT: &str = "data/weights/owner/tiny/v1/sub/w.safetensors";

/// A hub with one file, and how often the file was taken.
fn hub(status: u16, length: usize, body: Vec<u8>) -> (String, Arc<AtomicUsize>) {
    let gets = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&gets);
    let endpoint = serve(move |request| {
        if request.method == "GET" {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        let status = if request.path == PATH { status } else { 404 };
        Some(Answer { status, length, body: body.clone() })
    });
    (endpoint, gets)
}

/// A pretrained file for the backbone `small`, and its SHA-256.
fn weights(dir: &Path) -> (Vec<u8>, String) {
    let parameters = Parameters::seeded(1);
    let input = InputShape::new(16, 16, 3);
    Backbone::SMALL.build(input, parameters.builder(DType::F32, &Device::Cpu)).unwrap();
    let path = dir.join("hub.safetensors");
    let tensors = parameters.snapshot().unwrap().into_iter().collect();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    let sha256 = Pretrained::read(&path).unwrap().sha256().to_owned();
    (std::fs::read(&path).unwrap(), sha256)
}

fn train(dir: &Path, endpoint: &str, source: &str, run: &str) -> Output {
    let data = ["--dataset", "folder", "--data-dir", "photos", "--image-side", "16"];
    let train = ["--epochs", "1", "--device", "cpu", "--freeze-backbone", "--weights", source];
    let args = [&data[..], &train, &["--run-dir", run]].concat();
    common::hub::dhih_train(endpoint, dir, &args)
}

/// The message of a failed call.
fn failure(output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    message
}

#[test]
fn a_file_is_fetched_once_and_its_digest_recorded() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 4);
    let (bytes, sha256) = weights(dir.path());
    let (endpoint, gets) = hub(200, bytes.len(), bytes.clone());
    for run in ["a", "b"] {
        let output = train(dir.path(), &endpoint, &format!("{SOURCE}#sha256={sha256}"), run);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && message.contains(&sha256), "{message}");
        let config = std::fs::read_to_string(dir.path().join(run).join("config.toml")).unwrap();
        assert!(config.contains(&format!("weights_sha256 = \"{sha256}\"")), "{config}");
        assert!(config.contains(SOURCE), "{config}");
    }
    assert_eq!(gets.load(Ordering::SeqCst), 1, "what is on disk is not asked for again");
    assert!(std::fs::read(dir.path().join(KEPT)).unwrap() == bytes);
}

#[test]
fn what_is_no_intact_file_is_refused_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 4);
    let (bytes, sha256) = weights(dir.path());
    let page = b"<!DOCTYPE html><html>login</html>".to_vec();
    let other = format!("{SOURCE}#sha256={}", "0".repeat(64));
    for (status, announced, body, source, expected) in [
        (200, page.len(), page.clone(), SOURCE, "a web page came"),
        (404, 4, b"oops".to_vec(), SOURCE, "download the file"),
        (500, 4, b"oops".to_vec(), SOURCE, "500"),
        (200, bytes.len(), bytes[..100].to_vec(), SOURCE, "broke off"),
        (200, bytes.len() - 1, bytes[..bytes.len() - 1].to_vec(), SOURCE, "damaged"),
        (200, bytes.len(), bytes.clone(), &other, &sha256),
    ] {
        let (endpoint, gets) = hub(status, announced, body);
        let message = failure(&train(dir.path(), &endpoint, source, "run"));
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(status != 200 || gets.load(Ordering::SeqCst) > 0, "{status}");
        let folder = dir.path().join(KEPT);
        let left = std::fs::read_dir(folder.parent().unwrap()).unwrap().count();
        assert_eq!(left, 0, "{expected}");
        assert!(!dir.path().join("run").exists(), "{expected}");
    }
}

#[test]
fn a_dead_hub_names_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 4);
    let message = failure(&train(dir.path(), &dead(), SOURCE, "run"));
    assert!(message.contains("download the file and give its path"), "{message}");
}
