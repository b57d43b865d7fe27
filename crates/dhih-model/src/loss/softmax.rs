//! Softmax: plain classification by relaxed codes, the baseline of every unary loss.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::parts::{cross_entropy, mean_labelled};
use super::quantization;

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
/// `v`: `[n, K]`, `weight`: `[C, K]`, `labels`: `[n, C]` of 0 and 1; returns a scalar.
///
/// # Errors
/// When shapes differ.
pub fn softmax(v: &Tensor, weight: &Tensor, labels: &Tensor, config: &Softmax) -> Result<Tensor> {
    let h = v.tanh()?;
    let each = cross_entropy(&h.matmul(&weight.t()?)?, labels)?;
    mean_labelled(&(each + (quantization(&h)? * config.lambda_q)?)?, labels)
}
