//! `vgg11`, `vgg16` and their forms with batch norm (Simonyan and Zisserman, 2015), with torchvision's layers and names.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{Conv, Scheme, norm};
use crate::image::InputShape;
use crate::layer::{Dropout, Layer};
use crate::ops::{Activation, Pool2dConfig};

/// The convolutions of each resolution in networks of 11 and of 16 layers.
const ELEVEN: [usize; 5] = [1, 1, 2, 2, 2];
const SIXTEEN: [usize; 5] = [2, 2, 3, 3, 3];

pub(super) const VGG11: Spec =
    Spec::large("vgg11", "eight 3x3 convolutions and two linear layers", |input, vb, width| {
        vgg(input, vb, Vgg { convolutions: ELEVEN, batch_norm: false, hidden: width(4096) })
    });
pub(super) const VGG11_BN: Spec =
    Spec::large("vgg11-bn", "the same with batch norm", |input, vb, width| {
        vgg(input, vb, Vgg { convolutions: ELEVEN, batch_norm: true, hidden: width(4096) })
    });
pub(super) const VGG16: Spec =
    Spec::large("vgg16", "thirteen 3x3 convolutions and two linear layers", |input, vb, width| {
        vgg(input, vb, Vgg { convolutions: SIXTEEN, batch_norm: false, hidden: width(4096) })
    });
pub(super) const VGG16_BN: Spec =
    Spec::large("vgg16-bn", "the same with batch norm", |input, vb, width| {
        vgg(input, vb, Vgg { convolutions: SIXTEEN, batch_norm: true, hidden: width(4096) })
    });

/// A member of the family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vgg {
    /// The number of 3x3 convolutions before each max pooling.
    pub(super) convolutions: [usize; 5],
    pub(super) batch_norm: bool,
    /// The size of the two linear layers, 4,096.
    pub(super) hidden: usize,
}

/// Names the parameters `features.N` and `classifier.{0,3}`; N counts layers as torchvision does, where an activation is a layer. The features
/// are the values of `classifier.3`, with dropout as in torchvision. A block is a convolution or a linear layer.
pub(super) fn vgg(input: InputShape, vb: VarBuilder<'_>, vgg: Vgg) -> Result<Blocks> {
    let halve = Pool2dConfig { kernel: 2, stride: 2, padding: 0, ceil: false };
    let (features, classifier) = (vb.pp("features"), vb.pp("classifier"));
    let (mut channels, mut number) = (input.channels, 0);
    let mut layers = Blocks::default();
    for (count, out) in vgg.convolutions.into_iter().zip([64, 128, 256, 512, 512]) {
        for _ in 0..count {
            let activation = if vgg.batch_norm { Activation::Identity } else { Activation::Relu };
            let conv = Conv::new((channels, out), 3).biased(activation);
            layers.begin();
            layers.push(conv.build(Scheme::He, features.pp(number))?);
            if vgg.batch_norm {
                layers.push(norm(out, Activation::Relu, features.pp(number + 1))?);
            }
            number += if vgg.batch_norm { 3 } else { 2 };
            channels = out;
        }
        layers.push(Layer::MaxPool(halve));
        number += 1;
    }
    let dropout = |name: &str| Layer::Dropout(Dropout { p: 0.5, name: name.to_owned() });
    layers.extend([Layer::AdaptiveAvgPool((7, 7)), Layer::Flatten]);
    layers.begin();
    layers.push(Scheme::He.linear((512 * 49, vgg.hidden), classifier.pp(0))?);
    layers.push(dropout("classifier.2"));
    layers.begin();
    layers.push(Scheme::He.linear((vgg.hidden, vgg.hidden), classifier.pp(3))?);
    layers.push(dropout("classifier.5"));
    Ok(layers)
}
