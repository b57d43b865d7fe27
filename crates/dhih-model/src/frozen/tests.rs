//! Frozen layers do not change, cost nothing in the backward pass, and take nothing from the gradients of the layers behind them.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use crate::backbone::Backbone;
use crate::backbone::blueprint::recorded;
use crate::config::NetworkConfig;
use crate::image::InputShape;
use crate::layer::{Mode, Sequential};
use crate::network::Network;
use crate::ops::testing::{assert_close, variable};
use crate::preprocess::Normalization;

fn network(name: &str) -> Network {
    let backbone = Backbone::named(name).unwrap();
    let side = backbone.min_side().max(32);
    let config = NetworkConfig {
        backbone,
        input: InputShape::new(side, side, 3),
        normalization: Normalization { mean: vec![0.5; 3], std: vec![0.5; 3] },
        bits: 8,
        hash_layer: Default::default(),
        loss: Default::default(),
        views: Default::default(),
        classes: vec!["a".into(), "b".into()],
    };
    Network::new(config, 3, &Device::Cpu).unwrap()
}

fn images(network: &Network) -> Tensor {
    let InputShape { height, width, channels, .. } = network.config().input;
    variable("x", &[3, height, width, channels]).as_tensor().detach()
}

/// Gradients by name of a loss that is a weighted sum of the features, and the number of recorded steps.
fn gradients(network: &Network) -> (BTreeMap<String, Tensor>, usize) {
    let trace = network.trace(&images(network), Mode::training_step(1, 0)).unwrap();
    let weights = variable("dy", trace.features().dims());
    let loss = (trace.features() * weights.as_tensor()).unwrap().sum_all().unwrap();
    let mut gradients = loss.backward().unwrap();
    let steps = trace.steps();
    trace.back(&mut gradients).unwrap();
    let trainable = network.parameters().trainable().into_iter();
    let by_name =
        trainable.filter_map(|(name, var)| Some((name, gradients.get(&var)?.clone()))).collect();
    (by_name, steps)
}

/// Networks without batch norm compute the same in both modes, so that the trained layers have the same gradients as in the whole network.
#[test]
fn what_is_trained_has_the_gradients_of_the_whole_network() {
    for name in ["dinov2-small", "convnext-tiny", "squeezenet1-1"] {
        let mut network = network(name);
        let (whole, all_steps) = gradients(&network);
        network.train_last(2).unwrap();
        let (got, steps) = gradients(&network);
        assert!(!got.is_empty() && 3 * steps < all_steps, "{name}: {steps} of {all_steps}");
        for (parameter, expected) in &whole {
            match got.get(parameter) {
                Some(gradient) => assert_close(gradient, expected, 1e-3),
                None => assert!(network.is_frozen(parameter), "{name} {parameter}"),
            }
        }
        assert!(got.keys().all(|parameter| !network.is_frozen(parameter)), "{name}");
    }
}

/// With batch norm, the frozen layers run in evaluation mode and the others in training mode. The reference is candle's graph.
#[test]
fn frozen_batch_norms_are_evaluated_and_their_statistics_stay() {
    for name in ["resnet18", "mobilenet-v2", "efficientnet-b0"] {
        let mut network = network(name);
        network.train_last(1).unwrap();
        let before = network.parameters().snapshot().unwrap();
        let (got, _) = gradients(&network);
        let after = network.parameters().snapshot().unwrap();
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (parameter, tensor) in &before {
            let moves = parameter.starts_with("backbone.")
                && parameter.contains(".running_")
                && !network.is_frozen(parameter);
            assert_eq!(values(tensor) != values(&after[parameter]), moves, "{name} {parameter}");
        }
        let layers = &network.backbone().layers().unwrap().0;
        let first = *network.backbone().blocks().last().unwrap();
        let part = |layers: &[_]| Sequential(layers.to_vec());
        let x = part(&layers[..first]).forward(&images(&network), Mode::Evaluation).unwrap();
        let mode = Mode::training_step(1, 0);
        let y = part(&layers[first..]).forward(&x.detach(), mode).unwrap();
        let loss = (&y * variable("dy", y.dims()).as_tensor()).unwrap().sum_all().unwrap();
        let expected = loss.backward().unwrap();
        assert!(!got.is_empty());
        for (parameter, gradient) in &got {
            let var = network.parameters().get(parameter).unwrap();
            assert_close(gradient, expected.get(&var).unwrap(), 1e-3);
        }
    }
}

#[test]
fn every_block_of_every_backbone_has_weights() {
    for &backbone in Backbone::ALL {
        let input = InputShape::new(64, 64, 3);
        let (built, _) = recorded(|vb| backbone.build(input, vb)).unwrap();
        let (layers, begins) = (&built.layers().unwrap().0, built.blocks());
        assert_eq!(begins.len(), backbone.blocks().unwrap());
        assert!(begins.len() > 2, "{}", backbone.name());
        for (number, first) in begins.iter().enumerate() {
            let end = begins.get(number + 1).copied().unwrap_or(layers.len());
            let block = Sequential(layers[*first..end].to_vec());
            assert!(!block.tensors().is_empty(), "block {number} of {}", backbone.name());
        }
    }
}

#[test]
fn a_number_of_blocks_that_there_is_not_is_refused_by_its_number() {
    let mut network = network("resnet18");
    for blocks in [0, 9] {
        let error = network.train_last(blocks).unwrap_err().to_string();
        let expected =
            format!("train_last is {blocks}, expected 1 to 8, the number of blocks of resnet18");
        assert_eq!(error, expected);
    }
    network.train_last(8).unwrap();
    assert!(network.is_frozen("backbone.conv1.weight"));
    assert!(!network.is_frozen("backbone.layer1.0.bn1.running_var"));
    network.train_last(1).unwrap();
    assert!(network.is_frozen("backbone.layer4.0.conv1.weight"));
    assert!(!network.is_frozen("hash_layer.weight"));
}

#[test]
fn memory_is_that_of_what_is_trained() {
    let mut network = network("dinov2-small");
    let whole = network.training_memory(64).unwrap().unwrap();
    network.train_last(2).unwrap();
    let last = network.training_memory(64).unwrap().unwrap();
    assert!(3 * last < whole, "{last} of {whole} bytes");
}
