//! The memory of a training step is predicted before it runs.
#![allow(clippy::unwrap_used, reason = "a panic is the failure")]

use candle_core::{Device, Tensor};
use dhih_model::{Backbone, HashLayerConfig, InputShape, Loss, Mode, Network, NetworkConfig};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The most bytes allocated during a step, and the predicted number, both without the weights, which exist before.
fn step(backbone: &str, side: usize, batch: usize) -> (usize, usize) {
    let backbone = Backbone::named(backbone).unwrap();
    let input = InputShape::new(side, side, 3);
    let config = NetworkConfig {
        backbone,
        input,
        normalization: backbone.pretrained_normalization(),
        bits: 16,
        hash_layer: HashLayerConfig::default(),
        loss: Loss::default(),
        views: Default::default(),
        classes: vec!["a".into(), "b".into()],
    };
    let network = Network::new(config, 0, &Device::Cpu).unwrap();
    let images = vec![7; batch * input.len()];
    let x = network.config().normalization.apply(&images, input, &Device::Cpu).unwrap();
    let labels: Vec<f32> = (0..2 * batch).map(|i| (i % 2) as f32).collect();
    let labels = Tensor::from_vec(labels, (batch, 2), &Device::Cpu).unwrap();
    let run = || {
        let mode = Mode::training_step(0, 1);
        let trace = network.trace(&x, mode).unwrap();
        let v = network.head(trace.features(), mode).unwrap();
        let mut gradients =
            network.objective().value(&v, &labels, 0.0).unwrap().backward().unwrap();
        trace.back(&mut gradients).unwrap();
    };
    // The first run allocates buffers that threads keep.
    run();
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    run();
    let used = ALLOCATOR.peak_usage() - before;
    let weights: usize =
        network.parameters().trainable().iter().map(|(_, var)| 4 * var.elem_count()).sum();
    // The prediction counts weights, gradients and a moment. In a step without an optimiser only the gradients are new.
    (used, network.training_memory(batch).unwrap().unwrap() - 2 * weights)
}

#[test]
fn a_step_takes_about_as_much_memory_as_is_told_beforehand() {
    // The prediction assumes that each thread uses its maximum. The more threads there are, the less likely it is that all do so at the same
    // time.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(compare);
}

fn compare() {
    for (backbone, side, batch) in [
        ("small", 32, 64),
        ("cifarnet", 32, 64),
        ("resnet18-cifar", 32, 32),
        ("mobilenet-v2", 64, 16),
        ("squeezenet1-1", 64, 16),
        ("alexnet", 96, 16),
    ] {
        let (used, told) = step(backbone, side, batch);
        let ratio = used as f64 / told as f64;
        assert!((0.6..1.35).contains(&ratio), "{backbone}: {used} bytes, told {told}");
    }
}
