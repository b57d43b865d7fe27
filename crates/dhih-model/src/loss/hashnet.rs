//! HashNet: the weighted likelihood of pairwise similarities, given relaxed codes that become sharper during training.
//!
//! Zhangjie Cao, Mingsheng Long, Jianmin Wang, Philip S. Yu: "HashNet: Deep Learning to Hash by Continuation", ICCV 2017.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::hash_loss::{ClassSource, HashLoss};
use super::pairs::{Pairs, mean_of};
use super::range::Range;
use super::supervision::Supervision;
use crate::hash_layer::HashNorm;

/// The constants of HashNet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashNet {
    /// The factor of inner products of relaxed codes.
    pub alpha: f64,
    /// The sharpness of the relaxation at the beginning.
    pub beta: f64,
    /// The growth of the sharpness, to `beta sqrt(1 + growth)` at the end of training.
    pub growth: f64,
}

impl HashNet {
    /// The defaults for codes of `bits`: `alpha` is such that equal codes of any length have an inner product of 10.
    pub fn new(bits: usize) -> Self {
        Self { alpha: 10.0 / bits as f64, beta: 1.0, growth: 50.0 }
    }
}

impl HashLoss for HashNet {
    const NAME: &'static str = "hashnet";
    const DESCRIPTION: &'static str =
        "pairwise; weighted likelihood, sharpened by continuation (Cao et al., 2017)";
    const IS_PAIRWISE: bool = true;

    type Classes = ();

    fn for_bits(bits: usize) -> Self {
        Self::new(bits)
    }

    fn ranges(&self) -> Vec<Range> {
        let Self { alpha, beta, growth } = *self;
        let growth = Range::weight("growth", growth);
        vec![Range::factor("alpha", alpha), Range::factor("beta", beta), growth]
    }

    fn hash_norm(&self) -> HashNorm {
        HashNorm::Batch
    }

    fn classes(&self, _: &ClassSource<'_>) -> crate::Result<Self::Classes> {
        Ok(())
    }

    fn value(&self, v: &Tensor, _: &Self::Classes, supervision: Supervision<'_>) -> Result<Tensor> {
        hashnet(v, supervision, self)
    }

    fn class_scores(&self, _: &Tensor, _: &Self::Classes) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// The loss of a batch, over all ordered pairs of its labelled samples, including each sample with itself:
///
/// the mean of `softplus(q_ij) - s_ij q_ij`, where `q_ij = alpha h_i . h_j`, `h = tanh(beta sqrt(1 + growth progress) v)`, and `s_ij = 1` where
/// i and j share a label. The similar pairs and the other pairs each have half of the weight, however few they are.
///
/// # Shapes
/// `v`: `[n, K]`, `supervision`: labels `[n, C]`, and progress; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn hashnet(v: &Tensor, supervision: Supervision<'_>, config: &HashNet) -> Result<Tensor> {
    let progress = supervision.progress;
    let h = (v * (config.beta * (1.0 + config.growth * progress).sqrt()))?.tanh()?;
    let q = (h.matmul(&h.t()?)? * config.alpha)?;
    let pairs = Pairs::of(&supervision)?;
    let each = pairs.nll(&q)?;
    (mean_of(&each, &pairs.similar)? + mean_of(&each, &pairs.dissimilar)?)? * 0.5
}
