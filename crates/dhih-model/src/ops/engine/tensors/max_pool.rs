//! Max pooling.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};

use super::super::{Back, Traced};
use super::Tensors;
use super::gather::{Gather, Side};
use crate::ops::Pool2dConfig;

/// What the backward pass of max pooling needs.
struct Pooled {
    gather: Arc<Gather>,
    /// The position of the largest value in its window, `[n, windows, 1, channels]`.
    winners: Tensor,
    dims: Vec<usize>,
}

/// The windows of `x`, `[n, height, width, channels]`, and their number along both sides.
fn windows(x: &Tensor, config: Pool2dConfig) -> Result<(Arc<Gather>, [usize; 2])> {
    let (_, height, width, _) = x.dims4()?;
    let Pool2dConfig { kernel, stride, padding: border, .. } = config;
    let side = |size: usize| -> Result<Side> {
        Ok(Side { size, out: config.positions(size)?, kernel, stride, dilation: 1, border })
    };
    let sides = [side(height)?, side(width)?];
    Ok((Gather::of(sides, x.device())?, sides.map(|side| side.out)))
}

/// The largest values of all windows, with the backward pass. Of equal values, one has the gradient.
pub(super) fn trace(x: &Tensor, config: Pool2dConfig) -> Result<Traced<Tensors>> {
    let (gather, [height, width]) = windows(x, config)?;
    let (n, _, _, channels) = x.dims4()?;
    let values = gather.windows_of(x, f32::NEG_INFINITY)?;
    let winners = values.argmax_keepdim(2)?;
    let y = values.gather(&winners, 2)?.reshape((n, height, width, channels))?;
    let back = Pooled { gather, winners, dims: x.dims().to_vec() };
    Ok(Traced { y, back: Box::new(back) })
}

impl Back<Tensor> for Pooled {
    fn back(&self, dy: Tensor, _: bool, _: &mut GradStore) -> Result<Option<Tensor>> {
        let Self { gather, winners, dims } = self;
        let places = Tensor::arange(0u32, gather.taps as u32, dy.device())?;
        let is_winner = winners.broadcast_eq(&places.reshape((1, 1, gather.taps, 1))?)?;
        let dy = dy.contiguous()?.flatten(1, 2)?.unsqueeze(2)?;
        let spread = is_winner.to_dtype(dy.dtype())?.broadcast_mul(&dy)?;
        Ok(Some(gather.sums_of(&spread)?.reshape(&dims[..])?))
    }
}
