//! Batch norm with its activation. It keeps input, mean and 1 / standard deviation, and computes the rest again.

use candle_core::backprop::GradStore;
use candle_core::{D, Result, Tensor, bail};

use super::super::{Back, Traced, add_tensor};
use super::Tensors;
use super::activation::{forward, gradient};
use crate::ops::BatchNorm;
use crate::ops::batch_norm::BatchMoments;

/// What the backward pass of batch norm needs.
struct Normalized {
    norm: BatchNorm,
    x: Tensor,
    /// The mean, `[channels]`.
    mean: Tensor,
    rstd: Tensor,
}

/// As [`BatchNorm::forward`] in training, with its backward pass.
pub(super) fn trace(norm: &BatchNorm, x: &Tensor, momentum: f64) -> Result<Traced<Tensors>> {
    let channels = norm.weight.elem_count();
    let rows = x.elem_count() / channels.max(1);
    if x.dim(D::Minus1)? != channels || rows <= 1 {
        bail!("batch norm of {channels} channels on {:?}", x.dims());
    }
    let mean = x.flatten(0, D::Minus2)?.mean(0)?;
    let centred = x.broadcast_sub(&mean)?;
    let var = centred.flatten(0, D::Minus2)?.sqr()?.mean(0)?;
    norm.update(rows, BatchMoments { mean: &mean, var: &var }, momentum)?;
    let rstd = (var + norm.eps)?.sqrt()?.recip()?;
    let a = centred
        .broadcast_mul(&(norm.weight.detach() * &rstd)?)?
        .broadcast_add(&norm.bias.detach())?;
    let y = forward(norm.activation, &a)?;
    let back = Normalized { norm: norm.clone(), x: x.clone(), mean, rstd };
    Ok(Traced { y, back: Box::new(back) })
}

impl Back<Tensor> for Normalized {
    fn back(&self, dy: Tensor, wants_dx: bool, to: &mut GradStore) -> Result<Option<Tensor>> {
        let Self { norm, x, mean, rstd } = self;
        let weight = norm.weight.detach();
        let normalised = x.broadcast_sub(mean)?.broadcast_mul(rstd)?;
        let a = normalised.broadcast_mul(&weight)?.broadcast_add(&norm.bias.detach())?;
        // The value before the activation serves for all of them: it is inside of the range exactly where the value behind is.
        let g = gradient(norm.activation, &a, &dy)?;
        drop(a);
        let rows = |x: &Tensor| x.flatten(0, D::Minus2);
        let d_bias = rows(&g)?.sum(0)?;
        let d_weight = rows(&(&g * &normalised)?)?.sum(0)?;
        let count = (x.elem_count() / weight.elem_count()) as f64;
        let dx = if wants_dx {
            let shared = normalised
                .broadcast_mul(&(&d_weight / count)?)?
                .broadcast_add(&(&d_bias / count)?)?;
            Some((g - shared)?.broadcast_mul(&(weight * rstd)?)?)
        } else {
            None
        };
        add_tensor(to, &norm.weight, d_weight)?;
        add_tensor(to, &norm.bias, d_bias)?;
        Ok(dx)
    }
}
