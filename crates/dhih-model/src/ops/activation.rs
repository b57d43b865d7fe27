//! Activation functions, applied element by element, and their gradients. `loops.rs` has the arithmetic.

mod loops;

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub(super) use self::loops::exp_negative;
use self::loops::{
    QUICK, clamp, gelu, gelu_gradient, gelu_tanh, gelu_tanh_gradient, hard_sigmoid,
    hard_sigmoid_gradient, hard_swish, hard_swish_gradient, keep_inside, logistic,
    logistic_gradient, swish, swish_gradient,
};
use super::fresh::fill_parts;
use super::{Back, Tasks, Traced, Value, is_ours, portable, values, with_values};

/// An activation function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// The identity.
    #[default]
    Identity,
    /// `max(x, 0)`, with gradient 0 at 0.
    Relu,
    /// `min(max(x, 0), 6)`, with gradient 0 at both ends (Krizhevsky, 2010).
    Relu6,
    /// `x/2 (1 + erf(x / sqrt(2)))` (Hendrycks and Gimpel, 2016).
    Gelu,
    /// `x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))`, an approximation of [`Self::Gelu`] from the same paper.
    GeluTanh,
    /// `x sigmoid(1.702 x)`, another approximation of [`Self::Gelu`].
    QuickGelu,
    /// `x sigmoid(x)` (Elfwing, Uchibe and Doya, 2017).
    Silu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x min(max(x + 3, 0), 6) / 6` (Howard et al., 2019).
    HardSwish,
    /// `min(max(x + 3, 0), 6) / 6`, from the same paper.
    HardSigmoid,
}

#[cfg(test)]
impl Activation {
    pub(crate) const ALL: [Self; 10] = [
        Self::Identity,
        Self::Relu,
        Self::Relu6,
        Self::Gelu,
        Self::GeluTanh,
        Self::QuickGelu,
        Self::Silu,
        Self::Sigmoid,
        Self::HardSwish,
        Self::HardSigmoid,
    ];
}

/// The number of values that one task handles.
const PART_VALUES: usize = 1 << 13;

impl Activation {
    /// Applies the function to a tensor of any shape.
    ///
    /// # Errors
    /// Those of candle.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            _ if is_ours(x) => x.contiguous()?.apply_op1(Apply(self)),
            _ => portable::activation(self, x),
        }
    }

    /// The gradient before the activation, from the value and the gradient behind it. Not for functions that [`Self::needs_input`].
    pub(super) fn gradient(self, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        if self == Self::Identity {
            return dy.contiguous();
        }
        let dx = with_values(y, |y| with_values(dy, |dy| Ok(self.gradient_of(y, dy))))?;
        Tensor::from_vec(dx, dy.shape(), dy.device())
    }

    fn gradient_of(self, seen: &[f32], dy: &[f32]) -> Vec<f32> {
        copied(dy, |start, dx| self.gradient_in_place(&seen[start..][..dx.len()], dx))
    }

    /// As [`Self::apply`], with its backward pass.
    pub(crate) fn trace(self, x: &Value) -> Traced {
        let y = copied(&x.values, |_, part| self.apply_in_place(part));
        let y = Value::new(y, &x.dims);
        let seen = if self.needs_input() { x } else { &y };
        let back = self.way_back(Arc::clone(&seen.values));
        Traced { y, back }
    }

    /// The backward pass. `seen` are the values before the activation where it [`Self::needs_input`], else those behind it.
    pub(super) fn way_back(self, seen: Arc<Vec<f32>>) -> Box<dyn Back> {
        Box::new(Activated { activation: self, seen })
    }

    /// Replaces all gradients behind the activation by those before it, as [`Self::gradient_in_place`].
    pub(super) fn turn_back(self, seen: &[f32], gradient: &mut [f32]) {
        if self != Self::Identity {
            let parts = gradient.par_chunks_mut(PART_VALUES).zip(seen.par_chunks(PART_VALUES));
            parts.run(|(gradient, seen)| self.gradient_in_place(seen, gradient));
        }
    }

    /// The range that values are clamped to, where the function is no more than that.
    pub(super) fn range(self) -> Option<(f32, f32)> {
        match self {
            Self::Relu => Some((0.0, f32::INFINITY)),
            Self::Relu6 => Some((0.0, 6.0)),
            _ => None,
        }
    }

    /// Applies the function to each value.
    pub(crate) fn apply_in_place(self, values: &mut [f32]) {
        match self {
            Self::Identity => (),
            Self::Relu => clamp(values, 0.0, f32::INFINITY),
            Self::Relu6 => clamp(values, 0.0, 6.0),
            Self::Gelu => gelu(values),
            Self::GeluTanh => gelu_tanh(values),
            Self::QuickGelu => swish(values, QUICK),
            Self::Silu => swish(values, 1.0),
            Self::Sigmoid => logistic(values),
            Self::HardSwish => hard_swish(values),
            Self::HardSigmoid => hard_sigmoid(values),
        }
    }

    /// Whether the gradient needs the value before the activation. Otherwise the value behind it suffices, and the function only clamps values
    /// to a range.
    pub(crate) fn needs_input(self) -> bool {
        self != Self::Identity && self.range().is_none()
    }

    /// Replaces gradients behind the activation by those before it. `seen` are the values before the activation where it [`Self::needs_input`],
    /// else those behind it.
    pub(super) fn gradient_in_place(self, seen: &[f32], gradient: &mut [f32]) {
        match self {
            Self::Identity => (),
            Self::Gelu => gelu_gradient(seen, gradient),
            Self::GeluTanh => gelu_tanh_gradient(seen, gradient),
            Self::QuickGelu => swish_gradient(seen, gradient, QUICK),
            Self::Silu => swish_gradient(seen, gradient, 1.0),
            Self::Sigmoid => logistic_gradient(seen, gradient),
            Self::HardSwish => hard_swish_gradient(seen, gradient),
            Self::HardSigmoid => hard_sigmoid_gradient(seen, gradient),
            Self::Relu => keep_inside(seen, gradient, f32::INFINITY),
            Self::Relu6 => keep_inside(seen, gradient, 6.0),
        }
    }
}

struct Apply(Activation);

/// What the backward pass of an activation needs: the values before or behind it.
struct Activated {
    activation: Activation,
    seen: Arc<Vec<f32>>,
}

impl Back for Activated {
    fn back(&self, mut dy: Vec<f32>, _: bool, _: &mut GradStore) -> Result<Option<Vec<f32>>> {
        self.activation.turn_back(&self.seen, &mut dy);
        Ok(Some(dy))
    }
}

/// A copy of `values` in which `f(offset, part)` has changed each part while it was in cache.
fn copied(values: &[f32], f: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let parts = values.par_chunks(PART_VALUES).enumerate();
    let (copy, _) = fill_parts(values.len(), PART_VALUES, parts, |copy, (i, values)| {
        copy.copy_from_slice(values);
        f(i * PART_VALUES, copy);
    });
    copy
}

impl CustomOp1 for Apply {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = copied(values(x, layout)?, |_, part| self.0.apply_in_place(part));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let seen = if self.0.needs_input() { x } else { y };
        Ok(Some(self.0.gradient(seen, dy)?))
    }
}

#[cfg(test)]
mod tests;
