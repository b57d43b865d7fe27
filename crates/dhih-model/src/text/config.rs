//! What defines a text tower, but for its weights.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a text becomes tokens, and tokens one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextFamily {
    /// CLIP: a token attends to those before it, and the vector is what becomes of the token at the end of the text.
    Clip,
    /// SigLIP: all texts are filled up to one length, a token attends to all, and the vector is what becomes of the last place.
    Siglip,
}

/// The sizes of a text tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// What kind it is.
    pub family: TextFamily,
    /// Tokens that it knows.
    pub vocabulary: usize,
    /// Tokens of the longest text, those at its ends included.
    pub context: usize,
    /// Values of a token.
    pub channels: usize,
    /// Values of a token between the two linear layers of a block.
    pub hidden: usize,
    /// Parts of a token's values that attend by themselves.
    pub heads: usize,
    /// Blocks.
    pub depth: usize,
    /// Values of the vector: as many as an image has features.
    pub features: usize,
}

impl TextConfig {
    /// That of `openai/clip-vit-base-patch32` and `-patch16`.
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

    /// That of `google/siglip-base-patch16-224`.
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

    /// Checks that there can be such a tower.
    ///
    /// # Errors
    /// [`Error::Config`] names what is out of range.
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
