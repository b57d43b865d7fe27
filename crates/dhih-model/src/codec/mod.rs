//! Codecs: from vectors that somebody has already, such as embeddings, to codes. A codec is a map whose signs are the bits. It is fitted to
//! vectors in [`fit`], or it is a hash layer that was trained on their labels; it takes the place of a network in `encode`, the service and
//! the wheel. What the map is made of, and how it is stored: `map.rs`.

mod fit;
mod linear_algebra;
mod map;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::fit::{FitConfig, Rows, fit, prepare_rows};
pub use self::map::Map;
use crate::checkpoint::{self, Contents};
use crate::error::{Error, Result};
use crate::hash_layer::HashLayer;
use crate::inference::Inference;

/// The longest code of a codec, in bits.
pub const MAX_CODEC_BITS: usize = 4096;
const CONFIG_KEY: &str = "dhih.codec";

/// How the linear map of a codec is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The first values themselves.
    Sign,
    /// The directions in which the vectors vary most (principal components).
    PcaSign,
    /// Directions that are drawn, orthogonal to each other.
    Rotation,
    /// Principal components turned so that signs lose as little as can be: iterative quantisation (Gong and Lazebnik, CVPR 2011).
    Itq,
    /// A hash layer that was trained on labels with one of the losses.
    Head,
}

impl Method {
    /// All, with one line on each.
    pub const ALL: [(&str, Self, &str); 5] = [
        ("sign", Self::Sign, "signs of the first values"),
        ("pca-sign", Self::PcaSign, "signs of the principal components"),
        ("rotation", Self::Rotation, "signs behind a random rotation about the mean"),
        (
            "itq",
            Self::Itq,
            "principal components, turned towards their signs (Gong and Lazebnik, 2011)",
        ),
        ("head", Self::Head, "a hash layer that is trained on labels with one of the losses"),
    ];

    /// The method of that name; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, ..)| *known == name).map(|(_, method, _)| method)
    }

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, method, _)| *method == self).map_or("", |(name, ..)| name)
    }

    /// Whether labels are needed to find it.
    pub fn needs_labels(self) -> bool {
        self == Self::Head
    }
}

/// What defines a codec, but for its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodecConfig {
    /// How its map was found.
    pub method: Method,
    /// Numbers of a vector.
    pub dims: usize,
    /// Code length.
    pub bits: usize,
    /// Whether vectors are brought to length 1 first, so that their length does not count.
    pub normalize: bool,
    /// Lengths in bits, ascending and shorter than the whole code, whose first bits are codes of their own: see [`Codec::shortened`]. Older files
    /// have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nested: Vec<usize>,
}

impl CodecConfig {
    /// Checks that there can be such a codec.
    ///
    /// # Errors
    /// [`Error::Config`] names what is out of range.
    pub fn check(&self) -> Result<()> {
        let Self { dims, bits, nested, .. } = self;
        if *dims == 0 || *dims > MAX_DIMS {
            let expected = format!("1 to {MAX_DIMS}");
            return Err(Error::Config { name: "dims", got: dims.to_string(), expected });
        }
        // A trained layer may have more outputs than a vector has directions.
        let most = match self.method {
            Method::Head => MAX_CODEC_BITS,
            _ => MAX_CODEC_BITS.min(*dims),
        };
        if *bits == 0 || *bits > most {
            let expected = format!("1 to {most}, for vectors of {dims} numbers");
            return Err(Error::Config { name: "bits", got: bits.to_string(), expected });
        }
        let is_ascending = nested.is_sorted_by(|a, b| a < b);
        if !is_ascending || nested.iter().any(|length| *length == 0 || length >= bits) {
            let expected = format!("lengths of 1 to {} bits, ascending", bits - 1);
            return Err(Error::Config { name: "nested", got: format!("{nested:?}"), expected });
        }
        Ok(())
    }
}

/// The most numbers of a vector: a matrix of their covariances is in memory while a codec is fitted.
const MAX_DIMS: usize = 1 << 14;

/// Vectors to codes. Threads may share it.
pub struct Codec {
    config: CodecConfig,
    map: Map,
    inference: Option<Inference>,
    sha256: String,
}

impl Codec {
    /// Of its numbers.
    ///
    /// # Errors
    /// [`Error::Config`] where the configuration is out of range, or the map is not from its vectors to its bits, or has a number that is not finite.
    pub fn new(config: CodecConfig, map: Map) -> Result<Self> {
        config.check()?;
        map.check(&config)?;
        let inference = match map.layers(&config)? {
            Some(layers) => Some(Inference::of_vectors(&layers, config.dims)?),
            None => None,
        };
        let mut codec = Self { config, map, inference, sha256: String::new() };
        codec.sha256 = checkpoint::digest(&codec.contents()?)?;
        Ok(codec)
    }

    /// A hash layer as it is now, in evaluation, of vectors as [`prepare_rows`] leaves them.
    ///
    /// # Errors
    /// As [`Self::new`], and [`Error::Config`] where the layer is not of that configuration.
    pub fn of_hash_layer(config: CodecConfig, layer: &HashLayer) -> Result<Self> {
        Self::new(config, Map::of_hash_layer(layer)?)
    }

    /// The codec of the first `bits` of its codes, which the configuration lists as [`CodecConfig::nested`]. Its codes are those of this codec, cut short.
    ///
    /// # Errors
    /// [`Error::Config`] names the lengths that there are.
    pub fn shortened(&self, bits: usize) -> Result<Self> {
        let CodecConfig { bits: whole, nested, .. } = &self.config;
        if bits != *whole && !nested.contains(&bits) {
            let lengths: Vec<String> =
                nested.iter().chain([whole]).map(ToString::to_string).collect();
            let expected = format!("{}: the lengths of the codec", lengths.join(", "));
            return Err(Error::Config { name: "bits", got: bits.to_string(), expected });
        }
        let nested = nested.iter().copied().filter(|length| *length < bits).collect();
        let config = CodecConfig { bits, nested, ..self.config.clone() };
        let map = self.map.shortened(&config)?;
        Self::new(config, map)
    }

    /// What defines it, but for its numbers.
    pub fn config(&self) -> &CodecConfig {
        &self.config
    }

    /// Code length in bits.
    pub fn bits(&self) -> usize {
        self.config.bits
    }

    /// Numbers of a vector.
    pub fn dims(&self) -> usize {
        self.config.dims
    }

    /// SHA-256 of its content, in hex: it is written into the codes, so that codes of two codecs are never mixed.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What it makes of a vector.
    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    /// The map as a linear layer: weights `[bits, dims]`, row-major, and biases `[bits]`. Where vectors are brought to length 1, it is of
    /// those. `None` where it has a hidden layer.
    pub fn affine(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        self.map.affine(&self.config)
    }

    /// Real values behind the codes of vectors; their signs are the bits, the sign of 0 being +1. The values of a vector are the same to the
    /// last bit, whatever it is encoded with.
    ///
    /// # Shapes
    /// `vectors`: `[n, dims]`; returns `[n, bits]`, row-major.
    ///
    /// # Errors
    /// [`Error::Vectors`] where they are no whole vectors, or one of them has a number that is not finite, or only zeros where vectors are brought
    /// to length 1.
    pub fn encode(&self, vectors: &[f32]) -> Result<Vec<f32>> {
        let CodecConfig { dims, bits, .. } = self.config;
        if !vectors.len().is_multiple_of(dims) {
            let reason = format!("{} numbers are no vectors of {dims}", vectors.len());
            return Err(Error::Vectors { reason });
        }
        let mut scaled = vectors.to_vec();
        prepare_rows(&mut scaled, &self.config, |row| row)?;
        let mut values = vec![0.0; vectors.len() / dims * bits];
        match &self.inference {
            Some(inference) => inference.run_values(&scaled, &mut values),
            None => {
                let rows = values.chunks_exact_mut(bits).zip(scaled.chunks_exact(dims));
                rows.for_each(|(values, vector)| values.copy_from_slice(&vector[..bits]));
            }
        }
        Ok(values)
    }

    /// Writes `codec.safetensors`, which appears under its name only when it is complete.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, path: &Path) -> Result<()> {
        checkpoint::write(&self.contents()?, path)?;
        Ok(())
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// As [`checkpoint::read`]; and [`Error::Checkpoint`] where the file is no codec.
    pub fn load(path: &Path) -> Result<Self> {
        let (contents, _) = checkpoint::read(path)?;
        Self::from_contents(contents)
            .map_err(|reason| Error::Checkpoint { path: path.to_owned(), reason })
    }

    /// Of what [`Self::contents`] made, which may have other things beside it; or why it is none.
    pub(crate) fn from_contents(contents: Contents) -> std::result::Result<Self, String> {
        let Some(config) = contents.metadata.get(CONFIG_KEY) else {
            return Err("it is no codec: `dhih-train codec` makes one".to_owned());
        };
        let config: CodecConfig =
            serde_json::from_str(config).map_err(|error| error.to_string())?;
        let map = Map::of_tensors(&config, contents.tensors)?;
        Self::new(config, map).map_err(|error| error.to_string())
    }

    pub(crate) fn contents(&self) -> Result<Contents> {
        let text = serde_json::to_string(&self.config)
            .map_err(|error| Error::Vectors { reason: error.to_string() })?;
        let tensors = self.map.tensors(&self.config)?;
        Ok(Contents { tensors, metadata: [(CONFIG_KEY.to_owned(), text)].into() })
    }
}

#[cfg(test)]
mod tests;
