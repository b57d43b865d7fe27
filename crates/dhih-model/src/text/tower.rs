//! The text tower, from tokens to a vector. The names of its weights are those of `transformers`, in which a checkpoint has text tower and image
//! tower side by side.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result as TensorResult, Tensor};
use candle_nn::{Init, VarBuilder};

use super::config::{TextConfig, TextFamily};
use crate::backbone::blueprint::recorded;
use crate::backbone::scheme::{layer_norm, token_linear};
use crate::backbone::transformer::{Block, CLIP_BLOCK, SIGLIP_BLOCK};
use crate::error::{Error, Result};
use crate::init::check_names;
use crate::layer::{Layer, Mode, Sequential};
use crate::ops::{Activation, Attention, Conv2d, Conv2dConfig};
use crate::pretrained::Pretrained;

/// The prefixes of the text tower's tensors in a checkpoint.
const PARTS: [&str; 2] = ["text_model.", "text_projection."];

/// The number of texts that go through the tower together.
const TOGETHER: usize = 16;

/// A text tower. Threads may share it.
pub struct TextTower {
    config: TextConfig,
    /// The embeddings of tokens, `[vocabulary, channels]`.
    pub(crate) embedding: Tensor,
    /// The embeddings of positions, `[context, channels]`.
    pub(crate) positions: Tensor,
    pub(crate) blocks: Sequential,
    /// The layers on the token that stands for the text.
    pub(crate) head: Sequential,
    device: Device,
}

impl TextTower {
    /// Builds a tower with weights from `vb`.
    ///
    /// # Errors
    /// When the sizes are out of range, and those of the variable store.
    pub fn new(config: TextConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        config.check()?;
        Ok(Self::build(config, vb)?)
    }

    fn build(config: TextConfig, vb: &VarBuilder<'_>) -> TensorResult<Self> {
        let TextConfig { vocabulary, context, channels, hidden, heads, features, .. } = config;
        let (names, activation, causal) = match config.family {
            TextFamily::Clip => (CLIP_BLOCK, Activation::QuickGelu, true),
            TextFamily::Siglip => (SIGLIP_BLOCK, Activation::GeluTanh, false),
        };
        let (all, vb) = (vb, vb.pp("text_model"));
        let embeddings = vb.pp("embeddings");
        let embedding =
            embeddings.get_with_hints((vocabulary, channels), "token_embedding.weight", DRAWN)?;
        let positions =
            embeddings.get_with_hints((context, channels), "position_embedding.weight", DRAWN)?;
        let attention = Attention { heads, causal };
        let block = Block { channels, hidden, attention, activation, names };
        let mut blocks = Vec::new();
        for number in 0..config.depth {
            blocks.extend(block.layers(&vb.pp("encoder.layers").pp(number))?);
        }
        let norm = layer_norm(channels, names.eps, vb.pp("final_layer_norm"))?;
        let last = match config.family {
            TextFamily::Clip => {
                let shape = (features, channels);
                let weight = all.get_with_hints(shape, "text_projection.weight", DRAWN)?;
                let (config, activation) = (Conv2dConfig::default(), Activation::Identity);
                Layer::Conv(Conv2d { weight, bias: None, config, activation })
            }
            TextFamily::Siglip => {
                token_linear((channels, features), Activation::Identity, vb.pp("head"))?
            }
        };
        let (blocks, head) = (Sequential(blocks), Sequential(vec![norm, last, Layer::Flatten]));
        Ok(Self { config, embedding, positions, blocks, head, device: all.device().clone() })
    }

    /// Loads the text tower of a checkpoint that has image and text tower, by the names of `transformers`.
    ///
    /// # Errors
    /// [`Error::Weights`] lists every tensor of a text tower that is missing, unknown or misshapen.
    pub fn from_pretrained(
        config: TextConfig,
        weights: &Pretrained,
        device: &Device,
    ) -> Result<Self> {
        Self::restored(config, Self::tensors_of(weights), device)
    }

    /// The tensors of the text tower in a checkpoint.
    pub(super) fn tensors_of(weights: &Pretrained) -> BTreeMap<String, Tensor> {
        let is_own = |name: &&String| PARTS.iter().any(|part| name.starts_with(part));
        let tensors = weights.tensors().iter().filter(|(name, _)| is_own(name));
        tensors.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    }

    /// Whether a checkpoint has a text tower of any kind.
    pub fn is_in(weights: &Pretrained) -> bool {
        weights.tensors().keys().any(|name| name.starts_with(PARTS[0]))
    }

    /// A tower with the given tensors, by name. On the CPU it shares their memory.
    ///
    /// # Errors
    /// As [`Self::from_pretrained`].
    pub(super) fn restored(
        config: TextConfig,
        tensors: BTreeMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        let (_, expected) = recorded(|vb| Self::build(config, &vb))?;
        check_names(expected.iter().map(|(name, shape)| (name.as_str(), shape)), &tensors)?;
        let vb = VarBuilder::from_tensors(tensors.into_iter().collect(), DType::F32, device);
        Self::new(config, &vb)
    }

    /// What defines the tower, except its weights.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// Computes the vectors of texts, in the space of the image tower's features. They are not normalised.
    ///
    /// # Shapes
    /// `texts`: the tokens of each, as [`TextTokenizer::tokens`](super::TextTokenizer::tokens) makes them; returns `[n, features]`, row-major.
    ///
    /// # Errors
    /// [`Error::Text`] where a text has no tokens or more than the context, for SigLIP also where it has fewer, and where a token is not in the
    /// vocabulary.
    pub fn features(&self, texts: &[Vec<u32>]) -> Result<Vec<f32>> {
        let mut features = Vec::with_capacity(texts.len() * self.config.features);
        for texts in texts.chunks(TOGETHER) {
            self.check(texts)?;
            features.extend(self.some(texts)?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(features)
    }

    fn check(&self, texts: &[Vec<u32>]) -> Result<()> {
        let TextConfig { vocabulary, context, family, .. } = self.config;
        for text in texts {
            let fits = match family {
                TextFamily::Clip => (1..=context).contains(&text.len()),
                TextFamily::Siglip => text.len() == context,
            };
            if !fits {
                let reason = format!("it has {} tokens, for a context of {context}", text.len());
                return Err(Error::Text { reason });
            }
            if let Some(token) = text.iter().find(|token| **token as usize >= vocabulary) {
                let reason = format!("token {token} is none of the {vocabulary} that are known");
                return Err(Error::Text { reason });
            }
        }
        Ok(())
    }

    fn some(&self, texts: &[Vec<u32>]) -> TensorResult<Tensor> {
        let (n, channels) = (texts.len(), self.config.channels);
        let length = texts.iter().map(Vec::len).max().unwrap_or(0);
        // The padding of a shorter text follows its last token, which does not attend to it.
        let filled = texts.iter().flat_map(|text| {
            let last = text.last().copied().unwrap_or(0);
            text.iter().copied().chain(std::iter::repeat(last)).take(length)
        });
        let tokens = Tensor::from_iter(filled, &self.device)?;
        let x = self.embedding.index_select(&tokens, 0)?.reshape((n, length, channels))?;
        let x = x.broadcast_add(&self.positions.narrow(0, 0, length)?)?.unsqueeze(1)?;
        let x = self.blocks.forward(&x, Mode::Evaluation)?;
        let last =
            texts.iter().enumerate().map(|(row, text)| (row * length + text.len() - 1) as u32);
        let last = Tensor::from_iter(last, &self.device)?;
        let x = x.reshape((n * length, channels))?.index_select(&last, 0)?;
        self.head.forward(&x.reshape((n, 1, 1, channels))?, Mode::Evaluation)
    }
}

/// How weights are initialised.
const DRAWN: Init = Init::Randn { mean: 0.0, stdev: 0.02 };
