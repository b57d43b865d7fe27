//! Networks as data: a [`Sequential`] describes what is computed, and interpreters over it do the rest. How the families of backbones are made
//! of layers is in [`crate::backbone`], the arithmetic in [`crate::ops`].
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

#[cfg(test)]
mod tests;
