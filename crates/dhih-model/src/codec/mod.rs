//! Codecs turn existing vectors, such as embeddings, into codes. A codec is a map whose signs are the bits. It is fitted to vectors by [`fit`],
//! or it is a hash layer that was trained on labels of vectors or on two views of them. In `encode`, the service and the Python package it takes
//! the place of a network. `map.rs` says what the map is and how it is stored.

mod fit;
mod itq;
mod linear_algebra;
mod map;
mod rows;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::fit::{FitConfig, fit};
pub use self::map::Map;
pub use self::rows::{Rows, prepare_rows};
use crate::checkpoint::{self, Contents};
use crate::error::{Error, Result};
use crate::hash_layer::HashLayer;
use crate::inference::Inference;

/// The longest code of a codec, in bits.
pub const MAX_CODEC_BITS: usize = 4096;
const CONFIG_KEY: &str = "dhih.codec";

/// How the map of a codec is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The first values of the vector; nothing is fitted.
    Sign,
    /// The principal components: the directions in which the vectors vary most.
    PcaSign,
    /// Random orthogonal directions.
    Rotation,
    /// Principal components, rotated so that quantising to signs loses as little as possible: iterative quantisation (Gong and Lazebnik, CVPR
    /// 2011).
    Itq,
    /// A hash layer that was trained on labels, or on two views of each vector.
    Head,
}

impl Method {
    /// All methods: name, method, and one line on each.
    pub const ALL: [(&str, Self, &str); 5] = [
        ("sign", Self::Sign, "signs of the first values"),
        ("pca-sign", Self::PcaSign, "signs of the principal components"),
        ("rotation", Self::Rotation, "signs behind a random rotation about the mean"),
        (
            "itq",
            Self::Itq,
            "principal components, turned towards their signs (Gong and Lazebnik, 2011)",
        ),
        (
            "head",
            Self::Head,
            "a hash layer that is trained, on labels or on two views of each vector",
        ),
    ];

    /// The method of this name; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, ..)| *known == name).map(|(_, method, _)| method)
    }

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, method, _)| *method == self).map_or("", |(name, ..)| name)
    }

    /// Whether it is trained, and vectors alone are not enough.
    pub fn is_trained(self) -> bool {
        self == Self::Head
    }
}

/// What defines a codec, except the numbers of its map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodecConfig {
    /// How its map was found.
    pub method: Method,
    /// The length of a vector.
    pub dims: usize,
    /// Code length in bits.
    pub bits: usize,
    /// Whether vectors are normalised to length 1 first, so that their length does not matter.
    pub normalize: bool,
    /// Shorter code lengths in bits, ascending, whose first bits are codes of their own: see [`Codec::shortened`]. Older files have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nested: Vec<usize>,
}

impl CodecConfig {
    /// Checks that such a codec can exist.
    ///
    /// # Errors
    /// [`Error::Config`] names the value that is out of range.
    pub fn check(&self) -> Result<()> {
        let Self { dims, bits, nested, .. } = self;
        if *dims == 0 || *dims > MAX_DIMS {
            let expected = format!("1 to {MAX_DIMS}");
            return Err(Error::Config { name: "dims", got: dims.to_string(), expected });
        }
        // A trained layer may have more outputs than the vector has dimensions.
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

/// The longest vector. While a codec is fitted, a matrix of covariances of that size is in memory.
const MAX_DIMS: usize = 1 << 14;

/// Encodes vectors as codes. Threads may share it.
pub struct Codec {
    config: CodecConfig,
    map: Map,
    inference: Option<Inference>,
    sha256: String,
}

impl Codec {
    /// A codec with the given map.
    ///
    /// # Errors
    /// [`Error::Config`] where the configuration is out of range, or the map has other sizes or a number that is not finite.
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

    /// A codec of a hash layer with its current weights in evaluation, for vectors as [`prepare_rows`] returns them.
    ///
    /// # Errors
    /// As [`Self::new`], and [`Error::Config`] where the layer does not fit the configuration.
    pub fn of_hash_layer(config: CodecConfig, layer: &HashLayer) -> Result<Self> {
        Self::new(config, Map::of_hash_layer(layer)?)
    }

    /// The codec of the first `bits` bits. [`CodecConfig::nested`] must list this length. Its codes are the beginnings of the codes of this
    /// codec.
    ///
    /// # Errors
    /// [`Error::Config`] names the lengths that are available.
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

    /// What defines it, except the numbers of its map.
    pub fn config(&self) -> &CodecConfig {
        &self.config
    }

    /// Code length in bits.
    pub fn bits(&self) -> usize {
        self.config.bits
    }

    /// The length of a vector.
    pub fn dims(&self) -> usize {
        self.config.dims
    }

    /// SHA-256 of its content, in hex. It is stored with the codes, so that codes of two codecs are never mixed.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The map from vectors to values.
    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    /// The map as a linear layer: weights `[bits, dims]`, row-major, and biases `[bits]`, applied to normalised vectors where the codec
    /// normalises. `None` where the map has a hidden layer.
    pub fn affine(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        self.map.affine(&self.config)
    }

    /// Computes the real values behind the codes of vectors. Their signs are the bits; the sign of 0 is +1. The values of a vector do not depend
    /// on the other vectors, to the last bit.
    ///
    /// # Shapes
    /// `vectors`: `[n, dims]`; returns `[n, bits]`, row-major.
    ///
    /// # Errors
    /// [`Error::Vectors`] where the length is not a multiple of `dims`, a number is not finite, or a vector must be normalised and is all zeros.
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
    /// As [`checkpoint::read`], and [`Error::Checkpoint`] where the file is not a codec.
    pub fn load(path: &Path) -> Result<Self> {
        let (contents, _) = checkpoint::read(path)?;
        Self::from_contents(contents)
            .map_err(|reason| Error::Checkpoint { path: path.to_owned(), reason })
    }

    /// Restores what [`Self::contents`] made; further tensors are ignored. The error says what is wrong.
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
