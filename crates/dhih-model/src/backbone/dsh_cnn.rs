//! `dsh-cnn`: the network of deep supervised hashing (Liu et al., CVPR 2016), for images of 32 x 32.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{Conv, Scheme};
use crate::image::InputShape;
use crate::layer::Layer;
use crate::ops::{Activation, Pool2dConfig};

/// The entry in the table of backbones.
pub(super) const DSH_CNN: Spec = Spec::small(
    "dsh-cnn",
    "three 5x5 convolutions, of deep supervised hashing",
    |input, vb, width| dsh_cnn(input, vb, width(500)),
)
.with_min_side(12);

/// Names the parameters `conv{1,2,3}` and `fc1`. The features are the `hidden` values of `fc1`. As in the authors' Caffe model, pooling windows
/// may reach over the border. Its local response normalisation is left out.
fn dsh_cnn(input: InputShape, vb: VarBuilder<'_>, hidden: usize) -> Result<Blocks> {
    let pool = Pool2dConfig { kernel: 3, stride: 2, padding: 0, ceil: true };
    let conv = |channels, activation, name| {
        Conv::new(channels, 5).biased(activation).build(Scheme::Xavier, vb.pp(name))
    };
    let mut layers = Blocks::default();
    layers.begin();
    layers.push(conv((input.channels, 32), Activation::Identity, "conv1")?);
    layers.extend([Layer::MaxPool(pool), Layer::Activation(Activation::Relu)]);
    layers.begin();
    layers.extend([conv((32, 32), Activation::Relu, "conv2")?, Layer::AvgPool(pool)]);
    layers.begin();
    layers.extend([conv((32, 64), Activation::Relu, "conv3")?, Layer::AvgPool(pool)]);
    layers.push(Layer::Flatten);
    let flat = layers.so_far().output(input)?.len();
    layers.begin();
    layers.push(Scheme::Xavier.linear((flat, hidden), vb.pp("fc1"))?);
    Ok(layers)
}
