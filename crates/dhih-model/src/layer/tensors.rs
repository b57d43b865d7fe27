//! The tensors of layers: a list of all of them, and the same layers with other tensors in their place.

use candle_core::{DType, Result, Tensor};

use super::{Layer, Linear, Sequential};
use crate::ops::{BatchNorm, Conv2d};

impl Sequential {
    /// The same layers, for evaluation, with copies of the tensors in some number format. The copies are no variables, so that candle records no
    /// graph of what is computed from them.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn untracked(&self, dtype: DType) -> Result<Self> {
        self.map(&|tensor| tensor.detach().copy()?.to_dtype(dtype))
    }

    /// The same layers, for evaluation, with each tensor replaced by what `change` returns for it.
    ///
    /// # Errors
    /// Those of `change`.
    pub(crate) fn map(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self(self.0.iter().map(|layer| layer.map(change)).collect::<Result<_>>()?))
    }

    /// The weights, biases and running statistics of all layers.
    pub(crate) fn tensors(&self) -> Vec<&Tensor> {
        self.0.iter().flat_map(Layer::tensors).collect()
    }
}

impl Layer {
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
}
