//! ConvNeXt (Liu et al., 2022), with torchvision's layers and names.

use candle_core::Result;
use candle_nn::{Init, VarBuilder};

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{Conv, Scheme, layer_norm, token_linear};
use crate::image::{Fit, InputShape, Interpolation};
use crate::layer::{Layer, Sequential};
use crate::ops::{Activation, Scale, Unary};

/// The entry in the table of backbones.
pub(super) const CONVNEXT_TINY: Spec = Spec::large(
    "convnext-tiny",
    "a convolutional network in the style of transformers",
    |input, vb, width| convnext(input, vb, width, [(96, 3), (192, 3), (384, 9), (768, 3)]),
)
// The smaller side is scaled to 236 pixels.
.with_fit(Fit::scaled(Interpolation::Linear, 949));

/// The constant that layer norm adds to variances.
const EPS: f64 = 1e-6;

/// `channels` and `blocks` are those of each resolution. The features are the normalised means of the last channels. A block is a residual; a
/// layer that halves the resolution belongs to the block before it.
fn convnext(
    input: InputShape,
    vb: VarBuilder<'_>,
    width: fn(usize) -> usize,
    stages: [(usize, usize); 4],
) -> Result<Blocks> {
    let features = vb.pp("features");
    let mut layers = Blocks::default();
    let mut before = input.channels;
    for (number, (channels, blocks)) in stages.into_iter().enumerate() {
        let reduce = features.pp(2 * number);
        let (kernel, norm_first) = if number == 0 { (4, false) } else { (2, true) };
        let conv = Conv::new((before, channels), kernel).stride(kernel).padding(0);
        let conv = conv.biased(Activation::Identity);
        if norm_first {
            layers.push(layer_norm(before, EPS, reduce.pp(0))?);
            layers.push(conv.build(Scheme::Torch, reduce.pp(1))?);
        } else {
            layers.push(conv.build(Scheme::Torch, reduce.pp(0))?);
            layers.push(layer_norm(channels, EPS, reduce.pp(1))?);
        }
        for block in 0..blocks {
            layers.begin();
            layers.push(residual(channels, width, features.pp(2 * number + 1).pp(block))?);
        }
        before = channels;
    }
    layers.push(Layer::AdaptiveAvgPool((1, 1)));
    layers.push(layer_norm(before, EPS, vb.pp("classifier").pp(0))?);
    layers.push(Layer::Flatten);
    Ok(layers)
}

/// A depthwise 7x7 convolution and two linear layers on each pixel.
fn residual(channels: usize, width: fn(usize) -> usize, vb: VarBuilder<'_>) -> Result<Layer> {
    let hidden = width(4 * channels);
    let names = vb.pp("block");
    let depthwise = Conv::new((channels, channels), 7).depthwise().biased(Activation::Identity);
    let weight = vb.get_with_hints((channels, 1, 1), "layer_scale", Init::Const(1e-6))?;
    let body = Sequential(vec![
        depthwise.build(Scheme::Torch, names.pp(0))?,
        layer_norm(channels, EPS, names.pp(2))?,
        token_linear((channels, hidden), Activation::Gelu, names.pp(3))?,
        token_linear((hidden, channels), Activation::Identity, names.pp(5))?,
        Layer::Unary(Unary::Scale(Scale { weight })),
    ]);
    let (shortcut, activation) = (Sequential::default(), Activation::Identity);
    Ok(Layer::Residual { body, shortcut, activation })
}
