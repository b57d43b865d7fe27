//! Softmax: plain classification by relaxed codes, the baseline of the unary losses.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::hash_loss::{ClassSource, HashLoss};
use super::quantization;
use super::range::Range;
use super::supervision::Supervision;

/// The constants of the softmax loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    /// The weight of the quantisation term, as in the HI loss; 0 leaves it out.
    pub lambda_q: f64,
}

impl HashLoss for Softmax {
    const NAME: &'static str = "softmax";
    const DESCRIPTION: &'static str = "unary; cross-entropy of relaxed codes, the baseline";

    type Classes = Tensor;

    fn for_bits(_: usize) -> Self {
        Self::default()
    }

    fn ranges(&self) -> Vec<Range> {
        vec![Range::weight("lambda_q", self.lambda_q)]
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
        softmax(v, classes, supervision, self)
    }

    fn class_scores(&self, v: &Tensor, classes: &Self::Classes) -> Result<Option<Tensor>> {
        Ok(Some(v.tanh()?.matmul(&classes.t()?)?))
    }
}

/// The loss of a batch, the mean over its labelled samples of
///
/// `CE(softmax(h_i W^T), Y_i / |Y_i|) + lambda_q mean_k (|h_ik| - 1)^2`, where `h = tanh(v)`.
///
/// With several labels the target is spread over them equally, so that they compete with each other. In the HI loss they do not.
///
/// # Shapes
/// `v`: `[n, K]`, `weight`: `[C, K]`, `supervision`: labels `[n, C]`; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn softmax(
    v: &Tensor,
    weight: &Tensor,
    supervision: Supervision<'_>,
    config: &Softmax,
) -> Result<Tensor> {
    let h = v.tanh()?;
    let each = supervision.cross_entropy(&h.matmul(&weight.t()?)?)?;
    supervision.mean(&(each + (quantization(&h)? * config.lambda_q)?)?)
}
