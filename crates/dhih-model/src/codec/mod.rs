//! Codecs: from vectors that somebody has already, such as embeddings, to codes. A codec is a linear map whose signs are the bits, with what
//! comes before it; it is fitted to vectors in [`fit`], and takes the place of a network in `encode`, the service and the wheel.

mod fit;
mod linear_algebra;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

pub use self::fit::{FitConfig, Rows, fit};
use crate::checkpoint::{self, Contents};
use crate::error::{Error, Result};
use crate::inference::Inference;
use crate::layer::{Layer, Linear, Sequential};
use crate::ops::Activation;

/// The longest code of a codec, in bits.
pub const MAX_CODEC_BITS: usize = 4096;
const CONFIG_KEY: &str = "dhih.codec";
const MATRIX: &str = "matrix";
const CENTRE: &str = "centre";

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
}

impl Method {
    /// All, with one line on each.
    pub const ALL: [(&str, Self, &str); 4] = [
        ("sign", Self::Sign, "signs of the first values"),
        ("pca-sign", Self::PcaSign, "signs of the principal components"),
        ("rotation", Self::Rotation, "signs behind a random rotation about the mean"),
        (
            "itq",
            Self::Itq,
            "principal components, turned towards their signs (Gong and Lazebnik, 2011)",
        ),
    ];

    /// The method of that name; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, ..)| *known == name).map(|(_, method, _)| method)
    }

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, method, _)| *method == self).map_or("", |(name, ..)| name)
    }

    /// Whether vectors have to be looked at to find it.
    pub fn is_fitted(self) -> bool {
        self != Self::Sign
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
}

impl CodecConfig {
    /// Checks that there can be such a codec.
    ///
    /// # Errors
    /// [`Error::Config`] names what is out of range.
    pub fn check(&self) -> Result<()> {
        let Self { dims, bits, .. } = self;
        if *dims == 0 || *dims > MAX_DIMS {
            let expected = format!("1 to {MAX_DIMS}");
            return Err(Error::Config { name: "dims", got: dims.to_string(), expected });
        }
        let most = MAX_CODEC_BITS.min(*dims);
        if *bits == 0 || *bits > most {
            let expected = format!("1 to {most}, for vectors of {dims} numbers");
            return Err(Error::Config { name: "bits", got: bits.to_string(), expected });
        }
        Ok(())
    }
}

/// The most numbers of a vector: a matrix of their covariances is in memory while a codec is fitted.
const MAX_DIMS: usize = 1 << 14;

/// Vectors to codes. Threads may share it.
pub struct Codec {
    config: CodecConfig,
    /// `[bits, dims]`; absent where the first values are taken as they are.
    matrix: Option<Vec<f32>>,
    /// `[dims]`: taken off vectors before the map.
    centre: Vec<f32>,
    inference: Option<Inference>,
    sha256: String,
}

impl Codec {
    /// Of its numbers.
    ///
    /// # Shapes
    /// `matrix`: `[bits, dims]`, none where the first values are taken; `centre`: `[dims]`.
    ///
    /// # Errors
    /// [`Error::Config`] where the configuration is out of range, or the numbers are not as many or not finite.
    pub fn new(config: CodecConfig, matrix: Option<Vec<f32>>, centre: Vec<f32>) -> Result<Self> {
        config.check()?;
        let CodecConfig { dims, bits, .. } = config;
        let wrong = |name, got: usize, expected: usize| {
            let (got, expected) = (format!("{got} numbers"), expected.to_string());
            Err(Error::Config { name, got, expected })
        };
        if centre.len() != dims {
            return wrong(CENTRE, centre.len(), dims);
        }
        if matrix.as_ref().is_some_and(|matrix| matrix.len() != bits * dims) {
            return wrong(MATRIX, matrix.map_or(0, |matrix| matrix.len()), bits * dims);
        }
        if matrix.iter().flatten().chain(&centre).any(|value| !value.is_finite()) {
            let (got, expected) = ("NaN or an infinity".to_owned(), "finite numbers".to_owned());
            return Err(Error::Config { name: MATRIX, got, expected });
        }
        let mut codec = Self { config, matrix, centre, inference: None, sha256: String::new() };
        if codec.matrix.is_some() {
            let (weight, bias) = codec.affine();
            let linear = Linear {
                weight: Tensor::from_vec(weight, (bits, dims), &Device::Cpu)?,
                bias: Some(Tensor::from_vec(bias, bits, &Device::Cpu)?),
                activation: Activation::Identity,
            };
            let layers = Sequential(vec![Layer::Linear(linear)]);
            codec.inference = Some(Inference::of_vectors(&layers, dims)?);
        }
        codec.sha256 = checkpoint::digest(&codec.contents()?)?;
        Ok(codec)
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

    /// The directions, `[bits, dims]`, row-major; none where the first values are taken as they are.
    pub(crate) fn matrix(&self) -> Option<&[f32]> {
        self.matrix.as_deref()
    }

    /// The map as a linear layer: weights `[bits, dims]`, row-major, and biases `[bits]`. Where vectors are brought to length 1, it is of
    /// those.
    pub fn affine(&self) -> (Vec<f32>, Vec<f32>) {
        let CodecConfig { dims, bits, .. } = self.config;
        let Some(matrix) = &self.matrix else {
            let weight = (0..bits * dims).map(|i| if i / dims == i % dims { 1.0 } else { 0.0 });
            return (weight.collect(), self.centre[..bits].iter().map(|x| -x).collect());
        };
        // (x - centre) M^T = x M^T - M centre
        let moved = |row: &[f32]| {
            let sum = row.iter().zip(&self.centre).map(|(a, b)| f64::from(*a) * f64::from(*b));
            -sum.sum::<f64>() as f32
        };
        (matrix.clone(), matrix.chunks_exact(dims).map(moved).collect())
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
        let CodecConfig { dims, bits, normalize, .. } = self.config;
        if !vectors.len().is_multiple_of(dims) {
            let reason = format!("{} numbers are no vectors of {dims}", vectors.len());
            return Err(Error::Vectors { reason });
        }
        let mut scaled = vectors.to_vec();
        for (row, vector) in scaled.chunks_exact_mut(dims).enumerate() {
            prepare(vector, normalize)
                .map_err(|reason| Error::Vectors { reason: format!("vector {row} {reason}") })?;
        }
        let n = vectors.len() / dims;
        let mut values = vec![0.0; n * bits];
        match &self.inference {
            Some(inference) => inference.run_values(&scaled, &mut values),
            None => {
                let rows = values.chunks_exact_mut(bits).zip(scaled.chunks_exact(dims));
                rows.for_each(|(values, vector)| {
                    let centred = vector.iter().zip(&self.centre).map(|(x, centre)| x - centre);
                    values.iter_mut().zip(centred).for_each(|(value, x)| *value = x);
                });
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
        Self::from_contents(&contents)
            .map_err(|reason| Error::Checkpoint { path: path.to_owned(), reason })
    }

    /// Of what [`Self::contents`] made, which may have other things beside it; or why it is none.
    pub(crate) fn from_contents(contents: &Contents) -> std::result::Result<Self, String> {
        let Some(config) = contents.metadata.get(CONFIG_KEY) else {
            return Err("it is no codec: `dhih-train codec` makes one".to_owned());
        };
        let config: CodecConfig =
            serde_json::from_str(config).map_err(|error| error.to_string())?;
        let values = |name: &str| -> Result<Option<Vec<f32>>> {
            let Some(tensor) = contents.tensors.get(name) else { return Ok(None) };
            Ok(Some(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?))
        };
        let values = |name: &str| values(name).map_err(|error| error.to_string());
        let centre = values(CENTRE)?.ok_or("it has no centre")?;
        let matrix = values(MATRIX)?;
        if matrix.is_none() && config.method.is_fitted() {
            return Err("it has no matrix".to_owned());
        }
        Self::new(config, matrix, centre).map_err(|error| error.to_string())
    }

    pub(crate) fn contents(&self) -> Result<Contents> {
        let Self { config, matrix, centre, .. } = self;
        let text = serde_json::to_string(config)
            .map_err(|error| Error::Vectors { reason: error.to_string() })?;
        let mut tensors = BTreeMap::new();
        let mut insert = |name: &str, values: &[f32], shape: &[usize]| -> Result<()> {
            tensors.insert(name.to_owned(), Tensor::from_slice(values, shape, &Device::Cpu)?);
            Ok(())
        };
        insert(CENTRE, centre, &[config.dims])?;
        if let Some(matrix) = matrix {
            insert(MATRIX, matrix, &[config.bits, config.dims])?;
        }
        Ok(Contents { tensors, metadata: [(CONFIG_KEY.to_owned(), text)].into() })
    }
}

/// Brings a vector to length 1 where it is to be; else why it cannot be used.
fn prepare(vector: &mut [f32], normalize: bool) -> std::result::Result<(), &'static str> {
    let square: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    if !square.is_finite() {
        return Err("has a number that is not finite");
    }
    if normalize {
        if square == 0.0 {
            return Err("has only zeros, and so no direction");
        }
        let scale = (1.0 / square.sqrt()) as f32;
        vector.iter_mut().for_each(|x| *x *= scale);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
