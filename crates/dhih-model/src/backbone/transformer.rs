//! The block of all transformers here, of images and of texts: attention between tokens, and two linear layers on each token. Both are pre-norm
//! residuals (Xiong et al., 2020). Tokens are images of one row, `[n, 1, tokens, channels]`.

use candle_core::Result;
use candle_nn::{Init, VarBuilder};

use super::scheme::{layer_norm, token_linear};
use crate::layer::{Layer, Sequential};
use crate::ops::{Activation, Attention, Conv2dConfig, FirstToken, Scale, Unary};

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

/// Appends the choice of the first token to layers: as early as possible, so that what follows is not computed for the others. It comes before
/// all layers at their end that compute each token by itself.
pub(crate) fn choose_first_token(layers: &mut Vec<Layer>) {
    match layers.pop() {
        Some(Layer::Residual { mut body, mut shortcut, activation }) => {
            choose_first_token(&mut body.0);
            choose_first_token(&mut shortcut.0);
            if is_choice(body.0.first()) && is_choice(shortcut.0.first()) {
                body.0.remove(0);
                shortcut.0.remove(0);
                choose_first_token(layers);
            }
            layers.push(Layer::Residual { body, shortcut, activation });
        }
        Some(layer) if is_by_token(&layer) => {
            choose_first_token(layers);
            layers.push(layer);
        }
        last => {
            layers.extend(last.into_iter().chain([Layer::Unary(Unary::FirstToken(FirstToken))]))
        }
    }
}

fn is_choice(layer: Option<&Layer>) -> bool {
    matches!(layer, Some(Layer::Unary(Unary::FirstToken(_))))
}

/// Whether a layer computes each token by itself.
fn is_by_token(layer: &Layer) -> bool {
    match layer {
        Layer::Unary(Unary::LayerNorm(_) | Unary::Scale(_)) => true,
        Layer::Conv(conv) => conv.weight.rank() == 2 && conv.config == Conv2dConfig::default(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Mode;
    use crate::ops::Conv2d;
    use crate::ops::testing::{assert_close, variable};

    fn linear(inputs: usize, outputs: usize) -> Layer {
        let weight = variable("w", &[outputs, inputs]).as_tensor().clone();
        let (config, activation) = (Conv2dConfig::default(), Activation::Gelu);
        Layer::Conv(Conv2d { weight, bias: None, config, activation })
    }

    fn residual(body: Vec<Layer>) -> Layer {
        let (body, shortcut) = (Sequential(body), Sequential::default());
        Layer::Residual { body, shortcut, activation: Activation::Identity }
    }

    /// The layers with the choice, after checking that their outputs are those with the choice at the end.
    fn chosen(layers: Vec<Layer>) -> Vec<Layer> {
        let mut early = layers.clone();
        choose_first_token(&mut early);
        let x = variable("x", &[2, 1, 5, 4]);
        let y = |layers: Vec<Layer>| {
            Sequential(layers).forward(x.as_tensor(), Mode::Evaluation).unwrap()
        };
        let all = y(layers);
        let got = y(early.clone());
        assert_close(&got, &all.narrow(2, 0, 1).unwrap().contiguous().unwrap(), 1e-6);
        early
    }

    #[test]
    fn what_follows_attention_is_computed_for_one_token() {
        let attention = Layer::Unary(Unary::Attention(Attention { heads: 2, causal: false }));
        let attends = residual(vec![linear(4, 12), attention, linear(4, 4)]);
        let each = || residual(vec![linear(4, 8), linear(8, 4)]);
        let layers = chosen(vec![each(), attends, each(), linear(4, 4)]);
        let [_, Layer::Residual { body, shortcut, .. }, _, _] = &layers[..] else {
            panic!("{layers:?}");
        };
        assert!(is_choice(body.0.get(2)) && body.0.len() == 4, "{body:?}");
        assert!(is_choice(shortcut.0.first()) && shortcut.0.len() == 1, "{shortcut:?}");
    }

    #[test]
    fn without_attention_the_other_tokens_are_not_computed_at_all() {
        let layers = chosen(vec![residual(vec![linear(4, 8), linear(8, 4)]), linear(4, 4)]);
        assert!(is_choice(layers.first()) && layers.len() == 3, "{layers:?}");
    }
}
