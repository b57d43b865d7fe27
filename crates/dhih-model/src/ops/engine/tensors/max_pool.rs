//! Max pooling.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};

use super::super::{Back, Traced};
use super::Tensors;
use super::gather::{Gather, Side, joined, narrowed, parts};
use crate::ops::Pool2dConfig;

/// Max pooling of images of one size.
#[derive(Debug)]
pub(super) struct MaxPool {
    gather: Arc<Gather>,
    /// The number of windows along both sides.
    out: [usize; 2],
    /// The number of images whose windows are gathered at a time.
    together: usize,
}

/// What the backward pass of max pooling needs.
struct Pooled {
    pool: MaxPool,
    /// The position of the largest value in its window, `[n, windows, 1, channels]`.
    winners: Tensor,
    dims: Vec<usize>,
}

impl MaxPool {
    /// The pooling of `x`, `[n, height, width, channels]`.
    pub(super) fn new(x: &Tensor, config: Pool2dConfig) -> Result<Self> {
        let (_, height, width, channels) = x.dims4()?;
        let Pool2dConfig { kernel, stride, padding: border, .. } = config;
        let side = |size: usize| -> Result<Side> {
            Ok(Side { size, out: config.positions(size)?, kernel, stride, dilation: 1, border })
        };
        let sides = [side(height)?, side(width)?];
        let gather = Gather::of(sides, x.device())?;
        let together = gather.together(channels);
        Ok(Self { gather, out: sides.map(|side| side.out), together })
    }

    #[cfg(test)]
    pub(super) fn at_a_time(self, together: usize) -> Self {
        Self { together, ..self }
    }

    /// The largest values of all windows, with the backward pass. Of equal values, one has the gradient.
    pub(super) fn trace(self, x: &Tensor) -> Result<Traced<Tensors>> {
        let (n, _, _, channels) = x.dims4()?;
        let (mut largest, mut winners) = (Vec::new(), Vec::new());
        for part in parts(n, self.together) {
            let values = self.gather.windows_of(&narrowed(x, &part)?, f32::NEG_INFINITY)?;
            let places = values.argmax_keepdim(2)?;
            largest.push(values.gather(&places, 2)?);
            winners.push(places);
        }
        let [height, width] = self.out;
        let y = joined(largest, 0)?.reshape((n, height, width, channels))?;
        let winners = joined(winners, 0)?;
        let back = Pooled { pool: self, winners, dims: x.dims().to_vec() };
        Ok(Traced { y, back: Box::new(back) })
    }

    /// The gradient of some images, `[n, pixels, channels]`, from that of their windows, `[n, windows, 1, channels]`.
    fn gradient(&self, dy: &Tensor, winners: &Tensor) -> Result<Tensor> {
        let taps = self.gather.taps;
        let places = Tensor::arange(0u32, taps as u32, dy.device())?.reshape((1, 1, taps, 1))?;
        let is_winner = winners.broadcast_eq(&places)?;
        self.gather.sums_of(&is_winner.to_dtype(dy.dtype())?.broadcast_mul(dy)?)
    }
}

impl Back<Tensor> for Pooled {
    fn back(&self, dy: Tensor, _: bool, _: &mut GradStore) -> Result<Option<Tensor>> {
        let Self { pool, winners, dims } = self;
        let dy = dy.contiguous()?.flatten(1, 2)?.unsqueeze(2)?;
        let gradients = parts(dims[0], pool.together)
            .map(|part| pool.gradient(&narrowed(&dy, &part)?, &narrowed(winners, &part)?));
        Ok(Some(joined(gradients.collect::<Result<_>>()?, 0)?.reshape(&dims[..])?))
    }
}
