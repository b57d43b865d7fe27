//! The price of rounding relaxed codes to signs.

use candle_core::{Result, Tensor};

/// `mean_ik (|h_ik| - 1)^2`.
///
/// # Shapes
/// `h`: `[n, K]`, returns a scalar.
///
/// # Errors
/// Those of candle.
pub fn quantization(h: &Tensor) -> Result<Tensor> {
    (h.abs()? - 1.0)?.sqr()?.mean_all()
}
