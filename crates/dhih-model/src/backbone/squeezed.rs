//! Inverted residuals with squeeze and excitation: `efficientnet-b0` (Tan and Le, 2019) and `mobilenet-v3` (Howard et al., 2019), with
//! torchvision's layers and names.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{Conv, Scheme, token_linear};
use crate::image::{Fit, InputShape};
use crate::layer::{Layer, Sequential};
use crate::ops::{Activation, BatchNorm};

/// The entries in the table of backbones.
pub(super) const EFFICIENTNET_B0: Spec = Spec::large(
    "efficientnet-b0",
    "inverted residuals whose channels are weighed by each image",
    |input, vb, _| efficientnet_b0(input, vb),
)
.with_fit(Fit::BICUBIC_256);
pub(super) const MOBILENET_V3: Spec = Spec::large(
    "mobilenet-v3",
    "the same idea, made for phones: torchvision's large one",
    mobilenet_v3,
);

/// An inverted residual.
#[derive(Clone, Copy)]
struct Block {
    channels: (usize, usize),
    /// Channels between the first and the last convolution.
    wide: usize,
    kernel: usize,
    stride: usize,
    /// The size of the hidden layer of squeeze and excitation, and the activations behind its two layers; `None` where a block has no such gate.
    squeeze: Option<(usize, [Activation; 2])>,
    activation: Activation,
    eps: f64,
}

impl Block {
    fn build(self, vb: VarBuilder<'_>) -> Result<Vec<Layer>> {
        let Self { channels: (channels, out), wide, kernel, stride, .. } = self;
        let mut number = 0;
        let mut next = || {
            number += 1;
            vb.pp("block").pp(number - 1)
        };
        let mut body = Vec::new();
        if wide != channels {
            body.extend(self.normed(Conv::new((channels, wide), 1), wide, next())?);
        }
        let depthwise = Conv::new((wide, wide), kernel).stride(stride).depthwise();
        body.extend(self.normed(depthwise, wide, next())?);
        if let Some((few, [first, second])) = self.squeeze {
            let vb = next();
            body.push(Layer::Gate(Sequential(vec![
                Layer::AdaptiveAvgPool((1, 1)),
                Conv::new((wide, few), 1).biased(first).build(Scheme::He, vb.pp("fc1"))?,
                Conv::new((few, wide), 1).biased(second).build(Scheme::He, vb.pp("fc2"))?,
            ])));
        }
        let last = Self { activation: Activation::Identity, ..self };
        body.extend(last.normed(Conv::new((wide, out), 1), out, next())?);
        if stride != 1 || channels != out {
            return Ok(body);
        }
        let (body, shortcut) = (Sequential(body), Sequential::default());
        Ok(vec![Layer::Residual { body, shortcut, activation: Activation::Identity }])
    }

    fn normed(self, conv: Conv, channels: usize, vb: VarBuilder<'_>) -> Result<[Layer; 2]> {
        let norm = BatchNorm::new(channels, self.activation, vb.pp(1))?.with_eps(self.eps);
        Ok([conv.build(Scheme::He, vb.pp(0))?, Layer::Norm(norm)])
    }
}

/// Names the parameters as torchvision does. The features are the means of the last 1,280 channels. A block is an inverted residual.
fn efficientnet_b0(input: InputShape, vb: VarBuilder<'_>) -> Result<Blocks> {
    let block = |channels: (usize, usize), expansion: usize, kernel, stride| Block {
        channels,
        wide: channels.0 * expansion,
        kernel,
        stride,
        squeeze: Some((channels.0 / 4, [Activation::Silu, Activation::Sigmoid])),
        activation: Activation::Silu,
        eps: 1e-5,
    };
    let vb = vb.pp("features");
    let plain = block((32, 16), 1, 3, 1);
    let stem = Conv::new((input.channels, 32), 3).stride(2);
    let mut layers = Blocks::new(plain.normed(stem, 32, vb.pp(0))?);
    let mut channels = 32;
    let stages = [
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ];
    for (number, (expansion, kernel, stride, out, count)) in stages.into_iter().enumerate() {
        for i in 0..count {
            let stride = if i == 0 { stride } else { 1 };
            let block = block((channels, out), expansion, kernel, stride);
            layers.begin();
            layers.extend(block.build(vb.pp(number + 1).pp(i))?);
            channels = out;
        }
    }
    layers.extend(plain.normed(Conv::new((channels, 1280), 1), 1280, vb.pp(8))?);
    layers.extend([Layer::AdaptiveAvgPool((1, 1)), Layer::Flatten]);
    Ok(layers)
}

/// Names the parameters as torchvision does. The features are the 1,280 values of the layer before the classifier. A block is an inverted
/// residual.
fn mobilenet_v3(
    input: InputShape,
    vb: VarBuilder<'_>,
    width: fn(usize) -> usize,
) -> Result<Blocks> {
    use Activation::{HardSwish, Relu};
    let plain = Block {
        channels: (16, 16),
        wide: 16,
        kernel: 3,
        stride: 1,
        squeeze: None,
        activation: HardSwish,
        eps: 1e-3,
    };
    let features = vb.pp("features");
    let stem = Conv::new((input.channels, 16), 3).stride(2);
    let mut layers = Blocks::new(plain.normed(stem, 16, features.pp(0))?);
    let mut channels = 16;
    let blocks = [
        (3, 16, 16, false, Relu, 1),
        (3, 64, 24, false, Relu, 2),
        (3, 72, 24, false, Relu, 1),
        (5, 72, 40, true, Relu, 2),
        (5, 120, 40, true, Relu, 1),
        (5, 120, 40, true, Relu, 1),
        (3, 240, 80, false, HardSwish, 2),
        (3, 200, 80, false, HardSwish, 1),
        (3, 184, 80, false, HardSwish, 1),
        (3, 184, 80, false, HardSwish, 1),
        (3, 480, 112, true, HardSwish, 1),
        (3, 672, 112, true, HardSwish, 1),
        (5, 672, 160, true, HardSwish, 2),
        (5, 960, 160, true, HardSwish, 1),
        (5, 960, 160, true, HardSwish, 1),
    ];
    for (number, (kernel, wide, out, squeezes, activation, stride)) in
        blocks.into_iter().enumerate()
    {
        let squeeze = squeezes.then(|| (of_eight(wide / 4), [Relu, Activation::HardSigmoid]));
        let block =
            Block { channels: (channels, out), wide, kernel, stride, squeeze, activation, ..plain };
        layers.begin();
        layers.extend(block.build(features.pp(number + 1))?);
        channels = out;
    }
    layers.extend(plain.normed(Conv::new((channels, 960), 1), 960, features.pp(16))?);
    layers.push(Layer::AdaptiveAvgPool((1, 1)));
    layers.push(token_linear((960, width(1280)), HardSwish, vb.pp("classifier").pp(0))?);
    layers.push(Layer::Flatten);
    Ok(layers)
}

/// The nearest multiple of 8 that is not less than nine tenths of `channels`.
fn of_eight(channels: usize) -> usize {
    let nearest = ((channels + 4) / 8 * 8).max(8);
    if 10 * nearest < 9 * channels { nearest + 8 } else { nearest }
}
