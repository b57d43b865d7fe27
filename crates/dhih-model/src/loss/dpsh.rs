//! DPSH: the likelihood of pairwise similarities, given inner products of outputs.
//!
//! Wu-Jun Li, Sheng Wang, Wang-Cheng Kang: "Feature Learning based Deep Supervised Hashing with Pairwise Labels", IJCAI 2016.

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::hash_loss::{ClassSource, HashLoss};
use super::pairs::Pairs;
use super::parts::sign;
use super::range::Range;
use super::supervision::Supervision;
use crate::hash_layer::HashNorm;

/// The constants of DPSH.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dpsh {
    /// Weight of the quantisation term.
    pub eta: f64,
}

impl Default for Dpsh {
    fn default() -> Self {
        Self { eta: 0.1 }
    }
}

impl HashLoss for Dpsh {
    const NAME: &'static str = "dpsh";
    const DESCRIPTION: &'static str = "pairwise; likelihood of similarities (Li et al., 2016)";
    const IS_PAIRWISE: bool = true;

    type Classes = ();

    fn for_bits(_: usize) -> Self {
        Self::default()
    }

    fn ranges(&self) -> Vec<Range> {
        vec![Range::weight("eta", self.eta)]
    }

    fn hash_norm(&self) -> HashNorm {
        HashNorm::Batch
    }

    fn classes(&self, _: &ClassSource<'_>) -> crate::Result<Self::Classes> {
        Ok(())
    }

    fn value(&self, v: &Tensor, _: &Self::Classes, supervision: Supervision<'_>) -> Result<Tensor> {
        dpsh(v, supervision, self)
    }

    fn class_scores(&self, _: &Tensor, _: &Self::Classes) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// The loss of a batch, over all ordered pairs of its labelled samples, including each sample with itself:
///
/// `mean_ij [ softplus(q_ij) - s_ij q_ij ] + eta mean_ik (v_ik - b_ik)^2`, where `q_ij = v_i . v_j / 2`, `b = sign(v)` is held fixed, and
/// `s_ij = 1` where i and j share a label.
///
/// # Shapes
/// `v`: `[n, K]`, `supervision`: labels `[n, C]`; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn dpsh(v: &Tensor, supervision: Supervision<'_>, config: &Dpsh) -> Result<Tensor> {
    let q = (v.matmul(&v.t()?)? * 0.5)?;
    let rounding = supervision.mean(&(v - sign(v)?)?.sqr()?.mean(D::Minus1)?)?;
    let pairs = Pairs::of(&supervision)?;
    pairs.mean(&pairs.nll(&q)?)? + (rounding * config.eta)?
}
