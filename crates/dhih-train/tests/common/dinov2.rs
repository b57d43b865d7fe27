//! Weights of DINOv2 that are not those that were trained.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use dhih_model::{Backbone, InputShape, Parameters};

/// Random weights with the names and shapes of the published checkpoint, those that no features are made by included.
pub(crate) fn dinov2() -> BTreeMap<String, Tensor> {
    let parameters = Parameters::seeded(1);
    let input = InputShape::new(518, 518, 3);
    let backbone = Backbone::named("dinov2-small").unwrap();
    backbone.build(input, parameters.builder(DType::F32, &Device::Cpu)).unwrap();
    let mut tensors = parameters.snapshot().unwrap();
    assert_eq!(tensors["embeddings.position_embeddings"].dims(), [1, 1370, 384]);
    let mask = Tensor::zeros((1, 384), DType::F32, &Device::Cpu).unwrap();
    tensors.insert("embeddings.mask_token".to_owned(), mask);
    let ids = Tensor::arange(0i64, 1370, &Device::Cpu).unwrap();
    tensors.insert("embeddings.position_ids".to_owned(), ids);
    tensors
}
