//! Feature extractors: one family a file, each a function that describes a network as a [`Sequential`]. A backbone maps
//! images to feature vectors and knows nothing of codes or losses.

mod alexnet;
mod blueprint;
mod cifarnet;
mod dsh_cnn;
mod efficientnet_lite;
mod mobilenet_v2;
mod resnet;
mod scheme;
mod small;
mod squeezenet;
mod vgg;
mod whitening;

pub use blueprint::Size;
pub(crate) use whitening::whitening;

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::config::{InputShape, Normalization};
use crate::layer::{Mode, Sequential};
use cifarnet::Cifarnet;
use resnet::{Block, Resnet, Stem};
use vgg::Vgg;

/// What a network needs of its backbone. Any candle model can be plugged in by it, see
/// [`Network::with_backbone`](crate::Network::with_backbone).
pub trait FeatureExtractor: Send + Sync {
    /// # Shapes
    /// `[n, height, width, channels]` to `[n, features]`.
    ///
    /// # Errors
    /// When the shape is not the one it was built for.
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor>;

    /// Values of one feature vector.
    fn features(&self) -> usize;

    /// Its layers, where it is made of them: what interpreters other than forward work on.
    fn layers(&self) -> Option<&Sequential> {
        None
    }
}

/// Which feature extractor a network has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Backbone {
    /// Three convolutions.
    Small,
    /// Liu et al. (2016).
    DshCnn,
    /// The network of fast CIFAR-10 training runs.
    Cifarnet,
    /// The same with more channels.
    CifarnetWide,
    /// With still more, and residual blocks of three convolutions.
    CifarnetDeep,
    /// He et al. (2016), 18 layers, with a stem for small images.
    Resnet18Cifar,
    /// 34 layers, with a stem for small images.
    Resnet34Cifar,
    /// 50 layers, with a stem for small images.
    Resnet50Cifar,
    /// He et al. (2016), 18 layers.
    Resnet18,
    /// 34 layers.
    Resnet34,
    /// 50 layers.
    Resnet50,
    /// Krizhevsky (2014).
    Alexnet,
    /// Simonyan and Zisserman (2015), 11 layers.
    Vgg11,
    /// 11 layers, with batch norm.
    Vgg11Bn,
    /// 16 layers.
    Vgg16,
    /// 16 layers, with batch norm.
    Vgg16Bn,
    /// Iandola et al. (2016), version 1.1.
    #[serde(rename = "squeezenet1-1")]
    Squeezenet1_1,
    /// Sandler et al. (2018).
    MobilenetV2,
    /// Liu (2020), after Tan and Le (2019).
    #[serde(rename = "efficientnet-lite0")]
    EfficientnetLite0,
    /// A [`FeatureExtractor`] of the program's own; not listed, and not built by name.
    Custom,
}

/// What is fixed about a backbone.
struct Facts {
    name: &'static str,
    description: &'static str,
    min_side: usize,
    default_side: usize,
}

impl Backbone {
    /// All that are built by name, in the order in which they are listed.
    pub const ALL: [Self; 19] = [
        Self::Small,
        Self::DshCnn,
        Self::Cifarnet,
        Self::CifarnetWide,
        Self::CifarnetDeep,
        Self::Resnet18Cifar,
        Self::Resnet34Cifar,
        Self::Resnet50Cifar,
        Self::Resnet18,
        Self::Resnet34,
        Self::Resnet50,
        Self::Alexnet,
        Self::Vgg11,
        Self::Vgg11Bn,
        Self::Vgg16,
        Self::Vgg16Bn,
        Self::Squeezenet1_1,
        Self::MobilenetV2,
        Self::EfficientnetLite0,
    ];

    fn facts(self) -> Facts {
        let (name, description, min_side, default_side) = match self {
            Self::Small => (
                "small",
                "three 3x3 convolutions with batch norm; seconds an epoch on a CPU",
                8,
                32,
            ),
            Self::DshCnn => {
                ("dsh-cnn", "three 5x5 convolutions, of deep supervised hashing", 12, 32)
            }
            Self::Cifarnet => {
                ("cifarnet", "whitening and six 3x3 convolutions, for fast training", 25, 32)
            }
            Self::CifarnetWide => {
                ("cifarnet-wide", "cifarnet with 2.5 times the arithmetic", 25, 32)
            }
            Self::CifarnetDeep => {
                ("cifarnet-deep", "cifarnet with residual blocks, 4 times the arithmetic", 25, 32)
            }
            Self::Resnet18Cifar => {
                ("resnet18-cifar", "residual net of 18 layers for small images", 8, 32)
            }
            Self::Resnet34Cifar => {
                ("resnet34-cifar", "residual net of 34 layers for small images", 8, 32)
            }
            Self::Resnet50Cifar => {
                ("resnet50-cifar", "residual net of 50 layers for small images", 8, 32)
            }
            Self::Resnet18 => ("resnet18", "residual net of 18 layers", 32, 224),
            Self::Resnet34 => ("resnet34", "residual net of 34 layers", 32, 224),
            Self::Resnet50 => ("resnet50", "residual net of 50 layers", 32, 224),
            Self::Alexnet => ("alexnet", "five convolutions and two linear layers", 63, 224),
            Self::Vgg11 => ("vgg11", "eight 3x3 convolutions and two linear layers", 32, 224),
            Self::Vgg11Bn => ("vgg11-bn", "the same with batch norm", 32, 224),
            Self::Vgg16 => ("vgg16", "thirteen 3x3 convolutions and two linear layers", 32, 224),
            Self::Vgg16Bn => ("vgg16-bn", "the same with batch norm", 32, 224),
            Self::Squeezenet1_1 => {
                ("squeezenet1-1", "few weights: 1x1 and 3x3 side by side", 25, 224)
            }
            Self::MobilenetV2 => {
                ("mobilenet-v2", "inverted residuals with a kernel for each channel", 32, 224)
            }
            Self::EfficientnetLite0 => {
                ("efficientnet-lite0", "inverted residuals of 3x3 and 5x5 kernels", 32, 224)
            }
            Self::Custom => ("custom", "plugged in by the program", 1, 224),
        };
        Facts { name, description, min_side, default_side }
    }

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// One line on what it is for.
    pub fn description(self) -> &'static str {
        self.facts().description
    }

    /// The smallest image side it takes, in pixels.
    pub fn min_side(self) -> usize {
        self.facts().min_side
    }

    /// The image side it was made for, in pixels: 224 where there are weights trained on ImageNet, or 32.
    pub fn default_side(self) -> usize {
        self.facts().default_side
    }

    /// How the weights that were trained on ImageNet take pixels.
    pub fn pretrained_normalization(self) -> Normalization {
        match self {
            // (x - 127) / 128, of bytes.
            Self::EfficientnetLite0 => {
                Normalization { mean: vec![127.0 / 255.0; 3], std: vec![128.0 / 255.0; 3] }
            }
            _ => Normalization::imagenet(),
        }
    }

    /// The feature extractor. Its parameters have torchvision's names under `vb`, where torchvision has the network; its
    /// last layer, the classifier, is left out.
    ///
    /// # Errors
    /// When the image is too small, those of the variable store, and for [`Self::Custom`].
    pub fn build(self, input: InputShape, vb: VarBuilder<'_>) -> Result<Box<dyn FeatureExtractor>> {
        let layers = self.describe(input, vb, |hidden| hidden)?;
        let features = layers.output(input)?.len();
        Ok(Box::new(Layered { layers, features }))
    }

    /// The layers; `width` is applied to the number of values of hidden linear layers, so that tests need not draw 100
    /// million weights.
    pub(crate) fn describe(
        self,
        input: InputShape,
        vb: VarBuilder<'_>,
        width: fn(usize) -> usize,
    ) -> Result<Sequential> {
        let vgg = |convolutions, batch_norm| Vgg { convolutions, batch_norm, hidden: width(4096) };
        let resnet = |stem, block, blocks| Resnet { stem, block, blocks };
        let (eleven, sixteen) = ([1, 1, 2, 2, 2], [2, 2, 3, 3, 3]);
        let (eighteen, more) = ([2, 2, 2, 2], [3, 4, 6, 3]);
        match self {
            Self::Small => small::small(input, vb),
            Self::DshCnn => dsh_cnn::dsh_cnn(input, vb, width(500)),
            Self::Cifarnet => cifarnet::cifarnet(Cifarnet::PLAIN, input, vb),
            Self::CifarnetWide => cifarnet::cifarnet(Cifarnet::WIDE, input, vb),
            Self::CifarnetDeep => cifarnet::cifarnet(Cifarnet::DEEP, input, vb),
            Self::Resnet18Cifar => {
                resnet::resnet(input, vb, resnet(Stem::Cifar, Block::Basic, eighteen))
            }
            Self::Resnet34Cifar => {
                resnet::resnet(input, vb, resnet(Stem::Cifar, Block::Basic, more))
            }
            Self::Resnet50Cifar => {
                resnet::resnet(input, vb, resnet(Stem::Cifar, Block::Bottleneck, more))
            }
            Self::Resnet18 => {
                resnet::resnet(input, vb, resnet(Stem::ImageNet, Block::Basic, eighteen))
            }
            Self::Resnet34 => resnet::resnet(input, vb, resnet(Stem::ImageNet, Block::Basic, more)),
            Self::Resnet50 => {
                resnet::resnet(input, vb, resnet(Stem::ImageNet, Block::Bottleneck, more))
            }
            Self::Alexnet => alexnet::alexnet(input, vb, width(4096)),
            Self::Vgg11 => vgg::vgg(input, vb, vgg(eleven, false)),
            Self::Vgg11Bn => vgg::vgg(input, vb, vgg(eleven, true)),
            Self::Vgg16 => vgg::vgg(input, vb, vgg(sixteen, false)),
            Self::Vgg16Bn => vgg::vgg(input, vb, vgg(sixteen, true)),
            Self::Squeezenet1_1 => squeezenet::squeezenet1_1(input, vb),
            Self::MobilenetV2 => mobilenet_v2::mobilenet_v2(input, vb),
            Self::EfficientnetLite0 => efficientnet_lite::efficientnet_lite0(input, vb),
            Self::Custom => {
                bail!("a custom backbone is built by its own program: Network::with_backbone")
            }
        }
    }
}

/// A backbone made of layers.
struct Layered {
    layers: Sequential,
    features: usize,
}

impl FeatureExtractor for Layered {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.layers.forward(x, mode)
    }

    fn features(&self) -> usize {
        self.features
    }

    fn layers(&self) -> Option<&Sequential> {
        Some(&self.layers)
    }
}

#[cfg(test)]
mod tests;
