//! GreedyHash: classification by the codes themselves. The gradient passes through the sign unchanged.
//!
//! Shupeng Su, Chao Zhang, Kai Han, Yonghong Tian: "Greedy Hash: Towards Fast Optimization for Accurate Hash Coding in CNN",
//! NeurIPS 2018.

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::hash_loss::{ClassSource, HashLoss};
use super::parts::{sign, sign_straight_through};
use super::range::Range;
use super::supervision::Supervision;

/// The constants of GreedyHash.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GreedyHash {
    /// The weight of the term that draws `v` to +1 or -1.
    pub penalty: f64,
}

impl Default for GreedyHash {
    fn default() -> Self {
        Self { penalty: 0.1 }
    }
}

impl HashLoss for GreedyHash {
    const NAME: &'static str = "greedyhash";
    const DESCRIPTION: &'static str =
        "unary; cross-entropy of codes, straight through the sign (Su et al., 2018)";

    type Classes = Tensor;

    fn for_bits(_: usize) -> Self {
        Self::default()
    }

    fn ranges(&self) -> Vec<Range> {
        vec![Range::weight("penalty", self.penalty)]
    }

    fn classes(&self, source: &ClassSource<'_>) -> crate::Result<Self::Classes> {
        Ok(source.weights()?)
    }

    fn value(
        &self,
        v: &Tensor,
        classes: &Self::Classes,
        supervision: Supervision<'_>,
    ) -> Result<Tensor> {
        greedyhash(v, classes, supervision, self)
    }

    fn class_scores(&self, v: &Tensor, classes: &Self::Classes) -> Result<Option<Tensor>> {
        Ok(Some(sign(v)?.matmul(&classes.t()?)?))
    }
}

/// The loss of a batch, the mean over its labelled samples of
///
/// `CE(softmax(b_i W^T), Y_i / |Y_i|) + penalty mean_k ||v_ik| - 1|^3`, where `b = sign(v)`.
///
/// The gradient with respect to `v` is the gradient with respect to `b` (straight-through estimator), plus that of the penalty. With several
/// labels the target is spread over them equally.
///
/// # Shapes
/// `v`: `[n, K]`, `weight`: `[C, K]`, `supervision`: labels `[n, C]`; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn greedyhash(
    v: &Tensor,
    weight: &Tensor,
    supervision: Supervision<'_>,
    config: &GreedyHash,
) -> Result<Tensor> {
    let each = supervision.cross_entropy(&sign_straight_through(v)?.matmul(&weight.t()?)?)?;
    let gap = (v.abs()? - 1.0)?;
    let penalty = (gap.sqr()? * gap.abs()?)?.mean(D::Minus1)?;
    supervision.mean(&(each + (penalty * config.penalty)?)?)
}
