//! `small`: three 3x3 convolutions of 32, 64 and 128 channels, each followed by 2x2 max pooling, batch norm and ReLU.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::Spec;
use super::blocks::Blocks;
use super::scheme::norm;
use crate::image::InputShape;
use crate::layer::Layer;
use crate::ops::{Activation, Conv2d, Conv2dConfig, Padding, Pool2dConfig};

/// The entry in the table of backbones.
pub(super) const SMALL: Spec = Spec::small(
    "small",
    "three 3x3 convolutions with batch norm; seconds an epoch on a CPU",
    |input, vb, _| small(input, vb),
);

/// Names the parameters `conv{1,2,3}` and `bn{1,2,3}`. The features are the values of the last block.
fn small(input: InputShape, vb: VarBuilder<'_>) -> Result<Blocks> {
    let config = Conv2dConfig { padding: Padding::Each(1), ..Default::default() };
    let halve = Pool2dConfig { kernel: 2, stride: 2, padding: 0, ceil: false };
    let mut channels = input.channels;
    let mut layers = Blocks::default();
    for (i, out) in [32, 64, 128].into_iter().enumerate() {
        let name = |layer: &str| vb.pp(format!("{layer}{}", i + 1));
        layers.begin();
        layers.push(Layer::Conv(Conv2d::new((channels, out), 3, config, name("conv"))?));
        layers.push(Layer::MaxPool(halve));
        layers.push(norm(out, Activation::Relu, name("bn"))?);
        channels = out;
    }
    layers.push(Layer::Flatten);
    Ok(layers)
}
