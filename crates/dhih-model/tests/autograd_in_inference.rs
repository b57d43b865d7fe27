//! candle records a graph of what is computed from variables, and the graph keeps the output of every layer until the result is dropped. Encoders
//! once evaluated variables wherever candle's operators run, as on a GPU: a batch took as much memory as a training step.
#![allow(clippy::unwrap_used, reason = "a panic is the failure")]

use candle_core::{DType, Device};
use dhih_model::ops::{OpsOnCpu, choose_on_cpu};
use dhih_model::{
    Backbone, CodeEncoder, Encoder, FeatureEncoder, HashLayerConfig, InputShape, Loss, Mode,
    Network, NetworkConfig,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

fn network() -> Network {
    let backbone = Backbone::named("resnet34-cifar").unwrap();
    let config = NetworkConfig {
        backbone,
        input: InputShape::new(32, 32, 3),
        normalization: backbone.pretrained_normalization(),
        bits: 8,
        hash_layer: HashLayerConfig::default(),
        loss: Loss::default(),
        views: Default::default(),
        classes: vec!["a".into(), "b".into()],
    };
    Network::new(config, 0, &Device::Cpu).unwrap()
}

/// The most bytes allocated while `run` runs, without those that were allocated before.
fn peak(run: impl FnOnce()) -> usize {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    run();
    ALLOCATOR.peak_usage() - before
}

#[test]
fn encoders_keep_no_outputs_of_layers() {
    choose_on_cpu(OpsOnCpu::Portable).unwrap();
    let network = network();
    let input = network.config().input;
    let images = vec![7; 4 * input.len()];
    let x = network.config().normalization.apply(&images, input, &Device::Cpu).unwrap();
    let with_graph = peak(|| drop(network.forward(&x, Mode::Evaluation).unwrap()));

    let codes = CodeEncoder::new(&network).unwrap();
    let codes = peak(|| drop(codes.encode(&images).unwrap()));
    let features = FeatureEncoder::new(&network).unwrap();
    let features = peak(|| drop(features.encode(&images).unwrap()));
    let mut encoded = Vec::new();
    for dtype in [DType::F32, DType::F16] {
        let encoder = Encoder::new(self::network(), String::new(), dtype).unwrap();
        encoded.push(peak(|| drop(encoder.encode(&images).unwrap())));
    }
    println!("with a graph {with_graph}; codes {codes}, features {features}, encoder {encoded:?}");
    for bytes in [codes, features, encoded[0], encoded[1]] {
        assert!(bytes < with_graph / 2, "{bytes} bytes, with a graph {with_graph}");
    }
}
