//! Runs that begin with pretrained weights: frozen, fine-tuned, resumed, refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use dhih_index::Codes;
use dhih_model::{
    Backbone, Encoder, FeatureEncoder, InputShape, Mode, Normalization, Parameters, checkpoint,
};
use dhih_train::dataset::Dataset;
use dhih_train::{Error, Progress, RunDir, TrainConfig, TrainOptions, run};

/// A pretrained file for the backbone `small`, with the classifier it was trained with.
fn weights(dir: &Path, seed: u64) -> PathBuf {
    let parameters = Parameters::seeded(seed);
    let input = InputShape::new(16, 16, 3);
    Backbone::SMALL.build(input, parameters.builder(DType::F32, &Device::Cpu)).unwrap();
    let mut tensors: HashMap<String, Tensor> = parameters.snapshot().unwrap().into_iter().collect();
    let classifier = Tensor::ones((10, 512), DType::F32, &Device::Cpu).unwrap();
    tensors.insert("fc.weight".to_owned(), classifier);
    let path = dir.join(format!("weights-{seed}.safetensors"));
    candle_core::safetensors::save(&tensors, &path).unwrap();
    path
}

fn options(data: &Path, weights: &Path) -> TrainOptions {
    TrainOptions {
        dataset: Some("folder".into()),
        data_dir: Some(data.to_owned()),
        image_side: Some(16),
        bits: Some(12),
        epochs: Some(4),
        batch_size: Some(8),
        device: Some("cpu".into()),
        weights: Some(weights.to_str().unwrap().to_owned()),
        ..TrainOptions::default()
    }
}

/// The hidden layer is far smaller than by default, where many epochs would take minutes.
fn frozen(data: &Path, weights: &Path) -> TrainConfig {
    let (freeze_backbone, hash_hidden) = (Some(true), Some(16));
    let options = TrainOptions { freeze_backbone, hash_hidden, ..options(data, weights) };
    options.resolve().unwrap()
}

fn values(tensors: &BTreeMap<String, Tensor>, name: &str) -> Vec<f32> {
    tensors[name].flatten_all().unwrap().to_vec1().unwrap()
}

fn model(run: &Path) -> BTreeMap<String, Tensor> {
    checkpoint::read(&run.join(RunDir::MODEL)).unwrap().0.tensors
}

fn backbone_of(weights: &Path) -> BTreeMap<String, Tensor> {
    dhih_model::Pretrained::read(weights).unwrap().tensors().clone()
}

#[test]
fn a_frozen_backbone_stays_as_it_was_and_the_head_learns() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 20);
    let weights = weights(dir.path(), 1);
    let runs = ["a", "b"].map(|name| {
        let path = dir.path().join(name);
        run::start(&frozen(&data, &weights), Some(&path), Progress::Silent).unwrap()
    });
    let (first, evaluation) = &runs[0];
    assert!(evaluation.metrics.map > 0.9, "{}", evaluation.metrics.map);
    let model = model(first.path());
    for (name, tensor) in backbone_of(&weights).iter().filter(|(name, _)| *name != "fc.weight") {
        let expected: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(values(&model, &format!("backbone.{name}")), expected, "{name}");
    }
    for name in [RunDir::MODEL, RunDir::CODES, RunDir::FEATURES] {
        let [a, b] = [0, 1].map(|i| std::fs::read(runs[i].0.file(name)).unwrap());
        assert!(a == b, "{name} differs");
    }
    // The model is whole: it encodes pixels as those of its own run were.
    let encoder = Encoder::load(&first.file(RunDir::MODEL), &Device::Cpu).unwrap();
    assert_eq!(encoder.model_sha256(), evaluation.model_sha256);
    // Both crates pack bits alike.
    let images: Vec<u8> = (0..3 * encoder.input().len()).map(|i| (i * 31 % 251) as u8).collect();
    let expected = Codes::from_real(encoder.bits() as u32, &encoder.encode(&images).unwrap());
    let mut packed = vec![0; 3 * encoder.bits().div_ceil(8)];
    encoder.encode_packed_into(&images, &mut packed).unwrap();
    assert_eq!(packed, expected.unwrap().as_bytes());
    let config = std::fs::read_to_string(first.file(RunDir::CONFIG)).unwrap();
    let sha256 = dhih_model::Pretrained::read(&weights).unwrap().sha256().to_owned();
    assert!(config.contains(&format!("weights_sha256 = \"{sha256}\"")), "{config}");
    let (network, _) = checkpoint::load(&first.file(RunDir::MODEL), &Device::Cpu).unwrap();
    assert_eq!(network.config().normalization, Normalization::imagenet());
    let epochs = std::fs::read_to_string(first.file(RunDir::METRICS)).unwrap();
    let loss = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap()
    };
    assert!(loss(epochs.lines().last().unwrap()) < loss(epochs.lines().next().unwrap()));
}

#[test]
fn features_train_the_head_as_the_network_in_evaluation_mode_would() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 20);
    let (run, _) = run::start(
        &frozen(&data, &weights(dir.path(), 1)),
        Some(&dir.path().join("run")),
        Progress::Silent,
    )
    .unwrap();
    let contents = checkpoint::read(&run.file(RunDir::FEATURES)).unwrap().0;
    let features = &contents.tensors["features"];
    let (network, _) = checkpoint::load(&run.file(RunDir::MODEL), &Device::Cpu).unwrap();
    assert_eq!(features.dims(), [36, 512]);
    let codes = dhih_index::CodeSet::read(run.file(RunDir::CODES), None).unwrap();
    let v = network
        .head(features, Mode::Evaluation)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    // The protocol's database is its training part, in the same order.
    assert_eq!(dhih_index::Codes::from_real(12, &v).unwrap(), codes.codes);
}

#[test]
fn features_of_mirror_images_are_kept_where_the_run_mirrors() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 20);
    let weights = weights(dir.path(), 1);
    for (name, flip) in [("mirrored", true), ("plain", false)] {
        let config = TrainConfig { flip, ..frozen(&data, &weights) };
        let path = dir.path().join(name);
        let (run, evaluation) = run::start(&config, Some(&path), Progress::Silent).unwrap();
        assert!(evaluation.metrics.map > 0.9, "{}", evaluation.metrics.map);
        let contents = checkpoint::read(&run.file(RunDir::FEATURES)).unwrap().0;
        assert_eq!(contents.tensors.contains_key("mirrored"), flip);
        if !flip {
            continue;
        }
        let dataset = Dataset::load(config.dataset, &config.dataset_config()).unwrap();
        let split = config.protocol.split(&dataset, 0).unwrap();
        let (network, _) = checkpoint::load(&run.file(RunDir::MODEL), &Device::Cpu).unwrap();
        let input = network.config().input;
        let images = dataset.gather(&split.train).unwrap();
        let mirror = |image: &[u8]| dhih_model::moved(image, input, true, [0, 0]);
        let images: Vec<u8> = images.chunks_exact(input.len()).flat_map(mirror).collect();
        let expected = FeatureEncoder::new(&network).unwrap().encode(&images).unwrap();
        assert_eq!(values(&contents.tensors, "mirrored"), expected);
        assert_ne!(values(&contents.tensors, "features"), expected);
    }
}

#[test]
fn a_killed_frozen_run_resumes_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 20);
    let path = weights(dir.path(), 1);
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let arguments = [
        ["--dataset", "folder", "--image-side", "16", "--bits", "12", "--epochs", "300"].as_slice(),
        &["--batch-size", "8", "--device", "cpu", "--freeze-backbone", "--hash-hidden", "16"],
    ];
    let paths = [("--data-dir", &*data), ("--weights", &*path)];
    common::start_and_kill(&arguments.concat(), &paths, &killed);
    assert!(!killed.join(RunDir::MODEL).exists(), "no half-trained model under the final name");
    let config = TrainConfig { epochs: 300, ..frozen(&data, &path) };
    run::start(&config, Some(&whole), Progress::Silent).unwrap();
    // Features of other images in the cache are not used, and neither are damaged ones.
    let features = killed.join(RunDir::FEATURES);
    let mut bytes = std::fs::read(&features).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&features, bytes).unwrap();
    run::resume(&killed, Progress::Silent).unwrap();
    for name in [RunDir::MODEL, RunDir::CODES, RunDir::QUERIES, RunDir::FEATURES] {
        let [a, b] = [&whole, &killed].map(|run| std::fs::read(run.join(name)).unwrap());
        assert!(a == b, "{name} differs");
    }
    std::fs::copy(weights(dir.path(), 2), &path).unwrap();
    let error = run::resume(&killed, Progress::Silent).unwrap_err();
    assert!(matches!(error, Error::Weights { .. }), "{error}");
    assert!(error.to_string().contains("the run began with"), "{error}");
}

#[test]
fn runs_share_features_where_they_are_told_to_and_have_the_same_codes() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 20);
    let [one, two] = [1, 2].map(|seed| weights(dir.path(), seed));
    let shared = dir.path().join("features");
    let files = || std::fs::read_dir(&shared).unwrap().count();
    let start = |name: &str, config: &TrainConfig| {
        run::start(config, Some(&dir.path().join(name)), Progress::Silent).unwrap().0
    };
    // A file for the images that are trained on, and one for those that are encoded. Features of images alone are also read from files that have
    // those of mirror images.
    for (name, weights, bits, mirror, expected) in [
        ("a", &one, 12, true, 2),
        ("b", &one, 20, true, 2),
        ("c", &two, 12, true, 4),
        ("d", &one, 12, false, 4),
    ] {
        let flip = mirror;
        let own = TrainConfig { bits, mirror, flip, ..frozen(&data, weights) };
        let config = TrainConfig { features_dir: Some(shared.clone()), ..own.clone() };
        let run = start(name, &config);
        assert!(!run.file(RunDir::FEATURES).exists());
        assert_eq!(files(), expected, "{name}");
        let own = start(&format!("{name}-own"), &own);
        for name in [RunDir::MODEL, RunDir::CODES, RunDir::QUERIES, RunDir::QUERY_VALUES] {
            let [a, b] = [&run, &own].map(|run| std::fs::read(run.file(name)).unwrap());
            assert!(a == b, "{name} differs");
        }
    }
}

#[test]
fn a_backbone_with_a_tiny_rate_hardly_moves_while_the_head_does() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 20);
    let weights = weights(dir.path(), 1);
    let before = backbone_of(&weights);
    let moved = |scale: f64| {
        let options = TrainOptions { backbone_lr_scale: Some(scale), ..options(&data, &weights) };
        let path = dir.path().join(format!("run-{scale}"));
        run::start(&options.resolve().unwrap(), Some(&path), Progress::Silent).unwrap();
        let after = model(&path);
        let pairs = values(&before, "conv1.weight");
        let pairs = pairs.iter().zip(values(&after, "backbone.conv1.weight"));
        let running = values(&after, "backbone.bn1.running_mean");
        assert_ne!(running, values(&before, "bn1.running_mean"), "training mode moves statistics");
        pairs.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max)
    };
    let (whole, tiny) = (moved(1.0), moved(1e-4));
    assert!(whole > 1e-3 && tiny < whole * 1e-2, "{whole} {tiny}");
}

#[test]
fn datasets_with_a_size_of_their_own_are_scaled_to_the_side() {
    let dir = tempfile::tempdir().unwrap();
    let options = TrainOptions {
        dataset: Some("demo".into()),
        demo_images: Some(1100),
        image_side: Some(24),
        epochs: Some(1),
        device: Some("cpu".into()),
        ..TrainOptions::default()
    };
    let path = dir.path().join("run");
    run::start(&options.resolve().unwrap(), Some(&path), Progress::Silent).unwrap();
    let encoder = Encoder::load(&path.join(RunDir::MODEL), &Device::Cpu).unwrap();
    assert_eq!(encoder.input(), InputShape::new(24, 24, 3));
}

#[test]
fn the_input_is_what_backbone_weights_and_user_ask_for() {
    let weights = Path::new("w.safetensors");
    let config = options(Path::new("data"), weights).resolve().unwrap();
    let grey = InputShape::new(28, 28, 1);
    assert_eq!(config.input_shape(grey), InputShape::new(16, 16, 3));
    for (backbone, side) in [("small", 32), ("resnet18", 224)] {
        let backbone = Some(backbone.to_owned());
        let options = options(Path::new("data"), weights);
        let options = TrainOptions { image_side: None, backbone, ..options };
        assert_eq!(options.resolve().unwrap().input_shape(grey).height, side);
    }
    let large = TrainOptions {
        dataset: Some("fashion-mnist".into()),
        backbone: Some("alexnet".into()),
        ..TrainOptions::default()
    };
    let wide = InputShape::new(224, 224, 1);
    assert_eq!(large.resolve().unwrap().input_shape(grey), wide);
    let plain = TrainOptions { dataset: Some("fashion-mnist".into()), ..TrainOptions::default() };
    assert_eq!(plain.resolve().unwrap().input_shape(grey), grey);
}

#[test]
fn a_grey_dataset_trains_a_pretrained_network() {
    let dir = tempfile::tempdir().unwrap();
    common::fashion_mnist(dir.path(), 40, 20, false);
    let options = TrainOptions {
        dataset: Some("fashion-mnist".into()),
        freeze_backbone: Some(true),
        ..options(dir.path(), &weights(dir.path(), 1))
    };
    let path = dir.path().join("run");
    run::start(&options.resolve().unwrap(), Some(&path), Progress::Silent).unwrap();
    let encoder = Encoder::load(&path.join(RunDir::MODEL), &Device::Cpu).unwrap();
    assert_eq!(encoder.input(), InputShape::new(16, 16, 3));
    let gallery = std::fs::read(path.join(RunDir::GALLERY)).unwrap();
    let gallery = safetensors::SafeTensors::deserialize(&gallery).unwrap();
    assert_eq!(gallery.tensor("queries").unwrap().shape(), [20, 28, 28, 1]);
}

#[test]
fn unfit_weights_are_refused_and_leave_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 4);
    let good = weights(dir.path(), 1);
    let wrong = dir.path().join("wrong.safetensors");
    let mut tensors: HashMap<String, Tensor> = backbone_of(&good).into_iter().collect();
    tensors.remove("bn1.bias");
    candle_core::safetensors::save(&tensors, &wrong).unwrap();
    let digest = "0".repeat(64);
    let hub = if cfg!(feature = "hub") { "HF_HUB_OFFLINE" } else { "--features hub" };
    for (source, parts) in [
        (wrong.to_str().unwrap().to_owned(), ["backbone.bn1.bias", "missing"]),
        (format!("{}#sha256={digest}", good.display()), ["SHA-256", &digest]),
        (
            dir.path().join("absent.pth").to_str().unwrap().to_owned(),
            ["absent.pth", "No such file"],
        ),
        ("hf:owner/absent-repo".to_owned(), [hub, "download the file"]),
    ] {
        let run = dir.path().join("run");
        let output = Command::new(env!("CARGO_BIN_EXE_dhih-train"))
            .args(["--dataset", "folder", "--image-side", "16", "--device", "cpu", "--weights"])
            .args([&source, "--run-dir"])
            .arg(&run)
            .arg("--data-dir")
            .arg(&data)
            .env("HF_HUB_OFFLINE", "1")
            .current_dir(dir.path())
            .output()
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(!run.exists(), "a refused command leaves nothing behind");
    }
}

#[test]
fn settings_that_contradict_one_another_are_refused() {
    let plain = || options(Path::new("data"), Path::new("w.pth"));
    let freeze = Some(true);
    for (options, name) in [
        (TrainOptions { freeze_backbone: freeze, weights: None, ..plain() }, "freeze_backbone"),
        (TrainOptions { features_dir: Some("f".into()), ..plain() }, "features_dir"),
        (TrainOptions { backbone_lr_scale: Some(0.0), ..plain() }, "backbone_lr_scale"),
        (
            TrainOptions { backbone_lr_scale: Some(0.1), freeze_backbone: freeze, ..plain() },
            "backbone_lr_scale",
        ),
    ] {
        let error = options.resolve().unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}

/// A pretrained network takes grey images as RGB, but they are augmented before. The cutout had three values for one channel, and the thread
/// that makes batches panicked.
#[test]
fn grey_images_are_painted_over_in_their_own_channel() {
    let dir = tempfile::tempdir().unwrap();
    common::fashion_mnist(dir.path(), 20, 10, false);
    let weights = weights(dir.path(), 1);
    let options = TrainOptions {
        dataset: Some("fashion-mnist".into()),
        epochs: Some(1),
        cutout: Some(8),
        ..options(dir.path(), &weights)
    };
    let (_, evaluation) =
        run::start(&options.resolve().unwrap(), Some(&dir.path().join("run")), Progress::Silent)
            .unwrap();
    assert_eq!(evaluation.metrics.queries, 10);
}
