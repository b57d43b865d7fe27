//! Vision transformers (Dosovitskiy et al., 2020): DINOv2 (Oquab et al., 2023) with and without registers (Darcet et al., 2023), CLIP (Radford
//! et al., 2021) and SigLIP (Zhai et al., 2023). The parameters have the names of Hugging Face's `transformers`. Tokens are images of one row.

use candle_core::Result;
use candle_nn::{Init, VarBuilder};

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{layer_norm, token_linear};
use super::transformer::{Block, BlockNames, CLIP_BLOCK, SIGLIP_BLOCK};
use crate::image::{Fit, InputShape};
use crate::layer::{Layer, Sequential};
use crate::ops::{Activation, Attention, Conv2d, Conv2dConfig, Probe, Tokens, Unary};
use crate::preprocess::Normalization;
use crate::text::TextConfig;

const SMALL: Vit = Vit { channels: 384, depth: 12, heads: 6, patch: 14, names: &DINOV2 };
const BASE: Vit = Vit { channels: 768, depth: 12, heads: 12, patch: 14, names: &DINOV2 };

/// The entries in the table of backbones.
pub(super) const DINOV2_SMALL: Spec = dinov2(
    "dinov2-small",
    "a transformer that learnt without labels; its features fit most pictures",
    |input, vb, width| SMALL.build(input, vb, width),
)
.published_as("facebook/dinov2-small");
pub(super) const DINOV2_BASE: Spec =
    dinov2("dinov2-base", "dinov2-small with twice as many channels", |input, vb, width| {
        BASE.build(input, vb, width)
    })
    .published_as("facebook/dinov2-base");
pub(super) const DINOV2_SMALL_REGISTERS: Spec =
    dinov2("dinov2-small-registers", "dinov2-small with four registers", |input, vb, width| {
        Vit { names: &DINOV2_REGISTERS, ..SMALL }.build(input, vb, width)
    })
    .published_as("facebook/dinov2-with-registers-small");
pub(super) const DINOV2_BASE_REGISTERS: Spec =
    dinov2("dinov2-base-registers", "dinov2-base with four registers", |input, vb, width| {
        Vit { names: &DINOV2_REGISTERS, ..BASE }.build(input, vb, width)
    })
    .published_as("facebook/dinov2-with-registers-base");
pub(super) const CLIP_B32: Spec = clip(
    "clip-vit-b32",
    "CLIP's transformer on patches of 32 pixels; takes texts, too",
    |input, vb, width| Vit { patch: 32, names: &CLIP, ..BASE }.build(input, vb, width),
)
.with_min_side(64)
.with_text(TextConfig::CLIP_BASE)
.published_as("openai/clip-vit-base-patch32");
pub(super) const CLIP_B16: Spec = clip(
    "clip-vit-b16",
    "CLIP's transformer on patches of 16 pixels; takes texts, too",
    |input, vb, width| Vit { patch: 16, names: &CLIP, ..BASE }.build(input, vb, width),
)
.with_text(TextConfig::CLIP_BASE)
.published_as("openai/clip-vit-base-patch16");

pub(super) const SIGLIP_BASE: Spec = Spec {
    normalization: || Normalization { mean: vec![0.5; 3], std: vec![0.5; 3] },
    ..Spec::large(
        "siglip-base",
        "SigLIP's transformer on patches of 16 pixels; takes texts, too",
        |input, vb, width| Vit { patch: 16, names: &SIGLIP, ..BASE }.build(input, vb, width),
    )
}
.with_fit(Fit::BICUBIC_WHOLE)
.with_text(TextConfig::SIGLIP_BASE)
.published_as("google/siglip-base-patch16-224");

const fn dinov2(name: &'static str, description: &'static str, layers: super::Describe) -> Spec {
    Spec::large(name, description, layers).with_min_side(28).with_fit(Fit::BICUBIC_256)
}

const fn clip(name: &'static str, description: &'static str, layers: super::Describe) -> Spec {
    let normalization = || Normalization {
        mean: vec![0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: vec![0.268_629_54, 0.261_302_6, 0.275_777_1],
    };
    Spec { normalization, ..Spec::large(name, description, layers).with_fit(Fit::BICUBIC) }
}

/// The sizes of a transformer.
#[derive(Clone, Copy)]
struct Vit {
    channels: usize,
    depth: usize,
    heads: usize,
    /// The side of the square patches that become tokens, in pixels.
    patch: usize,
    names: &'static Family,
}

/// What the members of a family have in common, and the names of their weights.
struct Family {
    registers: usize,
    activation: Activation,
    end: End,
    /// Whether the patch embedding has a bias, and whether tokens are normalised before the first block.
    patch_bias: bool,
    first_norm: Option<&'static str>,
    /// The prefix of all names except that of the projection.
    root: &'static str,
    class: Option<&'static str>,
    positions: &'static str,
    patches: &'static str,
    /// The prefix of the names of blocks, before their number.
    blocks: &'static str,
    block: BlockNames,
    last_norm: &'static str,
}

/// How the features are made of the tokens.
enum End {
    /// The features are the normalised class token.
    Class,
    /// The features are a linear map of the normalised class token, without bias, to so many values.
    Projection(usize),
    /// The features are the attention of a learnt query to all tokens.
    Probe,
}

const DINOV2: Family = Family {
    registers: 0,
    activation: Activation::Gelu,
    end: End::Class,
    patch_bias: true,
    first_norm: None,
    root: "",
    class: Some("embeddings.cls_token"),
    positions: "embeddings.position_embeddings",
    patches: "embeddings.patch_embeddings.projection",
    blocks: "encoder.layer",
    block: BlockNames {
        eps: 1e-6,
        scales: true,
        norms: ["norm1", "norm2"],
        attention: [
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
            "attention.output.dense",
        ],
    },
    last_norm: "layernorm",
};

const DINOV2_REGISTERS: Family = Family { registers: 4, ..DINOV2 };

const CLIP: Family = Family {
    registers: 0,
    activation: Activation::QuickGelu,
    end: End::Projection(512),
    patch_bias: false,
    first_norm: Some("pre_layrnorm"),
    root: "vision_model",
    class: Some("embeddings.class_embedding"),
    positions: "embeddings.position_embedding.weight",
    patches: "embeddings.patch_embedding",
    blocks: "encoder.layers",
    block: CLIP_BLOCK,
    last_norm: "post_layernorm",
};

const SIGLIP: Family = Family {
    block: SIGLIP_BLOCK,
    activation: Activation::GeluTanh,
    end: End::Probe,
    patch_bias: true,
    first_norm: None,
    class: None,
    ..CLIP
};

/// How weights are initialised.
const DRAWN: Init = Init::Randn { mean: 0.0, stdev: 0.02 };

impl Vit {
    /// Builds the network. The features are the normalised class token, or what [`End`] makes of the tokens. A block is attention and the layers
    /// up to the next attention.
    fn build(
        self,
        input: InputShape,
        vb: VarBuilder<'_>,
        width: fn(usize) -> usize,
    ) -> Result<Blocks> {
        let Self { channels, depth, patch, names, .. } = self;
        let all = vb.clone();
        let vb = if names.root.is_empty() { vb } else { vb.pp(names.root) };
        let shape = (channels, input.channels, patch, patch);
        let patches = vb.pp(names.patches);
        let bias = names.patch_bias.then(|| patches.get_with_hints(channels, "bias", ZERO));
        let patches = Conv2d {
            weight: patches.get_with_hints(shape, "weight", DRAWN)?,
            bias: bias.transpose()?,
            config: Conv2dConfig { stride: patch, ..Conv2dConfig::default() },
            activation: Activation::Identity,
        };
        let pixels = (input.height / patch) * (input.width / patch);
        let tokens = pixels + usize::from(names.class.is_some());
        // An embedding table of `transformers`, whose name ends in `.weight`, has no batch dimension.
        let (class, positions) = match names.positions.ends_with(".weight") {
            true => (vec![channels], vec![tokens, channels]),
            false => (vec![1, 1, channels], vec![1, tokens, channels]),
        };
        let registers = (names.registers > 0).then(|| {
            vb.get_with_hints((1, names.registers, channels), "embeddings.register_tokens", DRAWN)
        });
        let tokens = Tokens {
            class: names.class.map(|name| vb.get_with_hints(class, name, DRAWN)).transpose()?,
            registers: registers.transpose()?,
            positions: vb.get_with_hints(positions, names.positions, DRAWN)?,
        };
        let mut layers = Blocks::new([Layer::Conv(patches), Layer::Unary(Unary::Tokens(tokens))]);
        if let Some(name) = names.first_norm {
            layers.push(layer_norm(channels, names.block.eps, vb.pp(name))?);
        }
        let block = Block {
            channels,
            hidden: width(4 * channels),
            attention: Attention { heads: self.heads, causal: false },
            activation: names.activation,
            names: names.block,
        };
        for number in 0..depth {
            layers.begin();
            layers.extend(block.layers(&vb.pp(names.blocks).pp(number))?);
        }
        let last = layer_norm(channels, names.block.eps, vb.pp(names.last_norm))?;
        match names.end {
            End::Class => {
                layers.choose_first_token();
                layers.push(last);
            }
            End::Projection(features) => {
                let shape = (features, channels);
                let weight = all.get_with_hints(shape, "visual_projection.weight", DRAWN)?;
                let (config, activation) = (Conv2dConfig::default(), Activation::Identity);
                let projection = Conv2d { weight, bias: None, config, activation };
                layers.choose_first_token();
                layers.extend([last, Layer::Conv(projection)]);
            }
            End::Probe => {
                layers.push(last);
                layers.extend(self.probe(vb.pp("head"), width)?);
            }
        }
        layers.push(Layer::Flatten);
        Ok(layers)
    }

    /// The attention of a learnt query, followed by two linear layers.
    fn probe(self, vb: VarBuilder<'_>, width: fn(usize) -> usize) -> Result<[Layer; 3]> {
        let Self { channels, heads, names, .. } = self;
        let attention = vb.pp("attention");
        let probe = Probe {
            probe: vb.get_with_hints((1, 1, channels), "probe", DRAWN)?,
            weight: attention.get_with_hints((3 * channels, channels), "in_proj_weight", DRAWN)?,
            bias: attention.get_with_hints(3 * channels, "in_proj_bias", ZERO)?,
            heads,
        };
        let (none, hidden) = (Activation::Identity, width(4 * channels));
        let mlp = vb.pp("mlp");
        let body = Sequential(vec![
            layer_norm(channels, names.block.eps, vb.pp("layernorm"))?,
            token_linear((channels, hidden), names.activation, mlp.pp("fc1"))?,
            token_linear((hidden, channels), none, mlp.pp("fc2"))?,
        ]);
        Ok([
            Layer::Unary(Unary::Probe(probe)),
            token_linear((channels, channels), none, attention.pp("out_proj"))?,
            Layer::Residual { body, shortcut: Sequential::default(), activation: none },
        ])
    }
}

const ZERO: Init = Init::Const(0.0);
