//! The cost of quantising relaxed codes to signs.

use candle_core::{D, Result, Tensor};

/// `mean_k (|h_ik| - 1)^2` of each sample.
///
/// # Shapes
/// `h`: `[n, K]`; returns `[n]`.
///
/// # Errors
/// Those of candle.
pub fn quantization(h: &Tensor) -> Result<Tensor> {
    (h.abs()? - 1.0)?.sqr()?.mean(D::Minus1)
}
