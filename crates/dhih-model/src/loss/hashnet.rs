//! HashNet: the weighted likelihood of pairwise similarities under relaxed codes that sharpen as training goes on.
//!
//! Zhangjie Cao, Mingsheng Long, Jianmin Wang, Philip S. Yu: "HashNet: Deep Learning to Hash by Continuation", ICCV 2017.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::parts::{pair_nll, similarity};

/// The constants of HashNet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashNet {
    /// What inner products of relaxed codes are multiplied by.
    pub alpha: f64,
    /// Sharpness of the relaxation at the beginning.
    pub beta: f64,
    /// How it grows: to `beta sqrt(1 + growth)` at the end.
    pub growth: f64,
}

impl HashNet {
    /// The defaults for codes of `bits`: equal codes have the inner product 10, whatever their length.
    pub fn new(bits: usize) -> Self {
        Self { alpha: 10.0 / bits as f64, beta: 1.0, growth: 50.0 }
    }
}

/// The loss of a batch, over all `n^2` ordered pairs, each sample with itself included:
///
/// the mean of `softplus(q_ij) - s_ij q_ij`, `q_ij = alpha h_i . h_j`, `h = tanh(beta sqrt(1 + growth progress) v)`, with
/// `s_ij = 1` where i and j share a label. Similar pairs together weigh as much as all others: 1/2, however few they are.
///
/// # Shapes
/// `v`: `[n, K]`, `labels`: `[n, C]` of 0 and 1; `progress`: the part of training that is done, 0 to 1; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn hashnet(v: &Tensor, labels: &Tensor, config: &HashNet, progress: f64) -> Result<Tensor> {
    let h = (v * (config.beta * (1.0 + config.growth * progress).sqrt()))?.tanh()?;
    let q = (h.matmul(&h.t()?)? * config.alpha)?;
    let similar = similarity(labels)?;
    let each = pair_nll(&q, &similar)?;
    let mean = |mask: &Tensor| (&each * mask)?.sum_all()? / mask.sum_all()?.maximum(1f64)?;
    (mean(&similar)? + mean(&similar.affine(-1.0, 1.0)?)?)? * 0.5
}
