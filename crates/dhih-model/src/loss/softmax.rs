//! Softmax: plain classification by relaxed codes, the baseline of every unary loss.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::quantization;
use super::supervision::Supervision;

/// The constants of the softmax loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    /// Weight of the quantisation term, that of the HI loss; 0 leaves it out.
    pub lambda_q: f64,
}

/// The loss of a batch, the mean over its labelled samples of
///
/// `CE(softmax(h_i W^T), Y_i / |Y_i|) + lambda_q mean_k (|h_ik| - 1)^2`, `h = tanh(v)`.
///
/// With several labels the target is spread over them equally, so that they compete; the HI loss is without this.
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
