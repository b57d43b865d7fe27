//! `squeezenet1-1` (Iandola et al., 2016), with torchvision's layers and names.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{Conv, Scheme};
use crate::image::InputShape;
use crate::layer::{Layer, Sequential};
use crate::ops::{Activation::Relu, Pool2dConfig};

/// The entry in the table of backbones.
pub(super) const SQUEEZENET1_1: Spec =
    Spec::large("squeezenet1-1", "few weights: 1x1 and 3x3 side by side", |input, vb, _| {
        squeezenet1_1(input, vb)
    })
    .with_min_side(25);

/// Names the parameters `features.N`. The features are the means of the last 512 channels; torchvision's classifier convolves these channels
/// before it averages. A block is a pair of fire layers.
fn squeezenet1_1(input: InputShape, vb: VarBuilder<'_>) -> Result<Blocks> {
    let vb = vb.pp("features");
    let pool = Layer::MaxPool(Pool2dConfig { kernel: 3, stride: 2, padding: 0, ceil: true });
    let stem = Conv::new((input.channels, 64), 3).stride(2).padding(0).biased(Relu);
    let mut layers = Blocks::new([stem.build(Scheme::HeUniform, vb.pp(0))?, pool.clone()]);
    let mut channels = 64;
    for (number, squeeze, expand) in [
        (3, 16, 64),
        (4, 16, 64),
        (6, 32, 128),
        (7, 32, 128),
        (9, 48, 192),
        (10, 48, 192),
        (11, 64, 256),
        (12, 64, 256),
    ] {
        if [6, 9].contains(&number) {
            layers.push(pool.clone());
        }
        layers.begin();
        layers.extend(fire((channels, squeeze, expand), vb.pp(number))?);
        channels = 2 * expand;
    }
    layers.extend([Layer::AdaptiveAvgPool((1, 1)), Layer::Flatten]);
    Ok(layers)
}

/// A fire layer: a 1x1 convolution to few channels, then a 1x1 and a 3x3 convolution side by side.
fn fire(
    (channels, squeeze, expand): (usize, usize, usize),
    vb: VarBuilder<'_>,
) -> Result<[Layer; 2]> {
    let conv = |channels, kernel, name| {
        Conv::new(channels, kernel).biased(Relu).build(Scheme::HeUniform, vb.pp(name))
    };
    let expand1x1 = conv((squeeze, expand), 1, "expand1x1")?;
    let expand3x3 = conv((squeeze, expand), 3, "expand3x3")?;
    let branches = vec![Sequential(vec![expand1x1]), Sequential(vec![expand3x3])];
    Ok([conv((channels, squeeze), 1, "squeeze")?, Layer::Concat(branches)])
}
