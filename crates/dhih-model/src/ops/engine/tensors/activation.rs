//! Activations and their gradients.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};

use super::super::Back;
use crate::ops::{Activation, portable};

/// What the backward pass of an activation needs: the values before it where its gradient needs them, else those behind it.
pub(super) struct Activated {
    activation: Activation,
    seen: Option<Tensor>,
}

/// Computes `activation(z)`, and what its gradient needs.
pub(super) fn activated(activation: Activation, z: Tensor) -> Result<(Tensor, Activated)> {
    let y = forward(activation, &z)?;
    let seen = match activation {
        Activation::Identity => None,
        _ if activation.needs_input() => Some(z),
        _ => Some(y.clone()),
    };
    Ok((y, Activated { activation, seen }))
}

/// Applies an activation.
pub(super) fn forward(activation: Activation, z: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(z.clone()),
        Activation::Relu => z.relu(),
        Activation::Relu6 => z.clamp(0f32, 6f32),
        _ => portable::activation(activation, z),
    }
}

/// The gradient before an activation; `seen` is what [`Activated`] keeps.
pub(super) fn gradient(activation: Activation, seen: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let is_inside = match activation {
        Activation::Identity => return Ok(dy.clone()),
        Activation::Relu => seen.gt(0f32)?,
        Activation::Relu6 => (seen.gt(0f32)? * seen.lt(6f32)?)?,
        Activation::Gelu => {
            // The normal distribution function, and x times its density.
            let below = ((seen * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?;
            let density = ((seen.sqr()? * -0.5)?.exp()?
                * (seen
                    * (0.5
                        * std::f64::consts::FRAC_2_SQRT_PI
                        * std::f64::consts::FRAC_1_SQRT_2))?)?;
            return dy * ((below * 0.5)? + density)?;
        }
        // The other functions are rare in training; candle's graph computes their derivatives.
        _ => {
            let z = Var::from_tensor(seen)?;
            let gradients = (portable::activation(activation, &z)? * dy)?.backward()?;
            return gradients.get(&z).cloned().map_or_else(|| dy.zeros_like(), Ok);
        }
    };
    dy * is_inside.to_dtype(dy.dtype())?
}

impl Activated {
    /// The gradient before the activation.
    pub(super) fn back(&self, dy: &Tensor) -> Result<Tensor> {
        match &self.seen {
            Some(seen) => gradient(self.activation, seen, dy),
            None => Ok(dy.clone()),
        }
    }
}

impl Back<Tensor> for Activated {
    fn back(&self, dy: Tensor, _: bool, _: &mut GradStore) -> Result<Option<Tensor>> {
        Ok(Some(self.back(&dy)?))
    }
}
