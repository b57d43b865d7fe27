//! The map of a codec, from a vector to values: the first values, a linear map around a centre, or the layers of a trained hash layer. Also the
//! tensors that it is stored as; `mod.rs` reads and writes the file.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor};

use super::{CodecConfig, Method};
use crate::error::{Error, Result};
use crate::hash_layer::HashLayer;
use crate::layer::{Layer, Linear, Sequential};
use crate::ops::Activation;

const MATRIX: &str = "matrix";
const CENTRE: &str = "centre";
/// The names of the layers of a trained hash layer. Each has a weight `[outputs, inputs]` and a bias `[outputs]`.
const HIDDEN: &str = "hidden";
const OUTPUTS: &str = "outputs";

/// A map from a vector of `dims` numbers to the `bits` values whose signs are the code.
#[derive(Debug, Clone)]
pub enum Map {
    /// The first values of the vector.
    FirstValues,
    /// The product `matrix (x - centre)`.
    Linear {
        /// The matrix, `[bits, dims]`, row-major.
        matrix: Vec<f32>,
        /// The centre, `[dims]`.
        centre: Vec<f32>,
    },
    /// The layers of a hash layer: one linear layer, or a hidden layer with ReLU and a linear layer.
    Head(HeadLayers),
}

/// The layers of a trained hash layer, with batch norm folded into them.
#[derive(Debug, Clone)]
pub struct HeadLayers {
    hidden: Option<Linear>,
    outputs: Linear,
}

impl HeadLayers {
    /// The layers in their order, each with the prefix of its tensors' names.
    fn named(&self) -> impl Iterator<Item = (&'static str, &Linear)> {
        self.hidden.iter().map(|layer| (HIDDEN, layer)).chain([(OUTPUTS, &self.outputs)])
    }
}

impl Map {
    /// The layers of a hash layer in evaluation.
    pub(super) fn of_hash_layer(layer: &HashLayer) -> Result<Self> {
        let mut linear = Vec::new();
        for layer in layer.layers().folded()?.0 {
            match layer {
                Layer::Linear(layer) => linear.push(layer),
                other => return Err(wrong("hash_layer", format!("{other:?}"), "linear layers")),
            }
        }
        let hidden = (linear.len() == 2).then(|| linear.remove(0));
        match linear.pop() {
            Some(outputs) if linear.is_empty() => Ok(Self::Head(HeadLayers { hidden, outputs })),
            _ => Err(wrong("hash_layer", "other layers".to_owned(), "one hidden layer at most")),
        }
    }

    /// Checks that it maps vectors of `config` to codes of `config`.
    pub(super) fn check(&self, config: &CodecConfig) -> Result<()> {
        let CodecConfig { dims, bits, .. } = *config;
        let is_finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let count = |name, got: usize, expected: usize| match got == expected {
            true => Ok(()),
            false => Err(wrong(name, format!("{got} numbers"), &expected.to_string())),
        };
        let not_finite = || Err(wrong(MATRIX, "NaN or an infinity".to_owned(), "finite numbers"));
        match self {
            Self::FirstValues => Ok(()),
            Self::Linear { matrix, centre } => {
                count(CENTRE, centre.len(), dims)?;
                count(MATRIX, matrix.len(), bits * dims)?;
                if is_finite(matrix) && is_finite(centre) { Ok(()) } else { not_finite() }
            }
            Self::Head(head) => {
                let mut inputs = dims;
                for (name, layer) in head.named() {
                    let (units, of_weight) = layer.weight.dims2()?;
                    count(name, of_weight, inputs)?;
                    for tensor in [Some(&layer.weight), layer.bias.as_ref()].into_iter().flatten() {
                        if !is_finite(&tensor.flatten_all()?.to_vec1::<f32>()?) {
                            return not_finite();
                        }
                    }
                    inputs = units;
                }
                count(OUTPUTS, inputs, bits)
            }
        }
    }

    /// The map to the first values alone, for a configuration with fewer bits.
    pub(super) fn shortened(&self, config: &CodecConfig) -> Result<Self> {
        let CodecConfig { dims, bits, .. } = *config;
        Ok(match self {
            Self::FirstValues => Self::FirstValues,
            Self::Linear { matrix, centre } => {
                Self::Linear { matrix: matrix[..bits * dims].to_vec(), centre: centre.clone() }
            }
            Self::Head(HeadLayers { hidden, outputs }) => {
                let first = |tensor: &Tensor| tensor.narrow(0, 0, bits)?.contiguous();
                let outputs = Linear {
                    weight: first(&outputs.weight)?,
                    bias: outputs.bias.as_ref().map(first).transpose()?,
                    activation: outputs.activation,
                };
                Self::Head(HeadLayers { hidden: hidden.clone(), outputs })
            }
        })
    }

    /// The map as a weight `[bits, dims]` and a bias `[bits]`, row-major; `None` where it has a hidden layer.
    pub(super) fn affine(&self, config: &CodecConfig) -> Option<(Vec<f32>, Vec<f32>)> {
        let CodecConfig { dims, bits, .. } = *config;
        match self {
            Self::FirstValues => {
                let weight = (0..bits * dims).map(|i| if i / dims == i % dims { 1.0 } else { 0.0 });
                Some((weight.collect(), vec![0.0; bits]))
            }
            Self::Linear { matrix, centre } => {
                // (x - centre) M^T = x M^T - M centre
                let moved = |row: &[f32]| {
                    let products =
                        row.iter().zip(centre).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    -products.sum::<f64>() as f32
                };
                Some((matrix.clone(), matrix.chunks_exact(dims).map(moved).collect()))
            }
            Self::Head(HeadLayers { hidden: Some(_), .. }) => None,
            Self::Head(HeadLayers { hidden: None, outputs }) => {
                let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
                let bias = outputs.bias.as_ref().map_or(Ok(vec![0.0; bits]), values);
                values(&outputs.weight).ok().zip(bias.ok())
            }
        }
    }

    /// The map as layers; `None` where it takes the first values as they are.
    pub(super) fn layers(&self, config: &CodecConfig) -> Result<Option<Sequential>> {
        let CodecConfig { dims, bits, .. } = *config;
        Ok(match self {
            Self::FirstValues => None,
            Self::Linear { .. } => self.affine(config).map_or(Ok(None), |(weight, bias)| {
                let weight = Tensor::from_vec(weight, (bits, dims), &Device::Cpu)?;
                let bias = Some(Tensor::from_vec(bias, bits, &Device::Cpu)?);
                let layer = Linear { weight, bias, activation: Activation::Identity };
                Ok::<_, Error>(Some(Sequential(vec![Layer::Linear(layer)])))
            })?,
            Self::Head(head) => {
                let layers = head.named().map(|(_, layer)| Layer::Linear(layer.clone()));
                Some(Sequential(layers.collect()))
            }
        })
    }

    /// Its tensors, by the names that they have in files.
    pub(super) fn tensors(&self, config: &CodecConfig) -> Result<BTreeMap<String, Tensor>> {
        let CodecConfig { dims, bits, .. } = *config;
        let named = |name: &str, tensor: Tensor| (name.to_owned(), tensor);
        Ok(match self {
            Self::FirstValues => {
                [named(CENTRE, Tensor::zeros(dims, DType::F32, &Device::Cpu)?)].into()
            }
            Self::Linear { matrix, centre } => [
                named(CENTRE, Tensor::from_slice(centre, dims, &Device::Cpu)?),
                named(MATRIX, Tensor::from_slice(matrix, (bits, dims), &Device::Cpu)?),
            ]
            .into(),
            Self::Head(head) => {
                let mut tensors = BTreeMap::new();
                for (name, layer) in head.named() {
                    let bias = match &layer.bias {
                        Some(bias) => bias.clone(),
                        None => layer.weight.zeros_like()?.sum(D::Minus1)?,
                    };
                    tensors.insert(format!("{name}.weight"), layer.weight.clone());
                    tensors.insert(format!("{name}.bias"), bias);
                }
                tensors
            }
        })
    }

    /// Restores what [`Self::tensors`] returned. The error says what is wrong.
    pub(super) fn of_tensors(
        config: &CodecConfig,
        tensors: BTreeMap<String, Tensor>,
    ) -> std::result::Result<Self, String> {
        let tensor = |name: &str| -> std::result::Result<Tensor, String> {
            let tensor = tensors.get(name).ok_or_else(|| format!("it has no {name}"))?;
            tensor.to_dtype(DType::F32).map_err(|error| error.to_string())
        };
        let values = |name: &str| {
            let values = tensor(name)?.flatten_all().and_then(|tensor| tensor.to_vec1::<f32>());
            values.map_err(|error| error.to_string())
        };
        let layer = |name: &str, activation| -> std::result::Result<Linear, String> {
            let (weight, bias) =
                (tensor(&format!("{name}.weight"))?, tensor(&format!("{name}.bias"))?);
            let fits = weight.dims2().is_ok_and(|(units, _)| bias.dims() == [units]);
            if !fits {
                let (weight, bias) = (weight.dims(), bias.dims());
                return Err(format!("its {name} has the shapes {weight:?} and {bias:?}"));
            }
            Ok(Linear { weight, bias: Some(bias), activation })
        };
        match config.method {
            Method::Sign => Ok(Self::FirstValues),
            Method::Head => {
                let has_hidden = tensors.contains_key(&format!("{HIDDEN}.weight"));
                let hidden = has_hidden.then(|| layer(HIDDEN, Activation::Relu)).transpose()?;
                Ok(Self::Head(HeadLayers {
                    hidden,
                    outputs: layer(OUTPUTS, Activation::Identity)?,
                }))
            }
            Method::PcaSign | Method::Rotation | Method::Itq => {
                Ok(Self::Linear { matrix: values(MATRIX)?, centre: values(CENTRE)? })
            }
        }
    }
}

fn wrong(name: &'static str, got: String, expected: &str) -> Error {
    Error::Config { name, got, expected: expected.to_owned() }
}
