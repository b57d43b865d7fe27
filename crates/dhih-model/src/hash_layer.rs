//! The hash layer: features to K real values whose signs are the code.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::layer::{Layer, Linear, Mode, Sequential};
use crate::ops::{Activation, BatchNorm};

/// The last layer of the hash layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashNorm {
    /// Its linear layer is the last.
    #[default]
    None,
    /// Batch norm follows the linear layer, so that each bit is set for about half of the training images.
    Batch,
}

/// The form of the hash layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashLayerConfig {
    /// Whether batch norm of the features comes first. In a file, a missing value means that it does not.
    #[serde(default)]
    pub feature_norm: bool,
    /// Units of a hidden layer with ReLU before the outputs; no hidden layer by default.
    pub hidden: Option<usize>,
    /// The last layer.
    pub norm: HashNorm,
}

impl HashLayerConfig {
    /// Whether there is batch norm, which in training needs the statistics of several images.
    pub fn has_norm(&self) -> bool {
        self.feature_norm || self.norm == HashNorm::Batch
    }
}

/// A linear layer with K outputs. Optionally batch norm of the features and a hidden layer come before it, and batch norm behind it. Relaxation
/// (tanh and the like) belongs to the loss.
#[derive(Debug, Clone)]
pub struct HashLayer(Sequential);

impl HashLayer {
    /// Builds the layer. The parameters are named `weight` `[bits, features]` and `bias` `[bits]` under `vb`; those of a hidden layer are under
    /// `hidden`, those of batch norm under `norm`, those of the batch norm of features under `feature_norm`. Initial weights of linear layers
    /// are uniform in +-1/sqrt(inputs).
    ///
    /// # Errors
    /// Those of the variable store.
    pub fn new(
        features: usize,
        bits: usize,
        config: HashLayerConfig,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let mut layers = Vec::new();
        let mut inputs = features;
        let norm = |channels, name| BatchNorm::new(channels, Activation::Identity, vb.pp(name));
        if config.feature_norm {
            layers.push(Layer::Norm(norm(features, "feature_norm")?));
        }
        if let Some(units) = config.hidden {
            layers.push(linear((features, units), Activation::Relu, &vb.pp("hidden"))?);
            inputs = units;
        }
        layers.push(linear((inputs, bits), Activation::Identity, &vb)?);
        if config.norm == HashNorm::Batch {
            layers.push(Layer::Norm(norm(bits, "norm")?));
        }
        Ok(Self(Sequential(layers)))
    }

    /// # Shapes
    /// `x`: `[n, features]`; returns `v`, `[n, bits]`.
    ///
    /// # Errors
    /// When `x` has another shape.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.0.forward(x, mode)
    }

    /// The layers that it is made of.
    pub fn layers(&self) -> &Sequential {
        &self.0
    }
}

fn linear(
    (inputs, outputs): (usize, usize),
    activation: Activation,
    vb: &VarBuilder<'_>,
) -> Result<Layer> {
    let bound = 1.0 / (inputs as f64).sqrt();
    let init = Init::Uniform { lo: -bound, up: bound };
    let weight = vb.get_with_hints((outputs, inputs), "weight", init)?;
    let bias = Some(vb.get_with_hints(outputs, "bias", init)?);
    Ok(Layer::Linear(Linear { weight, bias, activation }))
}
