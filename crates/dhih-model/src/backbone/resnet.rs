//! `resnet18`, `resnet34` and `resnet50` (He et al., 2016), with torchvision's layers and names. Their forms for images of 32 x 32 have another
//! stem: a 3x3 convolution instead of a 7x7 convolution with stride 2 and max pooling.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{Conv, Scheme, norm};
use crate::image::InputShape;
use crate::layer::{Layer, Sequential};
use crate::ops::{Activation, Pool2dConfig};

/// The blocks of each resolution in networks of 18 layers, and of 34 or 50 layers.
const EIGHTEEN: [usize; 4] = [2, 2, 2, 2];
const MORE: [usize; 4] = [3, 4, 6, 3];

pub(super) const RESNET18_CIFAR: Spec =
    Spec::small("resnet18-cifar", "residual net of 18 layers for small images", |input, vb, _| {
        resnet(input, vb, Resnet { stem: Stem::Cifar, block: Block::Basic, blocks: EIGHTEEN })
    });
pub(super) const RESNET34_CIFAR: Spec =
    Spec::small("resnet34-cifar", "residual net of 34 layers for small images", |input, vb, _| {
        resnet(input, vb, Resnet { stem: Stem::Cifar, block: Block::Basic, blocks: MORE })
    });
pub(super) const RESNET50_CIFAR: Spec =
    Spec::small("resnet50-cifar", "residual net of 50 layers for small images", |input, vb, _| {
        resnet(input, vb, Resnet { stem: Stem::Cifar, block: Block::Bottleneck, blocks: MORE })
    });
pub(super) const RESNET18: Spec =
    Spec::large("resnet18", "residual net of 18 layers", |input, vb, _| {
        resnet(input, vb, Resnet { stem: Stem::ImageNet, block: Block::Basic, blocks: EIGHTEEN })
    });
pub(super) const RESNET34: Spec =
    Spec::large("resnet34", "residual net of 34 layers", |input, vb, _| {
        resnet(input, vb, Resnet { stem: Stem::ImageNet, block: Block::Basic, blocks: MORE })
    });
pub(super) const RESNET50: Spec =
    Spec::large("resnet50", "residual net of 50 layers", |input, vb, _| {
        resnet(input, vb, Resnet { stem: Stem::ImageNet, block: Block::Bottleneck, blocks: MORE })
    });

/// A member of the family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resnet {
    pub(super) stem: Stem,
    pub(super) block: Block,
    /// The blocks of each of the four resolutions.
    pub(super) blocks: [usize; 4],
}

/// The layers before the blocks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stem {
    /// This stem quarters the resolution.
    ImageNet,
    /// This stem keeps the resolution.
    Cifar,
}

/// The kind of the blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1 and 3x3 convolutions, and a 1x1 convolution to four times the width.
    Bottleneck,
}

/// Names the parameters `conv1`, `bn1` and `layer{1,2,3,4}`. The features are the means of the last block's channels. A block is a residual.
pub(super) fn resnet(input: InputShape, vb: VarBuilder<'_>, resnet: Resnet) -> Result<Blocks> {
    let (stem, pool) = match resnet.stem {
        Stem::ImageNet => (
            Conv::new((input.channels, 64), 7).stride(2),
            Some(Pool2dConfig { kernel: 3, stride: 2, padding: 1, ceil: false }),
        ),
        Stem::Cifar => (Conv::new((input.channels, 64), 3), None),
    };
    let stem = [stem.build(Scheme::He, vb.pp("conv1"))?, norm(64, Activation::Relu, vb.pp("bn1"))?];
    let mut layers = Blocks::new(stem);
    layers.extend(pool.map(Layer::MaxPool));
    let mut channels = 64;
    for (stage, count) in resnet.blocks.into_iter().enumerate() {
        let vb = vb.pp(format!("layer{}", stage + 1));
        for number in 0..count {
            let stride = if stage > 0 && number == 0 { 2 } else { 1 };
            let (block, out) =
                residual(resnet.block, (channels, 64 << stage), stride, vb.pp(number))?;
            layers.begin();
            layers.push(block);
            channels = out;
        }
    }
    layers.extend([Layer::AdaptiveAvgPool((1, 1)), Layer::Flatten]);
    Ok(layers)
}

/// One block with `width` inner channels. Returns the block and its output channels.
fn residual(
    block: Block,
    (channels, width): (usize, usize),
    stride: usize,
    vb: VarBuilder<'_>,
) -> Result<(Layer, usize)> {
    let convolutions = match block {
        Block::Basic => {
            vec![Conv::new((channels, width), 3).stride(stride), Conv::new((width, width), 3)]
        }
        Block::Bottleneck => vec![
            Conv::new((channels, width), 1),
            Conv::new((width, width), 3).stride(stride),
            Conv::new((width, 4 * width), 1),
        ],
    };
    let out = if block == Block::Basic { width } else { 4 * width };
    let mut body = Vec::new();
    let last = convolutions.len();
    for (conv, number) in convolutions.into_iter().zip(1..) {
        body.push(conv.build(Scheme::He, vb.pp(format!("conv{number}")))?);
        let (channels, activation) =
            if number == last { (out, Activation::Identity) } else { (width, Activation::Relu) };
        body.push(norm(channels, activation, vb.pp(format!("bn{number}")))?);
    }
    let mut shortcut = Vec::new();
    if stride != 1 || channels != out {
        let vb = vb.pp("downsample");
        shortcut.push(Conv::new((channels, out), 1).stride(stride).build(Scheme::He, vb.pp(0))?);
        shortcut.push(norm(out, Activation::Identity, vb.pp(1))?);
    }
    let (body, shortcut) = (Sequential(body), Sequential(shortcut));
    Ok((Layer::Residual { body, shortcut, activation: Activation::Relu }, out))
}
