//! The hash layer: features to K real values whose signs are the code.

use candle_core::{ModuleT, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::layer::Linear;
use crate::ops::{Activation, BatchNorm};

/// What the hash layer ends in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashNorm {
    /// Its linear layer.
    #[default]
    None,
    /// Batch norm: each bit is set for about half of the training images.
    Batch,
}

/// The form of the hash layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashLayerConfig {
    /// Units of a hidden layer with ReLU before the outputs; none by default.
    pub hidden: Option<usize>,
    /// What it ends in.
    pub norm: HashNorm,
}

/// A linear layer with K outputs, optionally with a hidden layer before and batch norm behind. Relaxation (tanh and the like) is
/// the loss's business.
#[derive(Debug, Clone)]
pub struct HashLayer {
    hidden: Option<Linear>,
    linear: Linear,
    norm: Option<BatchNorm>,
}

impl HashLayer {
    /// Names `weight` `[bits, features]` and `bias` `[bits]` under `vb`; those of a hidden layer under `hidden`, those of batch
    /// norm under `norm`. Linear layers start uniform in +-1/sqrt(inputs).
    ///
    /// # Errors
    /// Those of the variable store.
    pub fn new(
        features: usize,
        bits: usize,
        config: HashLayerConfig,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let hidden = config
            .hidden
            .map(|units| linear((features, units), Activation::Relu, &vb.pp("hidden")));
        let norm = match config.norm {
            HashNorm::None => None,
            HashNorm::Batch => Some(BatchNorm::new(bits, Activation::Identity, vb.pp("norm"))?),
        };
        let inputs = config.hidden.unwrap_or(features);
        let linear = linear((inputs, bits), Activation::Identity, &vb)?;
        Ok(Self { hidden: hidden.transpose()?, linear, norm })
    }
}

fn linear(
    (inputs, outputs): (usize, usize),
    activation: Activation,
    vb: &VarBuilder<'_>,
) -> Result<Linear> {
    let bound = 1.0 / (inputs as f64).sqrt();
    let init = Init::Uniform { lo: -bound, up: bound };
    let weight = vb.get_with_hints((outputs, inputs), "weight", init)?;
    let bias = Some(vb.get_with_hints(outputs, "bias", init)?);
    Ok(Linear { weight, bias, activation })
}

impl ModuleT for HashLayer {
    /// # Shapes
    /// `[n, features]` to `v`, `[n, bits]`.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let v = match &self.hidden {
            Some(hidden) => self.linear.forward(&hidden.forward(x)?)?,
            None => self.linear.forward(x)?,
        };
        match &self.norm {
            Some(norm) => norm.forward_t(&v, train),
            None => Ok(v),
        }
    }
}
