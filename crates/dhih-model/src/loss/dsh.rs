//! DSH: pairs of one class are drawn together, and other pairs are pushed apart up to a margin.
//!
//! Haomiao Liu, Ruiping Wang, Shiguang Shan, Xilin Chen: "Deep Supervised Hashing for Fast Image Retrieval", CVPR 2016.

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::hash_loss::{ClassSource, HashLoss};
use super::pairs::Pairs;
use super::range::Range;
use super::supervision::Supervision;
use crate::hash_layer::HashNorm;

/// The constants of DSH.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dsh {
    /// The squared distance beyond which dissimilar pairs cost nothing.
    pub margin: f64,
    /// The weight of the term that draws outputs to +1 or -1.
    pub alpha: f64,
}

impl Dsh {
    /// The defaults for codes of `bits`. The margin is `2 bits`, the squared distance of codes that differ in half of their bits.
    pub fn new(bits: usize) -> Self {
        Self { margin: 2.0 * bits as f64, alpha: 0.01 }
    }
}

impl HashLoss for Dsh {
    const NAME: &'static str = "dsh";
    const DESCRIPTION: &'static str = "pairwise; contrastive squared distances (Liu et al., 2016)";
    const IS_PAIRWISE: bool = true;

    type Classes = ();

    fn for_bits(bits: usize) -> Self {
        Self::new(bits)
    }

    fn ranges(&self) -> Vec<Range> {
        vec![Range::factor("margin", self.margin), Range::weight("alpha", self.alpha)]
    }

    fn hash_norm(&self) -> HashNorm {
        HashNorm::Batch
    }

    fn classes(&self, _: &ClassSource<'_>) -> crate::Result<Self::Classes> {
        Ok(())
    }

    fn value(&self, v: &Tensor, _: &Self::Classes, supervision: Supervision<'_>) -> Result<Tensor> {
        dsh(v, supervision, self)
    }

    fn class_scores(&self, _: &Tensor, _: &Self::Classes) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// The loss of a batch, over all ordered pairs of its labelled samples, including each sample with itself:
///
/// `mean_ij [ s_ij d_ij / 2 + (1 - s_ij)/2 max(0, margin - d_ij) ] + alpha mean_i sum_k ||v_ik| - 1|`, where `d_ij = |v_i - v_j|^2`, and
/// `s_ij = 1` where i and j share a label.
///
/// # Shapes
/// `v`: `[n, K]`, `supervision`: labels `[n, C]`; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn dsh(v: &Tensor, supervision: Supervision<'_>, config: &Dsh) -> Result<Tensor> {
    let pairs = Pairs::of(&supervision)?;
    let length = v.sqr()?.sum_keepdim(D::Minus1)?;
    let d = length.broadcast_add(&length.t()?)?.sub(&(v.matmul(&v.t()?)? * 2.0)?)?;
    let apart = d.affine(-1.0, config.margin)?.relu()?;
    let each = ((&pairs.similar * d)? + (&pairs.dissimilar * apart)?)?;
    let outside = supervision.mean(&(v.abs()? - 1.0)?.abs()?.sum(D::Minus1)?)?;
    (pairs.mean(&each)? * 0.5)? + (outside * config.alpha)?
}
