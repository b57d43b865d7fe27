//! Texts to the values behind codes of pictures. A code of a text is to be near those of the pictures that it is about.
//!
//! In the common space of text and image tower, texts lie apart from pictures: the means of both differ by about as much for any sets of them
//! (Liang et al., "Mind the Gap", NeurIPS 2022). A hash layer that was fitted to pictures has their mean as its centre; seen from there, all
//! texts lie on one side, and most of their bits would say so and nothing else. Each modality is therefore centred at its own mean, which
//! closes the gap as far as it is a constant (Zhang et al., "Connect, Collapse, Corrupt", ICLR 2024): a text's vector of length 1, less the mean
//! of [`prompts`](super::prompts())' vectors, goes through the pictures' directions.

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
use crate::error::{Error, Result};
use crate::pretrained::Pretrained;

const CONFIG_KEY: &str = "dhih.text";
const TOKENIZER_KEY: &str = "dhih.tokenizer";
/// Stands before the names of the tower's tensors.
const TOWER: &str = "tower.";

/// What is stored of it beside tensors and tokenizer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    tower: TextConfig,
    /// SHA-256 of the network whose codes those of texts are compared with, in hex.
    model_sha256: String,
}

/// What an encoder of texts is made of.
pub struct FitText<'a> {
    /// Tokens to vectors.
    pub tower: &'a TextTower,
    /// The checkpoint that the tower is of.
    pub weights: &'a Pretrained,
    /// Texts to tokens.
    pub tokenizer: &'a TextTokenizer,
    /// What was fitted to the features of pictures.
    pub codec: &'a Codec,
    /// SHA-256 of the network that makes the codes of pictures, in hex.
    pub model_sha256: &'a str,
}

impl FitText<'_> {
    /// Fits it and writes it under `path`, which appears only when it is complete.
    ///
    /// # Errors
    /// [`Error::Config`] where the tower's vectors are not of the codec's length, and those of the file system.
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

/// Encodes texts. Threads may share it.
pub struct TextEncoder {
    tower: TextTower,
    tokenizer: TextTokenizer,
    codec: Codec,
    model_sha256: String,
}

impl TextEncoder {
    /// Reads what [`FitText::write`] wrote, verified.
    ///
    /// # Errors
    /// As [`checkpoint::read`]; and [`Error::Checkpoint`] where the file is something else, or its parts do not belong together.
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

    /// SHA-256 of the network that makes the codes of pictures which those of texts are compared with, in hex.
    pub fn model_sha256(&self) -> &str {
        &self.model_sha256
    }

    /// Real values behind the codes of texts; their signs are the bits, the sign of 0 being +1.
    ///
    /// # Shapes
    /// Returns `[n, bits]`, row-major.
    ///
    /// # Errors
    /// [`Error::Text`] where a text is empty or too long.
    pub fn encode<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<f32>> {
        self.codec.encode(&vectors(&self.tower, &self.tokenizer, texts)?)
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

/// The pictures' codec with texts' centre. Where pictures are not centred, neither are texts.
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

/// The mean of the prompts' vectors, each of length 1.
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
