//! Every backbone of torchvision computes the same as PyTorch with the same weights, under torchvision's names, and so do the backbones that
//! `parity/golden.py` writes out. ImageNet weights are compared where they lie beside the repository. `transformers.rs` tests transformers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod parity;

use std::path::PathBuf;

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use dhih_model::Backbone;
use parity::{golden, is_transformer};

#[test]
fn features_and_names_are_those_of_torchvision() {
    let golden = golden();
    assert_eq!(golden.facts.len(), Backbone::ALL.len());
    for &backbone in Backbone::ALL.iter().filter(|backbone| !is_transformer(**backbone)) {
        golden.check(backbone);
    }
}

#[test]
fn gradients_of_all_weights_are_those_of_pytorch() {
    let golden = golden();
    for &backbone in Backbone::ALL.iter().filter(|backbone| !is_transformer(**backbone)) {
        golden.check_gradients(backbone);
    }
}

#[test]
fn weights_trained_on_imagenet_give_the_features_of_torchvision() {
    let golden = golden();
    for (backbone, file) in [
        (Backbone::named("squeezenet1-1").unwrap(), "squeezenet1_1.safetensors"),
        (Backbone::named("mobilenet-v2").unwrap(), "mobilenet_v2_features.safetensors"),
        (Backbone::named("efficientnet-lite0").unwrap(), "efficientnet_lite0.safetensors"),
    ] {
        let Some(path) = weights(file) else { continue };
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        golden.compare(backbone, vb, &format!("{} trained", backbone.name()));
    }
}

/// A file beside the folder of references, which `DHIH_REFERENCE` names where it is set.
fn weights(file: &str) -> Option<PathBuf> {
    let beside =
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference"));
    let reference = std::env::var_os("DHIH_REFERENCE").map_or_else(beside, PathBuf::from);
    let path = reference.join("../weights").join(file);
    if !path.exists() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}
