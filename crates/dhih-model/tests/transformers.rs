//! Transformers compute the same as the package `transformers` with the same weights, under the names of its published checkpoints, also for
//! images of another size. `parity/golden.py` wrote the expected features.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod parity;

use std::collections::HashMap;
use std::path::Path;

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

/// Checkpoints for images of 140 pixels, with a text tower, applied to images of other sizes. Their 10 x 10 position embeddings are interpolated to
/// 4 x 4, and to 4 x 16, which has as many patches as 8 x 8. `transformers` does this with antialiasing for the networks with registers alone.
#[test]
fn positions_in_images_of_another_size_are_those_of_transformers() {
    let golden = golden();
    for name in ["dinov2-small", "dinov2-small-registers"] {
        let backbone = Backbone::named(name).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        save_checkpoint(backbone, InputShape::new(140, 140, 3), &path);
        for [height, width] in [[56, 56], [56, 224]] {
            let network = network(backbone, InputShape::new(height, width, 3));
            let loaded = Pretrained::read(&path).unwrap();
            let loaded = loaded.load_into(network.parameters(), network.config().input).unwrap();
            assert_eq!(loaded.unused, ["embeddings.mask_token", "text_model.norm.weight"]);
            let features = network.features(&image(height, width), Mode::Evaluation).unwrap();
            let features = features.to_vec2::<f32>().unwrap();
            let got = features.iter().flat_map(|row| row.iter().step_by(STRIDE)).copied();
            let expected = &golden.features[&format!("{name} at {height} x {width} pixels")];
            let expected = expected.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            for (got, expected) in got.zip(expected) {
                let error = (got - expected).abs();
                assert!(error <= 1e-4 * largest, "{name}, {width} wide: {got} for {expected}");
            }
        }
    }
}

/// Saves the weights of the formula for images of a size, and weights that make no features of images.
fn save_checkpoint(backbone: Backbone, input: InputShape, path: &Path) {
    let weights = Formula::default();
    let vb = VarBuilder::from_backend(Box::new(weights.clone()), DType::F32, Device::Cpu);
    backbone.build(input, vb.clone()).unwrap();
    let asked = weights.asked.lock().unwrap().clone();
    let mut tensors: HashMap<String, Tensor> =
        asked.iter().map(|(name, dims)| (name.clone(), vb.get(&dims[..], name).unwrap())).collect();
    let other = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    tensors.insert("embeddings.mask_token".to_owned(), other.clone());
    tensors.insert("text_model.norm.weight".to_owned(), other);
    candle_core::safetensors::save(&tensors, path).unwrap();
}

fn network(backbone: Backbone, input: InputShape) -> Network {
    let config = NetworkConfig {
        backbone,
        input,
        normalization: backbone.pretrained_normalization(),
        bits: 8,
        hash_layer: HashLayerConfig::default(),
        loss: Loss::Fitted(Fitted {}),
        views: Views::default(),
        classes: Vec::new(),
    };
    Network::new(config, 0, &Device::Cpu).unwrap()
}
