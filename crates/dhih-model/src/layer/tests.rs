//! Shapes that do not fit are refused, and channels are joined in the order of the branches.

use super::*;
use crate::image::InputShape;
use crate::ops;
use crate::ops::testing::variable;

fn conv(channels: (usize, usize), stride: usize) -> Sequential {
    let weight = variable("w", &[channels.1, channels.0, 1, 1]).as_tensor().clone();
    let config = ops::Conv2dConfig { stride, ..Default::default() };
    let activation = Activation::Identity;
    Sequential(vec![Layer::Conv(Conv2d { weight, bias: None, config, activation })])
}

/// Asserts that both the shape and the forward pass refuse the layer.
fn assert_refused(layer: Layer) {
    let network = Sequential(vec![layer]);
    let x = variable("x", &[1, 4, 4, 3]);
    assert!(network.forward(x.as_tensor(), Mode::Evaluation).is_err(), "{network:?}");
    let input = InputShape::new(4, 4, 3);
    assert!(network.output(input).is_err(), "{network:?}");
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    assert_refused(Layer::Conv(match conv((2, 5), 1).0.remove(0) {
        Layer::Conv(conv) => conv,
        other => panic!("{other:?}"),
    }));
    let residual = |body| {
        let shortcut = Sequential::default();
        Layer::Residual { body, shortcut, activation: Activation::Relu }
    };
    assert_refused(residual(conv((3, 4), 1)));
    assert_refused(Layer::Concat(vec![conv((3, 4), 1), conv((3, 4), 2)]));
    assert_refused(Layer::Concat(vec![]));
    let pool = Pool2dConfig { kernel: 5, stride: 1, padding: 0, ceil: false };
    assert_refused(Layer::MaxPool(pool));
    assert_refused(Layer::AvgPool(pool));
    let weight = variable("w", &[2, 47]).as_tensor().clone();
    let linear = Linear { weight, bias: None, activation: Activation::Identity };
    assert_refused(Layer::Linear(linear));
}

#[test]
fn branches_are_joined_along_the_channels_and_vectors_are_channel_by_channel() {
    let input = InputShape::new(2, 3, 3);
    let identity = Sequential::default();
    let layers = Sequential(vec![Layer::Concat(vec![conv((3, 2), 1), identity]), Layer::Flatten]);
    assert_eq!(layers.output(input).unwrap().len(), 2 * 3 * 5);
    let x = variable("x", &[1, 2, 3, 3]);
    let y = layers.forward(x.as_tensor(), Mode::Evaluation).unwrap();
    let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let x = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (pixel, values) in x.chunks(3).enumerate() {
        for (channel, value) in values.iter().enumerate() {
            assert_eq!(y[(2 + channel) * 6 + pixel], *value);
        }
    }
}
