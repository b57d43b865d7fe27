//! What is compiled agrees with the network's own forward pass.

use candle_core::{Device, Var};

use super::*;
use crate::backbone::Backbone;
use crate::config::Normalization;
use crate::hash_layer::{HashLayerConfig, HashNorm};
use crate::layer::Mode;
use crate::loss::Loss;
use crate::ops::testing::variable;

fn network(backbone: Backbone, side: usize) -> (Network, Vec<u8>) {
    let input = InputShape::new(side, side + 3, 3);
    let config = NetworkConfig {
        backbone,
        input,
        normalization: Normalization::imagenet(),
        bits: 20,
        hash_layer: HashLayerConfig { feature_norm: true, hidden: Some(70), norm: HashNorm::Batch },
        loss: Loss::default(),
        views: Default::default(),
        classes: vec!["a".into(), "b".into()],
    };
    let network = Network::new(config, 1, &Device::Cpu).unwrap();
    // Running statistics and weights of batch norm that are not 0 and 1, some scales negative.
    for (name, var) in network.parameters().all() {
        let moved = |by: f64| (variable(&name, var.dims()).as_tensor() * by).unwrap();
        if name.ends_with("running_var") || (var.rank() == 1 && name.ends_with("weight")) {
            set(&var, &moved(0.4));
        } else if var.rank() == 1 {
            set(&var, &moved(0.1));
        }
    }
    let images = (0..9 * input.len()).map(|i| (i * 7919 % 253) as u8).collect();
    (network, images)
}

fn set(var: &Var, by: &candle_core::Tensor) {
    var.set(&(var.as_tensor() + by).unwrap()).unwrap();
}

fn assert_agrees(backbone: Backbone, side: usize) {
    let (network, images) = network(backbone, side);
    let x = network.config().normalization.apply(&images, network.config().input, &Device::Cpu);
    let x = x.unwrap();
    let expected = network.forward(&x, Mode::Evaluation).unwrap().flatten_all().unwrap();
    let expected = expected.to_vec1::<f32>().unwrap();
    let inference = Inference::of_codes(&network).unwrap().unwrap();
    let mut codes = vec![f32::NAN; expected.len()];
    inference.run(&images, &mut codes);
    let scale = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    for (got, expected) in codes.iter().zip(&expected) {
        assert!((got - expected).abs() <= 1e-4 * scale, "{backbone:?}: {got}, expected {expected}");
    }
    assert_same_bits(backbone, &inference, &images, &codes);
}

/// Checks that codes of 20 values have the same bits alone and among others, on one thread and on several, and in buffers that others have left.
fn assert_same_bits(backbone: Backbone, inference: &Inference, images: &[u8], codes: &[f32]) {
    let len = inference.input().len();
    let mut alone = vec![f32::NAN; 2 * 20];
    inference.run(&images[2 * len..4 * len], &mut alone);
    assert_eq!(alone, codes[40..80], "{backbone:?}");
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut again = vec![f32::NAN; codes.len()];
        pool.install(|| inference.run(images, &mut again));
        assert_eq!(again, codes, "{backbone:?} on {threads} threads");
    }
}

#[test]
fn small_networks_agree_with_their_forward_pass() {
    for backbone in [
        Backbone::SMALL,
        Backbone::named("dsh-cnn").unwrap(),
        Backbone::named("cifarnet").unwrap(),
        Backbone::named("cifarnet-deep").unwrap(),
    ] {
        assert_agrees(backbone, 25);
    }
}

#[test]
fn residual_networks_agree_with_their_forward_pass() {
    for backbone in [
        Backbone::named("resnet18-cifar").unwrap(),
        Backbone::named("resnet18").unwrap(),
        Backbone::named("resnet50").unwrap(),
    ] {
        assert_agrees(backbone, 33);
    }
}

#[test]
fn branching_and_depthwise_networks_agree_with_their_forward_pass() {
    assert_agrees(Backbone::named("squeezenet1-1").unwrap(), 41);
    assert_agrees(Backbone::named("mobilenet-v2").unwrap(), 41);
    assert_agrees(Backbone::named("efficientnet-lite0").unwrap(), 41);
    assert_agrees(Backbone::named("efficientnet-lite0").unwrap(), 48);
}

#[test]
fn gated_networks_and_transformers_agree_with_their_forward_pass() {
    for name in ["efficientnet-b0", "mobilenet-v3", "convnext-tiny"] {
        assert_agrees(Backbone::named(name).unwrap(), 41);
    }
    for name in ["dinov2-small-registers", "clip-vit-b32", "siglip-base"] {
        let backbone = Backbone::named(name).unwrap();
        assert_agrees(backbone, backbone.min_side());
    }
}

#[test]
fn features_are_those_of_the_backbone() {
    let (network, images) = network(Backbone::named("squeezenet1-1").unwrap(), 33);
    let x = network.config().normalization.apply(&images, network.config().input, &Device::Cpu);
    let expected = network.features(&x.unwrap(), Mode::Evaluation).unwrap();
    let inference = Inference::of_features(&network).unwrap().unwrap();
    let mut features = vec![0.0; expected.elem_count()];
    inference.run(&images, &mut features);
    let got = candle_core::Tensor::from_vec(features, expected.shape(), &Device::Cpu).unwrap();
    crate::ops::testing::assert_close(&got, &expected, 1e-4);
}

/// Bits of codes in f32 and in integers that are the same, as a share, for a network that is measured on its own images.
fn agreement_in_int8(backbone: Backbone, side: usize) -> f64 {
    let (network, images) = network(backbone, side);
    let calibration = Calibration::measure(&network, "model", &images).unwrap();
    assert!(calibration.layers() > 1, "{backbone:?}");
    assert_eq!(calibration.images(), 9);
    let inference = Inference::of_codes_in_int8(&network, &calibration).unwrap().unwrap();
    let mut codes = vec![f32::NAN; 9 * 20];
    inference.run(&images, &mut codes);
    assert_same_bits(backbone, &inference, &images, &codes);
    // The features are close to those in f32, and not the same.
    let features = |inference: Inference| {
        let mut features = vec![f32::NAN; 9 * network.backbone().features()];
        inference.run(&images, &mut features);
        features
    };
    let exact = features(Inference::of_features(&network).unwrap().unwrap());
    let int8 = Inference::of_features_in_int8(&network, &calibration).unwrap().unwrap();
    let close = features(int8);
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>();
    let noise = squares(&mut exact.iter().zip(&close).map(|(a, b)| a - b));
    let error = (noise / squares(&mut exact.iter().copied())).sqrt();
    assert!(error > 0.0 && error < 0.1, "{backbone:?}: {error}");
    let mut expected = vec![f32::NAN; codes.len()];
    Inference::of_codes(&network).unwrap().unwrap().run(&images, &mut expected);
    let same = codes.iter().zip(&expected).filter(|(a, b)| (**a >= 0.0) == (**b >= 0.0));
    same.count() as f64 / codes.len() as f64
}

#[test]
fn codes_in_integers_are_close_to_those_in_f32() {
    for (name, side) in [
        ("small", 25),
        ("resnet18", 33),
        ("resnet50", 33),
        ("squeezenet1-1", 41),
        ("mobilenet-v2", 41),
        ("dinov2-small-registers", 28),
        ("clip-vit-b32", 64),
    ] {
        let agreement = agreement_in_int8(Backbone::named(name).unwrap(), side);
        assert!(agreement >= 0.9, "{name}: {agreement}");
    }
}

#[test]
fn calibrations_are_read_as_they_were_written_and_damaged_ones_refused() {
    let (network, images) = network(Backbone::SMALL, 25);
    let calibration = Calibration::measure(&network, "model", &images).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calibration.safetensors");
    calibration.save(&path).unwrap();
    assert_eq!(Calibration::load(&path).unwrap(), calibration);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Calibration::load(&path).unwrap_err();
    assert!(matches!(error, Error::Calibration { .. }), "{error}");
    let model = dir.path().join("model.safetensors");
    crate::checkpoint::save(&network, &model).unwrap();
    let error = Calibration::load(&model).unwrap_err().to_string();
    assert!(error.contains("it holds no calibration"), "{error}");
    assert!(matches!(Calibration::load(dir.path()), Err(Error::Io { .. })));
}

#[test]
fn calibrations_of_other_networks_and_without_images_are_refused() {
    let (network, images) = network(Backbone::SMALL, 25);
    let calibration = Calibration::measure(&network, "model", &images).unwrap();
    let encoder = |sha: &str| crate::Encoder::int8(&network, sha.to_owned(), &calibration);
    let encoder_of_model = encoder("model").unwrap();
    assert_eq!(encoder_of_model.precision(), crate::Precision::Int8);
    let error = encoder("another").err().unwrap().to_string();
    assert!(error.contains("calibration is that of the model model"), "{error}");
    let (other, _) = self::network(Backbone::named("resnet18").unwrap(), 33);
    let error = Inference::of_codes_in_int8(&other, &calibration).err().unwrap().to_string();
    assert!(error.contains("calibration is that of a network with"), "{error}");
    for (name, var) in other.parameters().all() {
        if name.ends_with("layer1.0.conv1.weight") {
            set(&var, &(variable(&name, var.dims()).as_tensor() * f64::NAN).unwrap());
        }
    }
    let (_, images_of_other) = self::network(Backbone::named("resnet18").unwrap(), 33);
    let error = Calibration::measure(&other, "model", &images_of_other).unwrap_err().to_string();
    assert!(error.contains("not finite"), "{error}");
    let error = Calibration::measure(&network, "model", &[]).unwrap_err().to_string();
    assert!(error.contains("images is 0"), "{error}");
    assert!("int4".parse::<crate::Precision>().unwrap_err().to_string().contains("f32 or int8"));
}
