//! Both engines give the values, gradients and running statistics of candle's graph.

use super::*;
use crate::backbone::Backbone;
use crate::image::InputShape;
use crate::init::Parameters;
use crate::ops::testing::{assert_close, variable};
use candle_core::{DType, Device};

/// Compares features, gradients of all trained variables, and running statistics of an engine with those of candle's graph.
fn agrees_with_the_graph(training: Training, backbone: Backbone) {
    // An engine may round differently. A value near 0 may then fall on the other side of an activation's kink, and gradients differ a
    // little. The gradients of biases that the next batch norm removes are nothing but rounding errors.
    let rounds = training == Training::Tensors;
    // Large enough for each backbone, small enough for a test.
    let side = backbone.min_side().max(16);
    let input = InputShape::new(side, side, 3);
    // Batch norm amplifies differences the more, the fewer values it has.
    let batch = if rounds { 16 } else { 3 };
    let x = variable("x", &[batch, side, side, 3]).as_tensor().detach();
    let mode = Mode::training_step(5, 1);
    let run = |training| {
        let parameters = Parameters::seeded(2);
        let vb = parameters.builder(DType::F32, &Device::Cpu).pp("backbone");
        // Narrow linear layers keep the test fast.
        let layers = backbone.describe(input, vb, |_| 8).unwrap();
        let trace = Trace::by(training, &layers, &x, mode).unwrap();
        let y = trace.features().clone();
        let weight = variable("dy", y.dims());
        let loss = (&y * weight.as_tensor()).unwrap().sum_all().unwrap();
        let mut gradients = loss.backward().unwrap();
        trace.back(&mut gradients).unwrap();
        ((y, layers), gradients, parameters)
    };
    let ((y, layers), got, of_tape) = run(training);
    let ((expected_y, _), expected, of_graph) = run(Training::Graph);
    // Operators that only some networks have are computed by candle's operations in the graph, which rounds differently.
    let (tolerance, of_gradients) = match (rounds, has_unary(&layers)) {
        (true, _) => (1e-3, 0.0),
        (false, true) => (1e-4, 1e-3),
        (false, false) => (0.0, 1e-5),
    };
    assert_close(&y, &expected_y, tolerance);
    for ((name, var), (_, other)) in of_tape.trainable().into_iter().zip(of_graph.trainable()) {
        match (got.get(&var), expected.get(&other)) {
            (Some(got), Some(expected)) if rounds => {
                let length = |x: &Tensor| {
                    let sum = x.sqr().unwrap().sum_all().unwrap();
                    sum.to_scalar::<f32>().unwrap().sqrt()
                };
                let error = length(&(got - expected).unwrap());
                assert!(error <= 5e-2 * length(expected).max(0.1), "{name}: {error}");
            }
            (Some(got), Some(expected)) => assert_close(got, expected, of_gradients),
            (None, None) => assert!(name.ends_with(".bias"), "{name} has no gradient"),
            (got, _) => panic!("{name}: one gradient, of the tape: {}", got.is_some()),
        }
    }
    for ((name, var), (_, other)) in of_tape.all().into_iter().zip(of_graph.all()) {
        if name.contains("running") {
            assert_close(var.as_tensor(), other.as_tensor(), tolerance);
        }
    }
}

fn has_unary(layers: &Sequential) -> bool {
    layers.0.iter().any(|layer| match layer {
        Layer::Unary(_) | Layer::Gate(_) => true,
        Layer::Residual { body, shortcut, .. } => has_unary(body) || has_unary(shortcut),
        Layer::Concat(branches) => branches.iter().any(has_unary),
        _ => false,
    })
}

#[test]
fn the_cpu_has_the_values_and_gradients_of_the_graph() {
    for &backbone in Backbone::ALL {
        agrees_with_the_graph(Training::Cpu, backbone);
    }
}

#[test]
fn tensors_have_the_values_and_gradients_of_the_graph() {
    // All kinds of layers, in networks that are not so deep that rounding differences grow too large.
    for backbone in [
        Backbone::SMALL,
        Backbone::named("cifarnet-deep").unwrap(),
        Backbone::named("resnet18-cifar").unwrap(),
        Backbone::named("alexnet").unwrap(),
        Backbone::named("vgg11-bn").unwrap(),
        Backbone::named("squeezenet1-1").unwrap(),
        Backbone::named("mobilenet-v2").unwrap(),
        Backbone::named("efficientnet-b0").unwrap(),
        Backbone::named("convnext-tiny").unwrap(),
        Backbone::named("dinov2-small-registers").unwrap(),
        Backbone::named("siglip-base").unwrap(),
    ] {
        agrees_with_the_graph(Training::Tensors, backbone);
    }
}
