//! The hash layer: features to K real values whose signs are the code.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// A linear layer with K outputs. Relaxation (tanh and the like) is the loss's business.
#[derive(Debug, Clone)]
pub struct HashLayer {
    weight: Tensor,
    bias: Tensor,
}

impl HashLayer {
    /// Names `weight` `[bits, features]` and `bias` `[bits]` under `vb`; uniform in +-1/sqrt(features).
    ///
    /// # Errors
    /// Those of the variable store.
    pub fn new(features: usize, bits: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let bound = 1.0 / (features as f64).sqrt();
        let init = Init::Uniform { lo: -bound, up: bound };
        Ok(Self {
            weight: vb.get_with_hints((bits, features), "weight", init)?,
            bias: vb.get_with_hints(bits, "bias", init)?,
        })
    }
}

impl Module for HashLayer {
    /// # Shapes
    /// `[n, features]` to `v`, `[n, bits]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)
    }
}
