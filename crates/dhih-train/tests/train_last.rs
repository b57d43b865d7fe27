//! Runs that train the last blocks of a pretrained backbone: frozen weights keep their bytes, also over an interruption.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use dhih_model::{Backbone, InputShape, Parameters, checkpoint};
use dhih_train::{Progress, RunDir, TrainOptions, run};

/// A pretrained file for the backbone `small`, of three blocks.
fn weights(dir: &Path) -> PathBuf {
    let parameters = Parameters::seeded(1);
    let input = InputShape::new(16, 16, 3);
    Backbone::SMALL.build(input, parameters.builder(DType::F32, &Device::Cpu)).unwrap();
    let path = dir.join("weights.safetensors");
    let tensors = parameters.snapshot().unwrap().into_iter().collect();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    path
}

fn options(data: &Path, weights: &Path) -> TrainOptions {
    TrainOptions {
        dataset: Some("folder".into()),
        data_dir: Some(data.to_owned()),
        image_side: Some(16),
        bits: Some(12),
        epochs: Some(2),
        batch_size: Some(8),
        device: Some("cpu".into()),
        weights: Some(weights.to_str().unwrap().to_owned()),
        train_last: Some(1),
        ..TrainOptions::default()
    }
}

fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    checkpoint::read(path).unwrap().0.tensors
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn what_is_frozen_keeps_its_bytes_and_the_last_block_learns() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 20);
    let weights = weights(dir.path());
    let before = dhih_model::Pretrained::read(&weights).unwrap();
    for (name, ema_decay, lookahead) in [("plain", 0.0, 0), ("ema", 0.5, 0), ("slow", 0.0, 2)] {
        // A decay that would show in every weight after one step.
        let (ema_decay, lookahead) = (Some(ema_decay), Some(lookahead));
        let decayed = TrainOptions { weight_decay: Some(0.5), ..options(&data, &weights) };
        let options = TrainOptions { ema_decay, lookahead, ..decayed };
        let path = dir.path().join(name);
        run::start(&options.resolve().unwrap(), Some(&path), Progress::Silent).unwrap();
        let after = tensors(&path.join(RunDir::MODEL));
        for (name, tensor) in before.tensors() {
            let is_trained = name.starts_with("conv3") || name.starts_with("bn3");
            let is_changed = values(tensor) != values(&after[&format!("backbone.{name}")]);
            // The bias of a convolution before batch norm has no gradient.
            let has_gradient = name != "conv3.bias";
            assert_eq!(is_changed, is_trained && has_gradient, "{name}");
        }
    }
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes_with_the_same_weights_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 20);
    let path = weights(dir.path());
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let arguments = [
        ["--dataset", "folder", "--image-side", "16", "--bits", "12", "--epochs", "40"].as_slice(),
        &["--batch-size", "8", "--device", "cpu", "--train-last", "1", "--ema-decay", "0.9"],
    ];
    let paths = [("--data-dir", &*data), ("--weights", &*path)];
    common::start_and_kill(&arguments.concat(), &paths, &killed);
    let options = TrainOptions { ema_decay: Some(0.9), epochs: Some(40), ..options(&data, &path) };
    run::start(&options.resolve().unwrap(), Some(&whole), Progress::Silent).unwrap();
    let state = tensors(&RunDir::open(&killed).unwrap().checkpoint().unwrap());
    assert!(state.keys().any(|name| name.ends_with("backbone.conv3.weight")));
    assert!(!state.keys().any(|name| name.contains("backbone.conv2.")), "{:?}", state.keys());
    let config = std::fs::read_to_string(killed.join(RunDir::CONFIG)).unwrap();
    assert!(config.contains("train_last = 1"), "{config}");

    let bytes = std::fs::read(&path).unwrap();
    let mut others = bytes.clone();
    *others.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &others).unwrap();
    let error = run::resume(&killed, Progress::Silent).unwrap_err().to_string();
    assert!(error.contains("the run began with"), "{error}");
    std::fs::write(&path, &bytes).unwrap();
    run::resume(&killed, Progress::Silent).unwrap();
    for name in [RunDir::MODEL, RunDir::CODES] {
        let [a, b] = [&whole, &killed].map(|run| std::fs::read(run.join(name)).unwrap());
        assert!(a == b, "{name} differs");
    }
}

#[test]
fn what_cannot_be_trained_is_refused_by_its_number() {
    let plain = || options(Path::new("data"), Path::new("w.pth"));
    let resnet = Some("resnet18".to_owned());
    for (options, parts) in [
        (TrainOptions { freeze_backbone: Some(true), ..plain() }, ["is 1", "no --freeze-backbone"]),
        (TrainOptions { weights: None, ..plain() }, ["is 1", "--weights with it"]),
        (TrainOptions { train_last: Some(4), ..plain() }, ["is 4", "1 to 3, the number of blocks"]),
        (TrainOptions { train_last: Some(0), ..plain() }, ["is 0", "1 to 3"]),
        (TrainOptions { train_last: Some(9), backbone: resnet, ..plain() }, ["is 9", "1 to 8"]),
    ] {
        let error = options.resolve().unwrap_err();
        assert!(matches!(error, dhih_train::Error::Config { name: "train_last", .. }), "{error}");
        let message = error.to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}
