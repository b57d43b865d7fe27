//! What defines a text tower, except its weights.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a text becomes tokens, and how the tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextFamily {
    /// CLIP: a token attends to those before it, and the vector comes from the token at the end of the text.
    Clip,
    /// SigLIP: all texts are padded to one length, each token attends to all, and the vector comes from the last position.
    Siglip,
}

/// The sizes of a text tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// The family of the tower.
    pub family: TextFamily,
    /// The number of tokens in its vocabulary.
    pub vocabulary: usize,
    /// Tokens of the longest text, including those at its start and end.
    pub context: usize,
    /// The number of values of a token.
    pub channels: usize,
    /// The size of the hidden layer on each token.
    pub hidden: usize,
    /// The number of attention heads.
    pub heads: usize,
    /// The number of blocks.
    pub depth: usize,
    /// The number of values of the vector; an image has as many features.
    pub features: usize,
}

impl TextConfig {
    /// The tower of `openai/clip-vit-base-patch32` and `-patch16`.
    pub const CLIP_BASE: Self = Self {
        family: TextFamily::Clip,
        vocabulary: 49_408,
        context: 77,
        channels: 512,
        hidden: 2048,
        heads: 8,
        depth: 12,
        features: 512,
    };

    /// The tower of `google/siglip-base-patch16-224`.
    pub const SIGLIP_BASE: Self = Self {
        family: TextFamily::Siglip,
        vocabulary: 32_000,
        context: 64,
        channels: 768,
        hidden: 3072,
        heads: 12,
        depth: 12,
        features: 768,
    };

    /// Checks that such a tower can exist.
    ///
    /// # Errors
    /// [`Error::Config`] names the value that is out of range.
    pub fn check(&self) -> Result<()> {
        let Self { channels, heads, .. } = *self;
        for (name, got, expected) in [
            ("vocabulary", self.vocabulary, 3..=1 << 24),
            ("context", self.context, 3..=4096),
            ("channels", channels, 1..=1 << 14),
            ("hidden", self.hidden, 1..=1 << 16),
            ("heads", heads, 1..=channels.max(1)),
            ("depth", self.depth, 1..=256),
            ("features", self.features, 1..=1 << 14),
        ] {
            if !expected.contains(&got) {
                let expected = format!("{} to {}", expected.start(), expected.end());
                return Err(Error::Config { name, got: got.to_string(), expected });
            }
        }
        if !channels.is_multiple_of(heads) {
            let expected = format!("a divisor of the {channels} channels");
            return Err(Error::Config { name: "heads", got: heads.to_string(), expected });
        }
        Ok(())
    }
}
