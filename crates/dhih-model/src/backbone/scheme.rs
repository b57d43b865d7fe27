//! The schemes by which the families initialise their weights, and builders of layers with such weights.

use candle_core::Result;
use candle_nn::{Init, VarBuilder};

use crate::layer::{Layer, Linear};
use crate::ops::{Activation, BatchNorm, Conv2d, Conv2dConfig, LayerNorm, Padding, Unary};

/// A rule for initial weights from the numbers of inputs and outputs of a neuron. Biases begin at 0, except with [`Self::Torch`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Scheme {
    /// He et al. (2015): convolutions are normal with variance `2 / outputs`, linear layers are normal with deviation 0.01.
    He,
    /// He et al. (2015): uniform with variance `2 / inputs`.
    HeUniform,
    /// PyTorch's default: weights and biases are uniform in `+-1 / sqrt(inputs)`.
    Torch,
    /// Glorot and Bengio (2010) as implemented in Caffe: uniform with variance `1 / inputs`.
    Xavier,
}

impl Scheme {
    /// A linear layer with ReLU. The parameters are named `weight` and `bias`.
    pub(super) fn linear(
        self,
        (inputs, outputs): (usize, usize),
        vb: VarBuilder<'_>,
    ) -> Result<Layer> {
        let weight = match self {
            Self::He => Init::Randn { mean: 0.0, stdev: 0.01 },
            _ => self.uniform(inputs),
        };
        Ok(Layer::Linear(Linear {
            weight: vb.get_with_hints((outputs, inputs), "weight", weight)?,
            bias: Some(vb.get_with_hints(outputs, "bias", self.bias(inputs))?),
            activation: Activation::Relu,
        }))
    }

    fn conv(self, inputs: usize, outputs: usize) -> Init {
        match self {
            Self::He => Init::Randn { mean: 0.0, stdev: (2.0 / outputs as f64).sqrt() },
            _ => self.uniform(inputs),
        }
    }

    fn bias(self, inputs: usize) -> Init {
        match self {
            Self::Torch => self.uniform(inputs),
            _ => Init::Const(0.0),
        }
    }

    fn uniform(self, inputs: usize) -> Init {
        let squared = match self {
            Self::He | Self::HeUniform => 6.0,
            Self::Torch => 1.0,
            Self::Xavier => 3.0,
        };
        let bound = (squared / inputs as f64).sqrt();
        Init::Uniform { lo: -bound, up: bound }
    }
}

/// A convolution to be built. At first it has no bias and no activation, because batch norm usually follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conv {
    channels: (usize, usize),
    kernel: usize,
    config: Conv2dConfig,
    bias: bool,
    activation: Activation,
}

impl Conv {
    /// A convolution between so many input and output channels, with a square kernel, stride 1 and the padding that keeps the size.
    pub(super) fn new(channels: (usize, usize), kernel: usize) -> Self {
        let config = Conv2dConfig { padding: Padding::Each(kernel / 2), ..Default::default() };
        Self { channels, kernel, config, bias: false, activation: Activation::Identity }
    }

    /// Sets the stride, in pixels.
    pub(super) fn stride(mut self, stride: usize) -> Self {
        self.config.stride = stride;
        self
    }

    /// Sets the padding, in pixels.
    pub(super) fn padding(mut self, padding: usize) -> Self {
        self.config.padding = Padding::Each(padding);
        self
    }

    /// Sets [`Padding::Same`].
    pub(super) fn same(mut self) -> Self {
        self.config.padding = Padding::Same;
        self
    }

    /// Makes it depthwise: each channel is convolved on its own.
    pub(super) fn depthwise(mut self) -> Self {
        self.config.groups = self.channels.0;
        self
    }

    /// Adds a bias, and an activation behind it.
    pub(super) fn biased(mut self, activation: Activation) -> Self {
        (self.bias, self.activation) = (true, activation);
        self
    }

    /// Builds the layer. The parameters are named `weight` and, where there is a bias, `bias`.
    pub(super) fn build(self, scheme: Scheme, vb: VarBuilder<'_>) -> Result<Layer> {
        let Self { channels: (channels, out), kernel, config, bias, activation } = self;
        let per_group = channels / config.groups;
        let (inputs, outputs) = (per_group * kernel * kernel, out * kernel * kernel);
        let shape = (out, per_group, kernel, kernel);
        let weight = vb.get_with_hints(shape, "weight", scheme.conv(inputs, outputs))?;
        let bias = bias.then(|| vb.get_with_hints(out, "bias", scheme.bias(inputs)));
        Ok(Layer::Conv(Conv2d { weight, bias: bias.transpose()?, config, activation }))
    }
}

/// Batch norm with its activation. The parameters are named `weight`, `bias`, `running_mean` and `running_var`.
pub(super) fn norm(channels: usize, activation: Activation, vb: VarBuilder<'_>) -> Result<Layer> {
    Ok(Layer::Norm(BatchNorm::new(channels, activation, vb)?))
}

/// Layer norm of each pixel or token. The parameters are named `weight` and `bias`.
pub(crate) fn layer_norm(channels: usize, eps: f64, vb: VarBuilder<'_>) -> Result<Layer> {
    let weight = vb.get_with_hints(channels, "weight", Init::Const(1.0))?;
    let bias = vb.get_with_hints(channels, "bias", Init::Const(0.0))?;
    Ok(Layer::Unary(Unary::LayerNorm(LayerNorm { weight, bias, eps })))
}

/// A linear layer on each pixel or token. The parameters are `weight` `[out, in]`, initialised as in transformers (normal with deviation 0.02),
/// and `bias`.
pub(crate) fn token_linear(
    (inputs, outputs): (usize, usize),
    activation: Activation,
    vb: VarBuilder<'_>,
) -> Result<Layer> {
    let drawn = Init::Randn { mean: 0.0, stdev: 0.02 };
    let weight = vb.get_with_hints((outputs, inputs), "weight", drawn)?;
    let bias = Some(vb.get_with_hints(outputs, "bias", Init::Const(0.0))?);
    Ok(Layer::Conv(Conv2d { weight, bias, config: Conv2dConfig::default(), activation }))
}
