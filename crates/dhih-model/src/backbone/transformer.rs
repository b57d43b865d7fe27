//! The block of all transformers here, of images and of texts: attention between tokens, and two linear layers on each token. Both are pre-norm
//! residuals (Xiong et al., 2020). Tokens are images of one row, `[n, 1, tokens, channels]`.

use candle_core::Result;
use candle_nn::{Init, VarBuilder};

use super::scheme::{layer_norm, token_linear};
use crate::layer::{Layer, Sequential};
use crate::ops::{Activation, Attention, Scale, Unary};

/// Sizes of a block, and the names of its weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) channels: usize,
    /// The size of the hidden layer on each token.
    pub(crate) hidden: usize,
    pub(crate) attention: Attention,
    pub(crate) activation: Activation,
    pub(crate) names: BlockNames,
}

/// What the blocks of a family have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockNames {
    /// The constant that layer norm adds to variances.
    pub(crate) eps: f64,
    /// Whether each branch ends with a factor for each channel (layer scale).
    pub(crate) scales: bool,
    pub(crate) norms: [&'static str; 2],
    /// The names of the projections to queries, keys and values, and of the projection behind attention.
    pub(crate) attention: [&'static str; 4],
}

/// The names in CLIP's and SigLIP's towers.
pub(crate) const CLIP_BLOCK: BlockNames = BlockNames {
    eps: 1e-5,
    scales: false,
    norms: ["layer_norm1", "layer_norm2"],
    attention: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"],
};
pub(crate) const SIGLIP_BLOCK: BlockNames = BlockNames { eps: 1e-6, ..CLIP_BLOCK };

impl Block {
    /// Attention between the tokens, and two linear layers on each token.
    ///
    /// # Errors
    /// Those of the variable store.
    pub(crate) fn layers(self, vb: &VarBuilder<'_>) -> Result<[Layer; 2]> {
        let Self { channels, hidden, names, .. } = self;
        let linear = |sizes, activation, name: &str| token_linear(sizes, activation, vb.pp(name));
        let same = |name: &str| linear((channels, channels), Activation::Identity, name);
        let [query, key, value, output] = names.attention;
        let [first, second] = names.norms;
        let branch = |layer| Sequential(vec![layer]);
        let parts = vec![branch(same(query)?), branch(same(key)?), branch(same(value)?)];
        let attention = vec![
            layer_norm(channels, names.eps, vb.pp(first))?,
            Layer::Concat(parts),
            Layer::Unary(Unary::Attention(self.attention)),
            same(output)?,
        ];
        let each = vec![
            layer_norm(channels, names.eps, vb.pp(second))?,
            linear((channels, hidden), self.activation, "mlp.fc1")?,
            linear((hidden, channels), Activation::Identity, "mlp.fc2")?,
        ];
        let residual = |mut body: Vec<Layer>, scale: &str| -> Result<Layer> {
            if names.scales {
                let weight = vb.pp(scale).get_with_hints(channels, "lambda1", Init::Const(1.0))?;
                body.push(Layer::Unary(Unary::Scale(Scale { weight })));
            }
            let (body, shortcut) = (Sequential(body), Sequential::default());
            Ok(Layer::Residual { body, shortcut, activation: Activation::Identity })
        };
        Ok([residual(attention, "layer_scale1")?, residual(each, "layer_scale2")?])
    }
}
