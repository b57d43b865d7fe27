//! `mobilenet-v2` (Sandler et al., 2018), with torchvision's layers and names.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{Conv, Scheme, norm};
use crate::image::InputShape;
use crate::layer::{Layer, Sequential};
use crate::ops::Activation;

/// The entry in the table of backbones.
pub(super) const MOBILENET_V2: Spec = Spec::large(
    "mobilenet-v2",
    "inverted residuals with a kernel for each channel",
    |input, vb, _| mobilenet_v2(input, vb),
);

/// Names the parameters `features.N`. The features are the means of the last 1,280 channels. A block is an inverted residual.
fn mobilenet_v2(input: InputShape, vb: VarBuilder<'_>) -> Result<Blocks> {
    let vb = vb.pp("features");
    let stem = Conv::new((input.channels, 32), 3).stride(2);
    let mut layers = Blocks::new(normed(stem, 32, (vb.pp("0.0"), vb.pp("0.1")))?);
    let (mut channels, mut number) = (32, 1);
    for (expansion, out, count, first_stride) in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ] {
        for i in 0..count {
            let block = Block {
                channels: (channels, out),
                expansion,
                stride: if i == 0 { first_stride } else { 1 },
            };
            layers.begin();
            layers.extend(block.build(vb.pp(number).pp("conv"))?);
            (channels, number) = (out, number + 1);
        }
    }
    layers.extend(normed(Conv::new((channels, 1280), 1), 1280, (vb.pp("18.0"), vb.pp("18.1")))?);
    layers.extend([Layer::AdaptiveAvgPool((1, 1)), Layer::Flatten]);
    Ok(layers)
}

/// An inverted residual: a 1x1 convolution to more channels, a depthwise 3x3 convolution, a 1x1 convolution to fewer channels.
struct Block {
    channels: (usize, usize),
    expansion: usize,
    stride: usize,
}

impl Block {
    fn build(self, vb: VarBuilder<'_>) -> Result<Vec<Layer>> {
        let Self { channels: (channels, out), expansion, stride } = self;
        let wide = channels * expansion;
        let mut body = Vec::new();
        let mut number = 0;
        if expansion != 1 {
            body.extend(normed(
                Conv::new((channels, wide), 1),
                wide,
                (vb.pp("0.0"), vb.pp("0.1")),
            )?);
            number = 1;
        }
        let depthwise = Conv::new((wide, wide), 3).stride(stride).depthwise();
        let names = (vb.pp(format!("{number}.0")), vb.pp(format!("{number}.1")));
        body.extend(normed(depthwise, wide, names)?);
        body.push(Conv::new((wide, out), 1).build(Scheme::He, vb.pp(number + 1))?);
        body.push(norm(out, Activation::Identity, vb.pp(number + 2))?);
        if stride != 1 || channels != out {
            return Ok(body);
        }
        let (body, shortcut) = (Sequential(body), Sequential::default());
        Ok(vec![Layer::Residual { body, shortcut, activation: Activation::Identity }])
    }
}

/// A convolution, followed by batch norm and ReLU6.
fn normed(
    conv: Conv,
    out: usize,
    (conv_name, norm_name): (VarBuilder<'_>, VarBuilder<'_>),
) -> Result<[Layer; 2]> {
    Ok([conv.build(Scheme::He, conv_name)?, norm(out, Activation::Relu6, norm_name)?])
}
