//! Encodes texts in the same code space as pictures: the code of a text should be near those of the pictures that it describes.
//!
//! In the common space of text and image tower, texts lie apart from pictures: their means differ by about the same vector for any sets of texts
//! and pictures (Liang et al., "Mind the Gap", NeurIPS 2022). A hash layer that was fitted to pictures is centred at the mean of pictures. Seen
//! from there, all texts lie on one side, and most of their bits would say nothing else. Therefore each modality is centred at its own mean,
//! which closes the gap as far as it is a constant (Zhang et al., "Connect, Collapse, Corrupt", ICLR 2024): the normalised vector of a text,
//! minus the mean vector of [`prompts`](super::prompts()), is mapped by the matrix that was fitted to pictures.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::config::TextConfig;
use super::prompts::prompts;
use super::tokenizer::TextTokenizer;
use super::tower::TextTower;
use crate::checkpoint::{self, Contents};
use crate::codec::{Codec, CodecConfig, Map};
use crate::encoder::Encoded;
use crate::error::{Error, Result};
use crate::pretrained::Pretrained;

const CONFIG_KEY: &str = "dhih.text";
const TOKENIZER_KEY: &str = "dhih.tokenizer";
/// The prefix of the names of the tower's tensors.
const TOWER: &str = "tower.";

/// The settings that are stored beside tensors and tokenizer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    tower: TextConfig,
    /// SHA-256, in hex, of the network whose codes are compared with those of texts.
    model_sha256: String,
}

/// The parts of a text encoder.
pub struct FitText<'a> {
    /// The tower, from tokens to vectors.
    pub tower: &'a TextTower,
    /// The checkpoint that the tower was read from.
    pub weights: &'a Pretrained,
    /// The tokenizer, from texts to tokens.
    pub tokenizer: &'a TextTokenizer,
    /// The codec that was fitted to the features of pictures.
    pub codec: &'a Codec,
    /// SHA-256, in hex, of the network that encodes pictures.
    pub model_sha256: &'a str,
}

impl FitText<'_> {
    /// Fits the encoder and writes it under `path`, where the file appears only when it is complete.
    ///
    /// # Errors
    /// [`Error::Config`] where the tower's vectors do not have the length of the codec's, and those of the file system.
    pub fn write(&self, path: &Path) -> Result<()> {
        let Self { tower, weights, tokenizer, codec, model_sha256 } = *self;
        let tower_config = *tower.config();
        if tower_config.features != codec.dims() {
            return Err(Error::Config {
                name: "features of the text tower",
                got: tower_config.features.to_string(),
                expected: format!("{}, as many as pictures have", codec.dims()),
            });
        }
        let mut contents = fitted(tower, tokenizer, codec)?.contents()?;
        let tensors = TextTower::tensors_of(weights).into_iter();
        contents.tensors.extend(tensors.map(|(name, it)| (format!("{TOWER}{name}"), it)));
        let record = Record { tower: tower_config, model_sha256: model_sha256.to_owned() };
        let record = serde_json::to_string(&record)
            .map_err(|error| Error::Text { reason: error.to_string() })?;
        contents.metadata.insert(CONFIG_KEY.to_owned(), record);
        contents.metadata.insert(TOKENIZER_KEY.to_owned(), tokenizer.json().to_owned());
        checkpoint::write(&contents, path)?;
        Ok(())
    }
}

/// What a [`TextEncoder`] is made of.
pub(crate) struct Parts<'a> {
    pub(crate) tokenizer: &'a TextTokenizer,
    pub(crate) tower: &'a TextTower,
    pub(crate) codec: &'a Codec,
}

/// Encodes texts. Threads may share it.
pub struct TextEncoder {
    tower: TextTower,
    tokenizer: TextTokenizer,
    codec: Codec,
    model_sha256: String,
}

impl TextEncoder {
    /// Reads and verifies what [`FitText::write`] wrote.
    ///
    /// # Errors
    /// As [`checkpoint::read`], and [`Error::Checkpoint`] where the file is something else, or its parts do not belong together.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let wrong = |reason: String| Error::Checkpoint { path: path.to_owned(), reason };
        let (Contents { tensors, metadata }, _) = checkpoint::read(path)?;
        let text = |key: &str| {
            let missing =
                || wrong("it has no text tower: `dhih-train photos` makes one".to_owned());
            metadata.get(key).ok_or_else(missing)
        };
        let record: Record =
            serde_json::from_str(text(CONFIG_KEY)?).map_err(|error| wrong(error.to_string()))?;
        let Record { tower: config, model_sha256 } = record;
        let tokenizer = TextTokenizer::from_bytes(text(TOKENIZER_KEY)?.as_bytes(), &config, path)?;
        let mut own = Contents { metadata: metadata.clone(), ..Contents::default() };
        let mut of_tower = BTreeMap::new();
        for (name, tensor) in tensors {
            match name.strip_prefix(TOWER) {
                Some(name) => of_tower.insert(name.to_owned(), tensor),
                None => own.tensors.insert(name, tensor),
            };
        }
        let codec = Codec::from_contents(own).map_err(wrong)?;
        let tower = TextTower::restored(config, of_tower, device)?;
        if config.features != codec.dims() {
            let (features, dims) = (config.features, codec.dims());
            return Err(wrong(format!("vectors of {features} numbers for a codec of {dims}")));
        }
        Ok(Self { tower, tokenizer, codec, model_sha256 })
    }

    /// Code length in bits.
    pub fn bits(&self) -> usize {
        self.codec.bits()
    }

    /// SHA-256, in hex, of the network that makes the codes of pictures with which those of texts are compared.
    pub fn model_sha256(&self) -> &str {
        &self.model_sha256
    }

    /// The sizes of the tower.
    pub fn config(&self) -> &TextConfig {
        self.tower.config()
    }

    /// The number of tokens at the end of a text for which the tower has no room: they do not count.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn left_out(&self, text: &str) -> Result<usize> {
        self.tokenizer.left_out(text)
    }

    /// Tokenizer, tower and codec, through which a text goes in this order.
    pub(crate) fn parts(&self) -> Parts<'_> {
        let Self { tokenizer, tower, codec, .. } = self;
        Parts { tokenizer, tower, codec }
    }

    /// Computes the real values behind the codes of texts. Their signs are the bits; the sign of 0 is +1.
    ///
    /// # Shapes
    /// Returns `[n, bits]`, row-major.
    ///
    /// # Errors
    /// [`Error::Text`] where a text is empty or too long.
    pub fn encode<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<f32>> {
        Ok(self.encode_all(texts)?.values)
    }

    /// As [`Self::encode`], with the vectors of the texts in the space that they share with pictures. Their cosine similarity to the features of
    /// pictures ranks pictures for a text; this needs no centring.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_all<T: AsRef<str>>(&self, texts: &[T]) -> Result<Encoded> {
        let features = vectors(&self.tower, &self.tokenizer, texts)?;
        Ok(Encoded { values: self.codec.encode(&features)?, features: Some(features) })
    }
}

fn vectors<T: AsRef<str>>(
    tower: &TextTower,
    tokenizer: &TextTokenizer,
    texts: &[T],
) -> Result<Vec<f32>> {
    let tokens = texts.iter().map(|text| tokenizer.tokens(text.as_ref()));
    tower.features(&tokens.collect::<Result<Vec<_>>>()?)
}

/// The codec of pictures with the centre of texts. Where pictures are not centred, neither are texts.
fn fitted(tower: &TextTower, tokenizer: &TextTokenizer, codec: &Codec) -> Result<Codec> {
    let map = match codec.map() {
        Map::FirstValues => Map::FirstValues,
        Map::Linear { matrix, .. } => {
            Map::Linear { matrix: matrix.clone(), centre: mean(tower, tokenizer)? }
        }
        Map::Head(_) => {
            let (got, expected) = ("head".to_owned(), "one that has a centre".to_owned());
            return Err(Error::Config { name: "method", got, expected });
        }
    };
    Codec::new(CodecConfig { normalize: true, ..codec.config().clone() }, map)
}

/// The mean of the normalised vectors of the prompts.
fn mean(tower: &TextTower, tokenizer: &TextTokenizer) -> Result<Vec<f32>> {
    let prompts: Vec<String> = prompts().collect();
    let dims = tower.config().features;
    let mut sum = vec![0.0; dims];
    for vector in vectors(tower, tokenizer, &prompts)?.chunks_exact(dims) {
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x) / length);
    }
    Ok(sum.iter().map(|sum| (sum / prompts.len() as f64) as f32).collect())
}
