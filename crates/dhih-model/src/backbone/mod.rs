//! Feature extractors. Each family has a file with functions that describe its networks as a [`Sequential`]. A backbone maps images to feature
//! vectors and knows nothing of codes or losses.

mod alexnet;
mod blocks;
pub(crate) mod blueprint;
mod cifarnet;
mod convnext;
mod dsh_cnn;
mod efficientnet_lite;
mod mobilenet_v2;
mod resnet;
pub(crate) mod scheme;
mod small;
mod squeezed;
mod squeezenet;
pub(crate) mod transformer;
mod vgg;
mod vit;
mod whitening;

pub use blueprint::Size;
pub(crate) use whitening::whitening;

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use self::blocks::Blocks;
use crate::image::{Fit, InputShape};
use crate::layer::{Mode, Sequential};
use crate::preprocess::Normalization;
use crate::text::TextConfig;

/// What a network needs of its backbone. Implement it to plug in any candle model, see
/// [`Network::with_backbone`](crate::Network::with_backbone).
pub trait FeatureExtractor: Send + Sync {
    /// # Shapes
    /// `x`: `[n, height, width, channels]`; returns `[n, features]`.
    ///
    /// # Errors
    /// When the shape is not the one that the backbone was built for.
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor>;

    /// The number of values of a feature vector.
    fn features(&self) -> usize;

    /// The layers, where the backbone is made of [`Layer`](crate::layer::Layer)s. Interpreters other than the forward pass need them.
    fn layers(&self) -> Option<&Sequential> {
        None
    }

    /// The index of the first layer of each block, ascending; empty where the backbone is not made of layers.
    fn blocks(&self) -> &[usize] {
        &[]
    }
}

/// Which feature extractor a network has: an entry of [`Self::ALL`], or [`Self::CUSTOM`].
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub struct Backbone(&'static Spec);

/// The fixed properties of a backbone. The file of a family has those of its members.
struct Spec {
    /// The name used in flags and files.
    name: &'static str,
    /// One line on its purpose.
    description: &'static str,
    /// The smallest image side that it takes, in pixels.
    min_side: usize,
    /// The image side that it was designed for, in pixels.
    default_side: usize,
    /// The normalisation of pixels that its ImageNet weights expect.
    normalization: fn() -> Normalization,
    /// How pictures were brought to the network's size when these weights were evaluated.
    fit: Fit,
    /// The repository of the Hugging Face hub that has weights for it, `owner/name`.
    published: Option<&'static str>,
    /// The text tower whose vectors are in the same space as its features.
    text: Option<TextConfig>,
    /// Builds its layers. `width` is applied to the size of hidden linear layers, so that tests need not draw 100 million weights.
    layers: Describe,
}

type Describe =
    fn(input: InputShape, vb: VarBuilder<'_>, width: fn(usize) -> usize) -> Result<Blocks>;

impl Spec {
    /// The specification of a network for small images.
    const fn small(name: &'static str, description: &'static str, layers: Describe) -> Self {
        let normalization = Normalization::imagenet;
        let fit = InputShape::new(1, 1, 1).fit;
        Self {
            name,
            description,
            min_side: 8,
            default_side: 32,
            normalization,
            fit,
            published: None,
            text: None,
            layers,
        }
    }

    /// The specification of a network for photographs, with weights trained on ImageNet.
    const fn large(name: &'static str, description: &'static str, layers: Describe) -> Self {
        let small = Self::small(name, description, layers);
        Self { min_side: 32, default_side: 224, fit: Fit::LINEAR_256, ..small }
    }

    /// Sets how pictures were brought to the network's size when its weights were evaluated.
    const fn with_fit(self, fit: Fit) -> Self {
        Self { fit, ..self }
    }

    /// Sets the repository of weights on the hub.
    const fn published_as(self, repository: &'static str) -> Self {
        Self { published: Some(repository), ..self }
    }

    /// Sets the text tower.
    const fn with_text(self, text: TextConfig) -> Self {
        Self { text: Some(text), ..self }
    }

    /// Sets the smallest side.
    const fn with_min_side(self, min_side: usize) -> Self {
        Self { min_side, ..self }
    }
}

impl Backbone {
    /// All backbones that can be built by name, in the order in which they are listed.
    pub const ALL: &[Self] = &[
        Self::SMALL,
        Self(&dsh_cnn::DSH_CNN),
        Self(&cifarnet::PLAIN),
        Self(&cifarnet::WIDE),
        Self(&cifarnet::DEEP),
        Self(&resnet::RESNET18_CIFAR),
        Self(&resnet::RESNET34_CIFAR),
        Self(&resnet::RESNET50_CIFAR),
        Self(&resnet::RESNET18),
        Self(&resnet::RESNET34),
        Self(&resnet::RESNET50),
        Self(&alexnet::ALEXNET),
        Self(&vgg::VGG11),
        Self(&vgg::VGG11_BN),
        Self(&vgg::VGG16),
        Self(&vgg::VGG16_BN),
        Self(&squeezenet::SQUEEZENET1_1),
        Self(&mobilenet_v2::MOBILENET_V2),
        Self(&efficientnet_lite::LITE0),
        Self(&efficientnet_lite::LITE2),
        Self(&squeezed::EFFICIENTNET_B0),
        Self(&squeezed::MOBILENET_V3),
        Self(&convnext::CONVNEXT_TINY),
        Self(&vit::DINOV2_SMALL),
        Self(&vit::DINOV2_BASE),
        Self(&vit::DINOV2_SMALL_REGISTERS),
        Self(&vit::DINOV2_BASE_REGISTERS),
        Self(&vit::CLIP_B32),
        Self(&vit::CLIP_B16),
        Self(&vit::SIGLIP_BASE),
    ];

    /// Three convolutions; it trains in seconds.
    pub const SMALL: Self = Self(&small::SMALL);

    /// A [`FeatureExtractor`] that the calling program provides. It is not listed, and cannot be built by name.
    pub const CUSTOM: Self = Self(&CUSTOM);

    /// The backbone of this name; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().chain(&[Self::CUSTOM]);
        all.find(|backbone| backbone.name() == name).copied()
    }

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// One line on its purpose.
    pub fn description(self) -> &'static str {
        self.0.description
    }

    /// The smallest image side that it takes, in pixels.
    pub fn min_side(self) -> usize {
        self.0.min_side
    }

    /// The image side that it was designed for, in pixels: 224 for backbones with ImageNet weights, else 32.
    pub fn default_side(self) -> usize {
        self.0.default_side
    }

    /// The repository of the Hugging Face hub that has weights for it, `owner/name`, where one is known.
    pub fn published_weights(self) -> Option<&'static str> {
        self.0.published
    }

    /// The text tower that was trained with it, where there is one. Vectors of texts are in the same space as its features.
    pub fn text(self) -> Option<TextConfig> {
        self.0.text
    }

    /// The normalisation of pixels that its ImageNet weights expect.
    pub fn pretrained_normalization(self) -> Normalization {
        (self.0.normalization)()
    }

    /// How the authors of its weights brought pictures to the network's size when they evaluated these weights.
    pub fn pretrained_fit(self) -> Fit {
        self.0.fit
    }

    /// Builds the feature extractor, without the classifier at its end. The parameters have torchvision's names under `vb`, where torchvision
    /// has the network.
    ///
    /// # Errors
    /// When the image is too small, those of the variable store, and for [`Self::CUSTOM`].
    pub fn build(self, input: InputShape, vb: VarBuilder<'_>) -> Result<Box<dyn FeatureExtractor>> {
        let (layers, blocks) = (self.0.layers)(input, vb, |hidden| hidden)?.finish();
        let features = layers.output(input)?.len();
        Ok(Box::new(Layered { layers, blocks, features }))
    }

    /// The layers, as [`Spec::layers`] describes them; only tests set another `width`.
    #[cfg(test)]
    pub(crate) fn describe(
        self,
        input: InputShape,
        vb: VarBuilder<'_>,
        width: fn(usize) -> usize,
    ) -> Result<Sequential> {
        Ok((self.0.layers)(input, vb, width)?.finish().0)
    }
}

const CUSTOM: Spec = Spec::large("custom", "plugged in by the program", |_, _, _| {
    bail!("a custom backbone is built by its own program: Network::with_backbone")
})
.with_min_side(1);

impl PartialEq for Backbone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Backbone {}

impl std::fmt::Debug for Backbone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Backbone> for &'static str {
    fn from(backbone: Backbone) -> Self {
        backbone.name()
    }
}

impl TryFrom<String> for Backbone {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        Self::named(&name).ok_or_else(|| format!("there is no backbone {name:?}"))
    }
}

/// A backbone made of layers.
struct Layered {
    layers: Sequential,
    blocks: Vec<usize>,
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

    fn blocks(&self) -> &[usize] {
        &self.blocks
    }
}

#[cfg(test)]
mod tests;
