//! EfficientNet-Lite (Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020, after Tan and Le, 2019): inverted residuals of 3x3 and
//! 5x5 kernels, without squeeze-and-excitation. The names of `efficientnet-lite0` are those of the package `efficientnet_pytorch`, those of
//! `efficientnet-lite2` timm's.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{Conv, Scheme};
use crate::image::{Fit, InputShape, Interpolation};
use crate::layer::{Layer, Sequential};
use crate::ops::{Activation, BatchNorm};
use crate::preprocess::Normalization;

/// The entries in the table of backbones.
pub(super) const LITE0: Spec = Spec {
    // This is (x - 127) / 128 for bytes x.
    normalization: || Normalization { mean: vec![127.0 / 255.0; 3], std: vec![128.0 / 255.0; 3] },
    ..Spec::large(
        "efficientnet-lite0",
        "inverted residuals of 3x3 and 5x5 kernels",
        |input, vb, _| efficientnet_lite(input, vb, Names::EfficientnetPytorch, &LITE0_STAGES),
    )
    .with_fit(Fit::BICUBIC_256)
};
pub(super) const LITE2: Spec = Spec {
    normalization: || Normalization { mean: vec![0.5; 3], std: vec![0.5; 3] },
    default_side: 260,
    ..Spec::large("efficientnet-lite2", "efficientnet-lite0, wider and deeper", |input, vb, _| {
        efficientnet_lite(input, vb, Names::Timm, &LITE2_STAGES)
    })
    .with_fit(Fit::scaled(Interpolation::Bicubic, 890))
}
.published_as("timm/tf_efficientnet_lite2.in1k");

/// The constant that the batch norms of the family add to variances.
const EPS: f64 = 1e-3;

/// The blocks of one resolution.
struct Stage {
    kernel: usize,
    /// The stride of the first block; the others have stride 1.
    stride: usize,
    expansion: usize,
    out: usize,
    blocks: usize,
}

const fn stage([kernel, stride, expansion]: [usize; 3], [out, blocks]: [usize; 2]) -> Stage {
    Stage { kernel, stride, expansion, out, blocks }
}

const LITE0_STAGES: [Stage; 7] = [
    stage([3, 1, 1], [16, 1]),
    stage([3, 2, 6], [24, 2]),
    stage([5, 2, 6], [40, 2]),
    stage([3, 2, 6], [80, 3]),
    stage([5, 1, 6], [112, 3]),
    stage([5, 2, 6], [192, 4]),
    stage([3, 1, 6], [320, 1]),
];

/// 1.1 times the channels, rounded to multiples of 8, and 1.2 times the blocks, rounded up. The first and the last stage keep their blocks.
const LITE2_STAGES: [Stage; 7] = [
    stage([3, 1, 1], [16, 1]),
    stage([3, 2, 6], [24, 3]),
    stage([5, 2, 6], [48, 3]),
    stage([3, 2, 6], [88, 4]),
    stage([5, 1, 6], [120, 4]),
    stage([5, 2, 6], [208, 5]),
    stage([3, 1, 6], [352, 1]),
];

/// Which library's names the weights have.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Names {
    /// The names `_conv_stem`, `_bn0`, `_blocks.N`, `_conv_head` and `_bn1`.
    EfficientnetPytorch,
    /// The names `conv_stem`, `bn1`, `blocks.STAGE.N`, `conv_head` and `bn2`.
    Timm,
}

impl Names {
    /// The names of convolution and norm, of the stem and of the head.
    fn ends(self) -> [[&'static str; 2]; 2] {
        match self {
            Self::EfficientnetPytorch => [["_conv_stem", "_bn0"], ["_conv_head", "_bn1"]],
            Self::Timm => [["conv_stem", "bn1"], ["conv_head", "bn2"]],
        }
    }

    /// The names of convolution and norm in a block: of the expansion, of the depthwise convolution, and of the projection.
    fn block(self, expands: bool) -> [[&'static str; 2]; 3] {
        match (self, expands) {
            (Self::EfficientnetPytorch, _) => {
                [["_expand_conv", "_bn0"], ["_depthwise_conv", "_bn1"], ["_project_conv", "_bn2"]]
            }
            (Self::Timm, true) => [["conv_pw", "bn1"], ["conv_dw", "bn2"], ["conv_pwl", "bn3"]],
            (Self::Timm, false) => [["", ""], ["conv_dw", "bn1"], ["conv_pw", "bn2"]],
        }
    }
}

/// Names the parameters as `names` says. The features are the means of the last 1,280 channels. A block is an inverted residual.
fn efficientnet_lite(
    input: InputShape,
    vb: VarBuilder<'_>,
    names: Names,
    stages: &[Stage],
) -> Result<Blocks> {
    let [stem, head] = names.ends();
    let conv = Conv::new((input.channels, 32), 3).stride(2).same();
    let mut layers = Blocks::new(normed(conv, (32, Activation::Relu6), stem, &vb)?);
    let (mut channels, mut number) = (32, 0);
    for (stage, Stage { kernel, stride, expansion, out, blocks }) in stages.iter().enumerate() {
        for i in 0..*blocks {
            let (channels_of_block, stride) = ((channels, *out), if i == 0 { *stride } else { 1 });
            let (kernel, expansion) = (*kernel, *expansion);
            let block = Block { channels: channels_of_block, kernel, stride, expansion, names };
            let vb = match names {
                Names::EfficientnetPytorch => vb.pp("_blocks").pp(number),
                Names::Timm => vb.pp("blocks").pp(stage).pp(i),
            };
            layers.begin();
            layers.extend(block.build(vb)?);
            (channels, number) = (*out, number + 1);
        }
    }
    let conv = Conv::new((channels, 1280), 1);
    layers.extend(normed(conv, (1280, Activation::Relu6), head, &vb)?);
    layers.extend([Layer::AdaptiveAvgPool((1, 1)), Layer::Flatten]);
    Ok(layers)
}

/// A convolution, followed by batch norm with an activation.
fn normed(
    conv: Conv,
    (channels, activation): (usize, Activation),
    [conv_name, norm_name]: [&str; 2],
    vb: &VarBuilder<'_>,
) -> Result<[Layer; 2]> {
    let norm = BatchNorm::new(channels, activation, vb.pp(norm_name))?.with_eps(EPS);
    Ok([conv.build(Scheme::He, vb.pp(conv_name))?, Layer::Norm(norm)])
}

/// An inverted residual: a 1x1 convolution to more channels, a depthwise convolution, a 1x1 convolution to fewer channels.
struct Block {
    channels: (usize, usize),
    kernel: usize,
    stride: usize,
    expansion: usize,
    names: Names,
}

impl Block {
    fn build(self, vb: VarBuilder<'_>) -> Result<Vec<Layer>> {
        let Self { channels: (channels, out), kernel, stride, expansion, names } = self;
        let wide = channels * expansion;
        let [expand, of_each, project] = names.block(expansion != 1);
        let mut body = Vec::new();
        if expansion != 1 {
            let conv = Conv::new((channels, wide), 1);
            body.extend(normed(conv, (wide, Activation::Relu6), expand, &vb)?);
        }
        let conv = Conv::new((wide, wide), kernel).stride(stride).same().depthwise();
        body.extend(normed(conv, (wide, Activation::Relu6), of_each, &vb)?);
        let conv = Conv::new((wide, out), 1);
        body.extend(normed(conv, (out, Activation::Identity), project, &vb)?);
        if stride != 1 || channels != out {
            return Ok(body);
        }
        let (body, shortcut) = (Sequential(body), Sequential::default());
        Ok(vec![Layer::Residual { body, shortcut, activation: Activation::Identity }])
    }
}
