//! `efficientnet-lite0` (Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020, after Tan and Le, 2019): inverted
//! residuals of 3x3 and 5x5 kernels, without squeeze-and-excitation. Names are those of the package `efficientnet_pytorch`.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{Conv, Scheme};
use crate::config::{InputShape, Normalization};
use crate::image::Fit;
use crate::layer::{Layer, Sequential};
use crate::ops::{Activation, BatchNorm};

/// Its entry in the table.
pub(super) const LITE0: Spec = Spec {
    // (x - 127) / 128, of bytes.
    normalization: || Normalization { mean: vec![127.0 / 255.0; 3], std: vec![128.0 / 255.0; 3] },
    ..Spec::large(
        "efficientnet-lite0",
        "inverted residuals of 3x3 and 5x5 kernels",
        |input, vb, _| efficientnet_lite0(input, vb),
    )
    .with_fit(Fit::BICUBIC_256)
};

/// Added to the variance by every batch norm of the family.
const EPS: f64 = 1e-3;

/// Blocks of one resolution.
struct Stage {
    kernel: usize,
    /// Of the first block; the others have stride 1.
    stride: usize,
    expansion: usize,
    out: usize,
    blocks: usize,
}

const fn stage([kernel, stride, expansion]: [usize; 3], [out, blocks]: [usize; 2]) -> Stage {
    Stage { kernel, stride, expansion, out, blocks }
}

const STAGES: [Stage; 7] = [
    stage([3, 1, 1], [16, 1]),
    stage([3, 2, 6], [24, 2]),
    stage([5, 2, 6], [40, 2]),
    stage([3, 2, 6], [80, 3]),
    stage([5, 1, 6], [112, 3]),
    stage([5, 2, 6], [192, 4]),
    stage([3, 1, 6], [320, 1]),
];

/// Names `_conv_stem`, `_bn0`, `_blocks.N`, `_conv_head` and `_bn1`; the features are the means of the last 1,280 channels. A block
/// is an inverted residual.
pub(super) fn efficientnet_lite0(input: InputShape, vb: VarBuilder<'_>) -> Result<Blocks> {
    let stem = Conv::new((input.channels, 32), 3).stride(2).same();
    let mut layers = Blocks::new([
        stem.build(Scheme::He, vb.pp("_conv_stem"))?,
        norm(32, Activation::Relu6, vb.pp("_bn0"))?,
    ]);
    let (mut channels, mut number) = (32, 0);
    for Stage { kernel, stride, expansion, out, blocks } in STAGES {
        for i in 0..blocks {
            let stride = if i == 0 { stride } else { 1 };
            let block = Block { channels: (channels, out), kernel, stride, expansion };
            layers.begin();
            layers.extend(block.build(vb.pp("_blocks").pp(number))?);
            (channels, number) = (out, number + 1);
        }
    }
    layers.extend([
        Conv::new((channels, 1280), 1).build(Scheme::He, vb.pp("_conv_head"))?,
        norm(1280, Activation::Relu6, vb.pp("_bn1"))?,
        Layer::AdaptiveAvgPool((1, 1)),
        Layer::Flatten,
    ]);
    Ok(layers)
}

fn norm(channels: usize, activation: Activation, vb: VarBuilder<'_>) -> Result<Layer> {
    Ok(Layer::Norm(BatchNorm::new(channels, activation, vb)?.with_eps(EPS)))
}

/// An inverted residual: 1x1 to more channels, a kernel on each of them, 1x1 to fewer.
struct Block {
    channels: (usize, usize),
    kernel: usize,
    stride: usize,
    expansion: usize,
}

impl Block {
    fn build(self, vb: VarBuilder<'_>) -> Result<Vec<Layer>> {
        let Self { channels: (channels, out), kernel, stride, expansion } = self;
        let wide = channels * expansion;
        let mut body = Vec::new();
        if expansion != 1 {
            let expand = Conv::new((channels, wide), 1);
            body.push(expand.build(Scheme::He, vb.pp("_expand_conv"))?);
            body.push(norm(wide, Activation::Relu6, vb.pp("_bn0"))?);
        }
        let depthwise = Conv::new((wide, wide), kernel).stride(stride).same().depthwise();
        body.push(depthwise.build(Scheme::He, vb.pp("_depthwise_conv"))?);
        body.push(norm(wide, Activation::Relu6, vb.pp("_bn1"))?);
        body.push(Conv::new((wide, out), 1).build(Scheme::He, vb.pp("_project_conv"))?);
        body.push(norm(out, Activation::Identity, vb.pp("_bn2"))?);
        if stride != 1 || channels != out {
            return Ok(body);
        }
        let (body, shortcut) = (Sequential(body), Sequential::default());
        Ok(vec![Layer::Residual { body, shortcut, activation: Activation::Identity }])
    }
}
