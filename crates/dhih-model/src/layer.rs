//! Networks as data: a [`Sequential`] describes what is computed, and interpreters over it do the rest: forward and the
//! shape of the output here. How the families of backbones are made of layers is in [`crate::backbone`], the arithmetic in
//! [`crate::ops`].

use candle_core::{DType, Result, Tensor, bail};
use rand::RngCore;

use crate::image::{Fit, InputShape};
use crate::init::named_rng;
use crate::ops::{
    self, Activation, BatchNorm, Conv2d, ConvNorm, POOL, Pool2dConfig, Unary, adaptive_avg_pool2d,
    avg_pool2d, filters, max_pool2d,
};

/// What a forward pass is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Values depend on the image alone.
    Evaluation,
    /// Batch norm takes the batch's statistics and dropout drops.
    Training {
        /// What the masks of this step are drawn from: same seed, same masks.
        seed: u64,
        /// The share of the batch in the running statistics of batch norm, above 0, at most 1.
        norm_momentum: f64,
    },
}

impl Mode {
    /// Training, at a step of a run with a seed: the masks of each step are its own, also after the run was resumed.
    pub fn training_step(run_seed: u64, step: usize) -> Self {
        let seed = named_rng(run_seed, &format!("step {step}")).next_u64();
        Self::Training { seed, norm_momentum: BatchNorm::MOMENTUM }
    }

    /// The same with another share of the batch in the running statistics of batch norm.
    pub fn with_norm_momentum(self, norm_momentum: f64) -> Self {
        match self {
            Self::Evaluation => self,
            Self::Training { seed, .. } => Self::Training { seed, norm_momentum },
        }
    }

    fn norm_momentum(self) -> Option<f64> {
        match self {
            Self::Evaluation => None,
            Self::Training { norm_momentum, .. } => Some(norm_momentum),
        }
    }
}

/// One layer. Images are `[n, height, width, channels]`, vectors `[n, features]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Layer {
    /// Convolution with its activation.
    Conv(Conv2d),
    /// Batch norm with its activation.
    Norm(BatchNorm),
    /// An activation alone.
    Activation(Activation),
    /// The largest value of each window.
    MaxPool(Pool2dConfig),
    /// The mean of each window.
    AvgPool(Pool2dConfig),
    /// Means over as many windows as stated, rows and columns.
    AdaptiveAvgPool((usize, usize)),
    /// Linear with its activation, on vectors.
    Linear(Linear),
    /// Random zeros in training.
    Dropout(Dropout),
    /// Images to vectors, channel by channel, as PyTorch has them in memory.
    Flatten,
    /// `activation(body(x) + shortcut(x))`; an empty shortcut is the identity.
    Residual {
        /// What is learnt on top of the shortcut.
        body: Sequential,
        /// Fits the shape of the input to that of the body's output.
        shortcut: Sequential,
        /// Of the sum.
        activation: Activation,
    },
    /// The outputs of several branches, joined along the channels.
    Concat(Vec<Sequential>),
    /// `x gate(x)`, where the gate makes one pixel of an image: squeeze and excitation (Hu, Shen and Sun, 2017).
    Gate(Sequential),
    /// An operator that only some networks have.
    Unary(Unary),
}

/// `activation(x weight^T + bias)`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub(crate) weight: Tensor,
    /// `[out]`.
    pub(crate) bias: Option<Tensor>,
    pub(crate) activation: Activation,
}

impl Linear {
    /// As [`Conv2d::followed_by`].
    fn followed_by(&self, norm: &BatchNorm) -> Result<Self> {
        let (weight, bias) = norm.folded(&self.weight, self.bias.as_ref())?;
        Ok(Self { weight, bias: Some(bias), activation: norm.activation })
    }

    /// One linear layer that computes what `norm`, which has no activation, and this one behind it do in evaluation.
    fn preceded_by(&self, norm: &BatchNorm) -> Result<Self> {
        let (scale, shift) = norm.scale_and_shift()?;
        let moved = self.weight.matmul(&shift.unsqueeze(1)?)?.squeeze(1)?;
        let bias = match &self.bias {
            Some(bias) => (bias + moved)?,
            None => moved,
        };
        let weight = self.weight.broadcast_mul(&scale)?;
        Ok(Self { weight, bias: Some(bias), activation: self.activation })
    }

    /// # Shapes
    /// `[n, in]` to `[n, out]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, self.bias.as_ref(), self.activation)
    }
}

/// Sets values to 0 with probability `p` in training and divides the others by `1 - p`.
#[derive(Debug, Clone)]
pub struct Dropout {
    pub(crate) p: f64,
    /// Two layers of one network have two names, and so two masks.
    pub(crate) name: String,
}

/// Layers one after another.
#[derive(Debug, Clone, Default)]
pub struct Sequential(pub(crate) Vec<Layer>);

impl Sequential {
    /// Applies the layers in turn.
    ///
    /// # Errors
    /// When a shape does not fit its layer.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut x = x.clone();
        let mut layers = &self.0[..];
        while let [layer, rest @ ..] = layers {
            (x, layers) = match layers {
                [Layer::Conv(conv), Layer::MaxPool(POOL), Layer::Norm(norm), rest @ ..] => {
                    (ConvNorm { conv, norm, pool: true }.forward(&x, mode.norm_momentum())?, rest)
                }
                [Layer::Conv(conv), Layer::Norm(norm), rest @ ..] => {
                    (ConvNorm { conv, norm, pool: false }.forward(&x, mode.norm_momentum())?, rest)
                }
                _ => (layer.forward(&x, mode)?, rest),
            };
        }
        Ok(x)
    }

    /// The same function in evaluation with fewer layers: batch norm goes into the convolution or linear layer before it, so do
    /// factors, and dropout goes away.
    ///
    /// # Errors
    /// When a batch norm does not fit the layer before it.
    pub fn folded(&self) -> Result<Self> {
        let mut folded = Vec::new();
        for layer in &self.0 {
            let layer = match layer {
                Layer::Dropout(_) => continue,
                Layer::Norm(norm) => match folded.last_mut() {
                    Some(Layer::Conv(conv)) if conv.activation == Activation::Identity => {
                        *conv = conv.followed_by(norm)?;
                        continue;
                    }
                    Some(Layer::Linear(linear)) if linear.activation == Activation::Identity => {
                        *linear = linear.followed_by(norm)?;
                        continue;
                    }
                    _ => layer.clone(),
                },
                Layer::Linear(linear) => match folded.pop_if(is_plain_norm) {
                    Some(Layer::Norm(norm)) => Layer::Linear(linear.preceded_by(&norm)?),
                    _ => layer.clone(),
                },
                Layer::Residual { body, shortcut, activation } => Layer::Residual {
                    body: body.folded()?,
                    shortcut: shortcut.folded()?,
                    activation: *activation,
                },
                Layer::Concat(branches) => {
                    Layer::Concat(branches.iter().map(Self::folded).collect::<Result<_>>()?)
                }
                Layer::Gate(gate) => Layer::Gate(gate.folded()?),
                Layer::Unary(Unary::Scale(scale)) => match folded.last_mut() {
                    Some(Layer::Conv(conv)) if conv.activation == Activation::Identity => {
                        *conv = conv.scaled(&scale.weight.flatten_all()?)?;
                        continue;
                    }
                    _ => layer.clone(),
                },
                _ => layer.clone(),
            };
            folded.push(layer);
        }
        Ok(Self(folded))
    }

    /// The same function in another number format.
    ///
    /// # Errors
    /// Those of the device.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        self.map(&|tensor| tensor.to_dtype(dtype))
    }

    /// The same function in evaluation with every tensor replaced by what `change` makes of it.
    ///
    /// # Errors
    /// Those of `change`.
    pub(crate) fn map(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self(self.0.iter().map(|layer| layer.map(change)).collect::<Result<_>>()?))
    }

    /// Weights, biases and running statistics of all layers.
    pub(crate) fn tensors(&self) -> Vec<&Tensor> {
        self.0.iter().flat_map(Layer::tensors).collect()
    }

    /// The shape of one output, from that of one input image; a vector counts as one pixel.
    ///
    /// # Errors
    /// When the image is too small for a window, or the channels do not fit.
    pub fn output(&self, input: InputShape) -> Result<InputShape> {
        self.0.iter().try_fold(input, |shape, layer| layer.output(shape))
    }
}

fn is_plain_norm(layer: &mut Layer) -> bool {
    matches!(layer, Layer::Norm(norm) if norm.activation == Activation::Identity)
}

impl Layer {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        match self {
            Self::Conv(conv) => conv.forward(x),
            Self::Norm(norm) => norm.forward(x, mode.norm_momentum()),
            Self::Activation(activation) => activation.apply(x),
            Self::MaxPool(config) => max_pool2d(x, *config),
            Self::AvgPool(config) => avg_pool2d(x, *config),
            Self::AdaptiveAvgPool(size) => adaptive_avg_pool2d(x, *size),
            Self::Linear(linear) => linear.forward(x),
            Self::Dropout(Dropout { p, name }) => match mode {
                Mode::Evaluation => Ok(x.clone()),
                Mode::Training { seed, .. } => {
                    ops::dropout(x, *p, named_rng(seed, name).next_u64())
                }
            },
            Self::Flatten => x.permute((0, 3, 1, 2))?.flatten_from(1),
            Self::Residual { body, shortcut, activation } => {
                ops::add(&body.forward(x, mode)?, &shortcut.forward(x, mode)?, *activation)
            }
            Self::Concat(branches) => {
                let outputs = branches.iter().map(|branch| branch.forward(x, mode));
                Tensor::cat(&outputs.collect::<Result<Vec<_>>>()?, 3)
            }
            Self::Gate(gate) => x.broadcast_mul(&gate.forward(x, mode)?),
            Self::Unary(unary) => unary.operator().forward(x),
        }
    }

    fn map(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let some = |tensor: &Option<Tensor>| tensor.as_ref().map(change).transpose();
        Ok(match self {
            Self::Conv(conv) => Self::Conv(Conv2d {
                weight: change(&conv.weight)?,
                bias: some(&conv.bias)?,
                ..*conv
            }),
            Self::Linear(linear) => Self::Linear(Linear {
                weight: change(&linear.weight)?,
                bias: some(&linear.bias)?,
                ..*linear
            }),
            Self::Norm(norm) => Self::Norm(norm.map(change)?),
            Self::Residual { body, shortcut, activation } => Self::Residual {
                body: body.map(change)?,
                shortcut: shortcut.map(change)?,
                activation: *activation,
            },
            Self::Concat(branches) => {
                let branches = branches.iter().map(|branch| branch.map(change));
                Self::Concat(branches.collect::<Result<_>>()?)
            }
            Self::Gate(gate) => Self::Gate(gate.map(change)?),
            Self::Unary(unary) => Self::Unary(unary.map(change)?),
            Self::Activation(_)
            | Self::MaxPool(_)
            | Self::AvgPool(_)
            | Self::AdaptiveAvgPool(_)
            | Self::Dropout(_)
            | Self::Flatten => self.clone(),
        })
    }

    fn tensors(&self) -> Vec<&Tensor> {
        match self {
            Self::Conv(Conv2d { weight, bias, .. }) | Self::Linear(Linear { weight, bias, .. }) => {
                std::iter::once(weight).chain(bias).collect()
            }
            Self::Norm(BatchNorm { weight, bias, running_mean, running_var, .. }) => {
                vec![weight, bias, running_mean.as_tensor(), running_var.as_tensor()]
            }
            Self::Residual { body, shortcut, .. } => [body.tensors(), shortcut.tensors()].concat(),
            Self::Concat(branches) => branches.iter().flat_map(Sequential::tensors).collect(),
            Self::Gate(gate) => gate.tensors(),
            Self::Unary(unary) => unary.operator().weights(),
            Self::Activation(_)
            | Self::MaxPool(_)
            | Self::AvgPool(_)
            | Self::AdaptiveAvgPool(_)
            | Self::Dropout(_)
            | Self::Flatten => Vec::new(),
        }
    }

    pub(crate) fn output(&self, input: InputShape) -> Result<InputShape> {
        // How pictures came to their shape is no matter between layers.
        let input = input.with_fit(Fit::default());
        let InputShape { height, width, channels, .. } = input;
        let pooled = |config: Pool2dConfig| {
            let (height, width) = (config.positions(height)?, config.positions(width)?);
            Ok(InputShape::new(height, width, channels))
        };
        match self {
            Self::Norm(_) | Self::Activation(_) | Self::Dropout(_) => Ok(input),
            Self::Conv(Conv2d { weight, config, .. }) => {
                let [out, per_group, kernel_height, kernel_width] = filters(weight.dims())?;
                if per_group * config.groups != channels {
                    bail!("a convolution of {:?} on {channels} channels", weight.dims());
                }
                let height = config.positions(height, kernel_height)?;
                let width = config.positions(width, kernel_width)?;
                Ok(InputShape::new(height, width, out))
            }
            Self::MaxPool(config) | Self::AvgPool(config) => pooled(*config),
            Self::AdaptiveAvgPool((height, width)) => {
                Ok(InputShape::new(*height, *width, channels))
            }
            Self::Linear(Linear { weight, .. }) => {
                let (out, features) = weight.dims2()?;
                if features != input.len() {
                    bail!("a linear layer of {features} features on {}", input.len());
                }
                Ok(InputShape::new(1, 1, out))
            }
            Self::Flatten => Ok(InputShape::new(1, 1, input.len())),
            Self::Gate(gate) => {
                let of_gate = gate.output(input)?;
                if of_gate != (InputShape::new(1, 1, channels)) {
                    bail!("a gate of {of_gate:?} for {channels} channels");
                }
                Ok(input)
            }
            Self::Unary(unary) => {
                let [height, width, channels] =
                    unary.operator().output([height, width, channels])?;
                Ok(InputShape::new(height, width, channels))
            }
            Self::Residual { body, shortcut, .. } => {
                let (sum, other) = (body.output(input)?, shortcut.output(input)?);
                if sum != other {
                    bail!("a residual of {sum:?} on a shortcut of {other:?}");
                }
                Ok(sum)
            }
            Self::Concat(branches) => {
                let outputs = branches.iter().map(|branch| branch.output(input));
                let outputs = outputs.collect::<Result<Vec<_>>>()?;
                let channels = outputs.iter().map(|shape| shape.channels).sum();
                match outputs[..] {
                    [first, ..]
                        if outputs
                            .iter()
                            .all(|o| (o.height, o.width) == (first.height, first.width)) =>
                    {
                        Ok(InputShape { channels, ..first })
                    }
                    _ => bail!("branches of different sizes, or none: {outputs:?}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
