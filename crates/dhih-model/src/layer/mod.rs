//! Networks as data: a [`Sequential`] describes what is computed, and interpreters of it do the rest. [`crate::backbone`] says how the families
//! of backbones are made of layers, [`crate::ops`] is the arithmetic.
//!
//! ```text
//! shape.rs     the shape of the output
//! forward.rs   the forward pass, by the operators of `ops`
//! folding.rs   the same function in evaluation with fewer layers
//! tensors.rs   the weights of all layers, and the same layers with others
//! ```
//!
//! Further interpreters: `tape.rs` computes gradients, `inference/` compiles for the CPU, `onnx/` exports, `memory.rs` estimates memory.

mod folding;
mod forward;
mod shape;
mod tensors;

use candle_core::Tensor;
use rand::RngCore;

use crate::init::named_rng;
use crate::ops::{Activation, BatchNorm, Conv2d, Pool2dConfig, Unary};

/// The purpose of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// The values of an image depend on that image alone.
    Evaluation,
    /// Batch norm uses the statistics of the batch, and dropout drops values.
    Training {
        /// The seed of the dropout masks of this step: the same seed gives the same masks.
        seed: u64,
        /// The weight of the batch in the running statistics of batch norm, above 0 and at most 1.
        norm_momentum: f64,
    },
}

impl Mode {
    /// Training, at a step of a run with a seed. Each step has its own masks, and a resumed run has the same ones.
    pub fn training_step(run_seed: u64, step: usize) -> Self {
        let seed = named_rng(run_seed, &format!("step {step}")).next_u64();
        Self::Training { seed, norm_momentum: BatchNorm::MOMENTUM }
    }

    /// The same mode with another weight of the batch in the running statistics of batch norm.
    pub fn with_norm_momentum(self, norm_momentum: f64) -> Self {
        match self {
            Self::Evaluation => self,
            Self::Training { seed, .. } => Self::Training { seed, norm_momentum },
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
    /// An activation without another operator.
    Activation(Activation),
    /// Max pooling.
    MaxPool(Pool2dConfig),
    /// Average pooling.
    AvgPool(Pool2dConfig),
    /// Average pooling to a given number of rows and columns.
    AdaptiveAvgPool((usize, usize)),
    /// Linear layer with its activation, on vectors.
    Linear(Linear),
    /// Dropout, in training.
    Dropout(Dropout),
    /// Images to vectors, channel by channel, which is the order of PyTorch.
    Flatten,
    /// `activation(body(x) + shortcut(x))`; an empty shortcut is the identity.
    Residual {
        /// The layers whose output is added to the shortcut.
        body: Sequential,
        /// Brings the input to the shape of the output of `body`.
        shortcut: Sequential,
        /// The activation of the sum.
        activation: Activation,
    },
    /// The outputs of several branches, joined along the channels.
    Concat(Vec<Sequential>),
    /// `x * gate(x)`, where the gate returns one value for each channel: squeeze and excitation (Hu, Shen and Sun, 2017).
    Gate(Sequential),
    /// An operator that only some families of networks have.
    Unary(Unary),
}

/// A linear layer: `activation(x weight^T + bias)`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// The weight, `[out, in]`.
    pub(crate) weight: Tensor,
    /// The bias, `[out]`.
    pub(crate) bias: Option<Tensor>,
    pub(crate) activation: Activation,
}

/// Sets values to 0 with probability `p` in training and divides the others by `1 - p`.
#[derive(Debug, Clone)]
pub struct Dropout {
    pub(crate) p: f64,
    /// The mask depends on the name: two layers of one network have two names.
    pub(crate) name: String,
}

/// Layers one after another.
#[derive(Debug, Clone, Default)]
pub struct Sequential(pub(crate) Vec<Layer>);

#[cfg(test)]
mod tests;
