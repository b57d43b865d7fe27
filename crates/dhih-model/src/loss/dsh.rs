//! DSH: pairs of a class are drawn together, others pushed apart up to a margin.
//!
//! Haomiao Liu, Ruiping Wang, Shiguang Shan, Xilin Chen: "Deep Supervised Hashing for Fast Image Retrieval", CVPR 2016.

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::parts::similarity;

/// The constants of DSH.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dsh {
    /// Squared distance beyond which unlike pairs cost nothing.
    pub margin: f64,
    /// Weight of the term that draws outputs to +-1.
    pub alpha: f64,
}

impl Dsh {
    /// The defaults for codes of `bits`: the margin is twice as much, what codes have that differ in half of their bits.
    pub fn new(bits: usize) -> Self {
        Self { margin: 2.0 * bits as f64, alpha: 0.01 }
    }
}

/// The loss of a batch, over all `n^2` ordered pairs, each sample with itself included:
///
/// `mean_ij [ s_ij d_ij / 2 + (1 - s_ij)/2 max(0, margin - d_ij) ] + alpha mean_i sum_k ||v_ik| - 1|`, `d_ij = |v_i - v_j|^2`,
/// `s_ij = 1` where i and j share a label.
///
/// # Shapes
/// `v`: `[n, K]`, `labels`: `[n, C]` of 0 and 1; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn dsh(v: &Tensor, labels: &Tensor, config: &Dsh) -> Result<Tensor> {
    let s = similarity(labels)?;
    let length = v.sqr()?.sum_keepdim(D::Minus1)?;
    let d = length.broadcast_add(&length.t()?)?.sub(&(v.matmul(&v.t()?)? * 2.0)?)?;
    let apart = d.affine(-1.0, config.margin)?.relu()?;
    let pairs = ((&s * d)? + (s.affine(-1.0, 1.0)? * apart)?)?.mean_all()?;
    let outside = (v.abs()? - 1.0)?.abs()?.sum(D::Minus1)?.mean_all()?;
    (pairs * 0.5)? + (outside * config.alpha)?
}
