//! The forward pass of layers.

use candle_core::{Result, Tensor};
use rand::RngCore;

use super::{Dropout, Layer, Linear, Mode, Sequential};
use crate::init::named_rng;
use crate::ops::{self, ConvNorm, POOL, adaptive_avg_pool2d, avg_pool2d, max_pool2d};

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
}

impl Linear {
    /// # Shapes
    /// `x`: `[n, in]`; returns `[n, out]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, self.bias.as_ref(), self.activation)
    }
}

impl Mode {
    fn norm_momentum(self) -> Option<f64> {
        match self {
            Self::Evaluation => None,
            Self::Training { norm_momentum, .. } => Some(norm_momentum),
        }
    }
}
