//! Transformers compute the same as the package `transformers` with the same weights, under the names of its published checkpoints, also for
//! images of another size. `parity/golden.py` wrote the expected features.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod parity;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use dhih_model::loss::Fitted;
use dhih_model::{
    Backbone, HashLayerConfig, InputShape, Loss, Mode, Network, NetworkConfig, Pretrained, Views,
};
use parity::{Formula, STRIDE, golden, image, is_transformer};

#[test]
fn features_and_names_are_those_of_transformers() {
    let golden = golden();
    for &backbone in Backbone::ALL.iter().filter(|backbone| is_transformer(**backbone)) {
        golden.check(backbone);
    }
}

#[test]
fn gradients_of_all_weights_are_those_of_transformers() {
    let golden = golden();
    for &backbone in Backbone::ALL.iter().filter(|backbone| is_transformer(**backbone)) {
        golden.check_gradients(backbone);
    }
}

/// A checkpoint for images of 56 pixels, with a text tower, applied to images of 70 pixels: its 4 x 4 position embeddings are interpolated to 5
/// x 5.
#[test]
fn places_of_images_of_another_size_are_those_of_transformers() {
    let golden = golden();
    let backbone = Backbone::named("dinov2-small").unwrap();
    let weights = Formula::default();
    let vb = VarBuilder::from_backend(Box::new(weights.clone()), DType::F32, Device::Cpu);
    backbone.build(golden.input(backbone), vb.clone()).unwrap();
    let asked = weights.asked.lock().unwrap().clone();
    let mut tensors: HashMap<String, Tensor> =
        asked.iter().map(|(name, dims)| (name.clone(), vb.get(&dims[..], name).unwrap())).collect();
    let other = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    tensors.insert("embeddings.mask_token".to_owned(), other.clone());
    tensors.insert("text_model.norm.weight".to_owned(), other);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    candle_core::safetensors::save(&tensors, &path).unwrap();

    let config = NetworkConfig {
        backbone,
        input: InputShape::new(70, 70, 3),
        normalization: backbone.pretrained_normalization(),
        bits: 8,
        hash_layer: HashLayerConfig::default(),
        loss: Loss::Fitted(Fitted {}),
        views: Views::default(),
        classes: Vec::new(),
    };
    let network = Network::new(config, 0, &Device::Cpu).unwrap();
    let loaded = Pretrained::read(&path).unwrap().load_into(network.parameters()).unwrap();
    assert_eq!(loaded.unused, ["embeddings.mask_token", "text_model.norm.weight"]);
    let features = network.features(&image(70, 70), Mode::Evaluation).unwrap();
    let features = features.to_vec2::<f32>().unwrap();
    let got = features.iter().flat_map(|row| row.iter().step_by(STRIDE)).copied();
    let expected = &golden.features["dinov2-small at 70 pixels"];
    let expected = expected.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    for (got, expected) in got.zip(expected) {
        assert!((got - expected).abs() <= 1e-4 * largest, "{got} for {expected}");
    }
}
