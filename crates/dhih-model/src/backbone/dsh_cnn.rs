//! `dsh-cnn`: the network of deep supervised hashing (Liu et al., CVPR 2016), for images of 32 x 32.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::Spec;
use super::scheme::{Conv, Scheme};
use crate::config::InputShape;
use crate::layer::{Layer, Sequential};
use crate::ops::{Activation, Pool2dConfig};

/// Its entry in the table.
pub(super) const DSH_CNN: Spec = Spec::small(
    "dsh-cnn",
    "three 5x5 convolutions, of deep supervised hashing",
    |input, vb, width| dsh_cnn(input, vb, width(500)),
)
.with_min_side(12);

/// Names `conv{1,2,3}` and `fc1`, whose `hidden` values are the features. As in the authors' Caffe model, pooling windows
/// may reach over the border; its local response normalisation is left out.
pub(super) fn dsh_cnn(input: InputShape, vb: VarBuilder<'_>, hidden: usize) -> Result<Sequential> {
    let pool = Pool2dConfig { kernel: 3, stride: 2, padding: 0, ceil: true };
    let conv = |channels, activation, name| {
        Conv::new(channels, 5).biased(activation).build(Scheme::Xavier, vb.pp(name))
    };
    let mut layers = vec![
        conv((input.channels, 32), Activation::Identity, "conv1")?,
        Layer::MaxPool(pool),
        Layer::Activation(Activation::Relu),
        conv((32, 32), Activation::Relu, "conv2")?,
        Layer::AvgPool(pool),
        conv((32, 64), Activation::Relu, "conv3")?,
        Layer::AvgPool(pool),
        Layer::Flatten,
    ];
    let flat = Sequential(layers.clone()).output(input)?.len();
    layers.push(Scheme::Xavier.linear((flat, hidden), vb.pp("fc1"))?);
    Ok(Sequential(layers))
}
