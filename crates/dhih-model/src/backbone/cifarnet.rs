//! `cifarnet` and its larger siblings: the networks of the fast CIFAR-10 training runs (Jordan, "94% on CIFAR-10 in 3.29 seconds on a
//! single GPU", 2024), for images of 32 x 32.

use candle_core::{Result, Tensor, Var};
use candle_nn::VarBuilder;

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{Conv, Scheme, norm};
use crate::image::InputShape;
use crate::layer::{Layer, Sequential};
use crate::ops::{Activation, Conv2d, Pool2dConfig};

/// The network as published.
pub(super) const PLAIN: Spec = Spec::small(
    "cifarnet",
    "whitening and six 3x3 convolutions, for fast training",
    |input, vb, _| cifarnet(Cifarnet { widths: [64, 256, 256], is_deep: false }, input, vb),
)
.with_min_side(25);

/// The network with more channels.
pub(super) const WIDE: Spec =
    Spec::small("cifarnet-wide", "cifarnet with 2.5 times the arithmetic", |input, vb, _| {
        cifarnet(Cifarnet { widths: [128, 384, 384], is_deep: false }, input, vb)
    })
    .with_min_side(25);

/// The network with still more channels, and residual blocks of three convolutions.
pub(super) const DEEP: Spec = Spec::small(
    "cifarnet-deep",
    "cifarnet with residual blocks, 4 times the arithmetic",
    |input, vb, _| cifarnet(Cifarnet { widths: [128, 384, 512], is_deep: true }, input, vb),
)
.with_min_side(25);

/// The sizes of a network of this family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cifarnet {
    /// Channels of the three blocks.
    pub(super) widths: [usize; 3],
    /// Whether each block has a third convolution and a shortcut from the output of its first convolution to that of its last.
    pub(super) is_deep: bool,
}

/// Names the parameters `whiten` and `block{1,2,3}.{conv1,bn1,conv2,bn2}`, in deep blocks also `conv3` and `bn3`. The weights of `whiten` are
/// not trained: they are random until [`super::whitening`] sets them. The features are the maxima over 3 x 3 windows; for images of 25 to 48
/// pixels there is one window.
pub(super) fn cifarnet(form: Cifarnet, input: InputShape, vb: VarBuilder<'_>) -> Result<Blocks> {
    let pool =
        |side| Layer::MaxPool(Pool2dConfig { kernel: side, stride: side, padding: 0, ceil: false });
    // One channel for each value of a 2 x 2 patch, and one for each with the opposite sign.
    let mut channels = 2 * 4 * input.channels;
    let whiten = Conv::new((input.channels, channels), 2).padding(0).biased(Activation::Gelu);
    let mut layers = Blocks::new([match whiten.build(Scheme::Torch, vb.pp("whiten"))? {
        Layer::Conv(conv) => Layer::Conv(Conv2d { weight: conv.weight.detach(), ..conv }),
        other => other,
    }]);
    for (out, name) in form.widths.into_iter().zip(["block1", "block2", "block3"]) {
        let vb = vb.pp(name);
        layers.begin();
        layers.extend([
            passing((channels, out), vb.pp("conv1"))?,
            pool(2),
            norm(out, Activation::Gelu, vb.pp("bn1"))?,
        ]);
        let mut body =
            vec![passing((out, out), vb.pp("conv2"))?, norm(out, Activation::Gelu, vb.pp("bn2"))?];
        if form.is_deep {
            body.push(passing((out, out), vb.pp("conv3"))?);
            body.push(norm(out, Activation::Identity, vb.pp("bn3"))?);
            layers.push(Layer::Residual {
                body: Sequential(body),
                shortcut: Sequential::default(),
                activation: Activation::Gelu,
            });
        } else {
            layers.extend(body);
        }
        channels = out;
    }
    layers.extend([pool(3), Layer::Flatten]);
    Ok(layers)
}

/// A 3x3 convolution whose first output channels initially pass the input through; the other channels are drawn.
fn passing((channels, out): (usize, usize), vb: VarBuilder<'_>) -> Result<Layer> {
    let is_new = !vb.contains_tensor("weight");
    let layer = Conv::new((channels, out), 3).build(Scheme::Torch, vb)?;
    if let Layer::Conv(Conv2d { weight, .. }) = &layer
        && is_new
        && weight.is_variable()
    {
        let size = channels * 9;
        let mut pass = vec![0f32; channels * size];
        // The centre of the kernel from each channel to itself is 1.
        (0..channels).for_each(|c| pass[c * size + c * 9 + 4] = 1.0);
        let pass = Tensor::from_vec(pass, (channels, channels, 3, 3), weight.device())?;
        let drawn = weight.detach().narrow(0, channels, out - channels)?;
        let weights = Tensor::cat(&[pass.to_dtype(weight.dtype())?, drawn], 0)?;
        Var::from_tensor(weight)?.set(&weights)?;
    }
    Ok(layer)
}
