//! Feature extractors: one family a file, each a function that describes a network as a [`Sequential`]. A backbone maps
//! images to feature vectors and knows nothing of codes or losses.

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

    /// The index of the first layer of each block, ascending; empty where it is not made of layers.
    fn blocks(&self) -> &[usize] {
        &[]
    }
}

/// Which feature extractor a network has: an entry of [`Self::ALL`], or [`Self::CUSTOM`].
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub struct Backbone(&'static Spec);

/// What is fixed about a backbone. Those of a family are in the file that describes its layers.
struct Spec {
    /// The name used in flags and files.
    name: &'static str,
    /// One line on what it is for.
    description: &'static str,
    /// The smallest image side that it takes, in pixels.
    min_side: usize,
    /// The image side that it was made for, in pixels.
    default_side: usize,
    /// How the weights that were trained on ImageNet take pixels.
    normalization: fn() -> Normalization,
    /// How pictures were brought to its side where these weights were evaluated.
    fit: Fit,
    /// The repository of the Hugging Face hub that has weights for it, `owner/name`.
    published: Option<&'static str>,
    /// The text tower whose vectors are in the space of its features.
    text: Option<TextConfig>,
    /// Its layers; `width` is applied to the number of values of hidden linear layers, so that tests need not draw 100 million weights.
    layers: Describe,
}

type Describe =
    fn(input: InputShape, vb: VarBuilder<'_>, width: fn(usize) -> usize) -> Result<Blocks>;

impl Spec {
    /// Of a network for small images.
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

    /// Of a network for photographs, of which there are weights trained on ImageNet.
    const fn large(name: &'static str, description: &'static str, layers: Describe) -> Self {
        let small = Self::small(name, description, layers);
        Self { min_side: 32, default_side: 224, fit: Fit::LINEAR_256, ..small }
    }

    /// The same for weights that were evaluated on pictures brought to its side in another way.
    const fn with_fit(self, fit: Fit) -> Self {
        Self { fit, ..self }
    }

    /// The same with weights on the hub.
    const fn published_as(self, repository: &'static str) -> Self {
        Self { published: Some(repository), ..self }
    }

    /// The same with a text tower.
    const fn with_text(self, text: TextConfig) -> Self {
        Self { text: Some(text), ..self }
    }

    /// The same with another smallest side.
    const fn with_min_side(self, min_side: usize) -> Self {
        Self { min_side, ..self }
    }
}

impl Backbone {
    /// All that are built by name, in the order in which they are listed.
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

    /// Three convolutions: the one that trains in seconds.
    pub const SMALL: Self = Self(&small::SMALL);

    /// A [`FeatureExtractor`] of the program's own; not listed, and not built by name.
    pub const CUSTOM: Self = Self(&CUSTOM);

    /// The backbone of that name; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().chain(&[Self::CUSTOM]);
        all.find(|backbone| backbone.name() == name).copied()
    }

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// One line on what it is for.
    pub fn description(self) -> &'static str {
        self.0.description
    }

    /// The smallest image side it takes, in pixels.
    pub fn min_side(self) -> usize {
        self.0.min_side
    }

    /// The image side it was made for, in pixels: 224 where there are weights trained on ImageNet, or 32.
    pub fn default_side(self) -> usize {
        self.0.default_side
    }

    /// The repository of the Hugging Face hub that has weights for it, `owner/name`, where one is known.
    pub fn published_weights(self) -> Option<&'static str> {
        self.0.published
    }

    /// The text tower that was trained with it, where there is one: vectors of texts are in the space of its features.
    pub fn text(self) -> Option<TextConfig> {
        self.0.text
    }

    /// How the weights that were trained on ImageNet take pixels.
    pub fn pretrained_normalization(self) -> Normalization {
        (self.0.normalization)()
    }

    /// How pictures were brought to the side of the weights where these were evaluated by those who trained them.
    pub fn pretrained_fit(self) -> Fit {
        self.0.fit
    }

    /// The feature extractor. Its parameters have torchvision's names under `vb`, where torchvision has the network; its
    /// last layer, the classifier, is left out.
    ///
    /// # Errors
    /// When the image is too small, those of the variable store, and for [`Self::CUSTOM`].
    pub fn build(self, input: InputShape, vb: VarBuilder<'_>) -> Result<Box<dyn FeatureExtractor>> {
        let (layers, blocks) = (self.0.layers)(input, vb, |hidden| hidden)?.finish();
        let features = layers.output(input)?.len();
        Ok(Box::new(Layered { layers, blocks, features }))
    }

    /// The layers, as [`Spec::layers`] describes them. Only tests want another `width`.
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
