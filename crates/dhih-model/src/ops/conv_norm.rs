//! Convolution, batch norm and activation as one operator in training, with the maximum of each 2 x 2 window between
//! convolution and norm where it is wanted.
//!
//! As one operator it keeps from memory what several would write and read: statistics are measured while the convolution's
//! output is in cache, with pooling that output never leaves it, and its gradient exists for a few images at a time.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::convolution::{Backward, Band, Convolution, Geometry, OutputGradient};
use super::engine::{Back, Traced, Value, add_gradient};
use super::fresh::{fresh, zeroed};
use super::moments::{Moments, Part};
use super::normalize::{Affine, Slopes};
use super::scratch::{Scratch, with_scratch};
use super::tasks::{Tasks, threads};
use super::windows::Windows;
use super::{
    Activation, BatchNorm, Conv2d, Pool2dConfig, conv2d, is_ours, max_pool2d, values, with_values,
};

/// A convolution, the maximum of each 2 x 2 window where `pool`, and batch norm with its activation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvNorm<'a> {
    pub(crate) conv: &'a Conv2d,
    pub(crate) norm: &'a BatchNorm,
    pub(crate) pool: bool,
}

/// The windows of a pooled convolution.
pub(crate) const POOL: Pool2dConfig =
    Pool2dConfig { kernel: 2, stride: 2, padding: 0, ceil: false };

impl ConvNorm<'_> {
    /// The operators one by one: the oracle of the fused one, and what runs on a GPU and in evaluation.
    pub(crate) fn unfused(&self, x: &Tensor, momentum: Option<f64>) -> Result<Tensor> {
        let Self { conv, norm, pool } = *self;
        if momentum.is_none() && !pool {
            return conv.followed_by(norm)?.forward(x);
        }
        // In training batch norm takes the bias away again: its gradient is nothing but rounding.
        let is_fixed = momentum.is_some() && conv.activation == Activation::Identity;
        let bias =
            conv.bias.as_ref().map(|bias| if is_fixed { bias.detach() } else { bias.clone() });
        let z = conv2d(x, &conv.weight, bias.as_ref(), conv.config, conv.activation)?;
        norm.forward(&if pool { max_pool2d(&z, POOL)? } else { z }, momentum)
    }

    /// In training with the share `momentum` of the batch in the running statistics, as [`BatchNorm::forward`].
    ///
    /// # Shapes
    /// `[n, height, width, in]` to `[n, height', width', out]`, with sides halved where pooled.
    pub(crate) fn forward(&self, x: &Tensor, momentum: Option<f64>) -> Result<Tensor> {
        let Some(share) = momentum.filter(|_| self.is_fusible(x)) else {
            return self.unfused(x, momentum);
        };
        let state = Arc::new(Mutex::new(State::default()));
        let op = Fused { block: self.block()?, state: Arc::clone(&state) };
        let weight = self.conv.weight.contiguous()?;
        let y = x.contiguous()?.apply_op3(&weight, &self.norm.affine()?, op)?;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        self.norm.update_by(&state.moments, state.z.len() / y.dim(3)?, share)?;
        drop(state);
        Ok(y)
    }

    /// As [`Self::forward`] in training, with its way back; nothing where the operators have to run one by one.
    pub(crate) fn trace(&self, x: &Value, momentum: f64) -> Result<Option<Traced>> {
        if self.conv.activation != Activation::Identity {
            return Ok(None);
        }
        let (block, affine) = (self.block()?, self.norm.affine_values()?);
        let dims = self.conv.weight.dims();
        let (state, y, geometry, shape) = with_values(&self.conv.weight, |weight| {
            block.forward((&x.values, &x.dims), (weight, dims), &affine)
        })?;
        self.norm.update_by(&state.moments, state.z.len() / geometry.out_channels, momentum)?;
        let (weight, norm) = (self.conv.weight.clone(), self.norm.clone());
        let back = Normalized { block, state, geometry, x: x.clone(), weight, norm, affine };
        Ok(Some(Traced { y: Value::new(y, shape.dims()), back: Box::new(back) }))
    }

    fn block(&self) -> Result<Block> {
        let bias = self.conv.bias.as_ref().map(|bias| bias.to_vec1::<f32>()).transpose()?;
        let Self { conv, norm, pool } = *self;
        Ok(Block { config: conv.config, bias, eps: norm.eps, activation: norm.activation, pool })
    }

    fn is_fusible(&self, x: &Tensor) -> bool {
        is_ours(x) && self.conv.activation == Activation::Identity
    }
}

struct Fused {
    block: Block,
    /// Of the one call this operator serves.
    state: Arc<Mutex<State>>,
}

/// The constants of the operator.
struct Block {
    config: super::Conv2dConfig,
    /// The convolution's. Batch norm takes it away again: its gradient is 0 and is not computed.
    bias: Option<Vec<f32>>,
    /// Added to the variances.
    eps: f64,
    activation: Activation,
    pool: bool,
}

/// What backward needs of forward.
#[derive(Default)]
struct State {
    moments: Moments,
    /// The values that are normalised: the convolution's output, pooled where it is.
    z: Vec<f32>,
    /// The place of each pooled value in its window.
    winners: Vec<u8>,
}

/// How a batch is cut.
struct Cut {
    /// What is convolved in one go.
    bands: Vec<Band>,
    /// Values that are measured on their own.
    part: usize,
}

impl Block {
    /// The windows of some rows of an image.
    fn windows(&self, geometry: &Geometry, rows: usize) -> Windows {
        Windows { height: rows, width: geometry.out.1, channels: geometry.out_channels }
    }

    /// The shape of the normalised values of some rows of an image.
    fn shape(&self, geometry: &Geometry, rows: usize) -> (usize, usize) {
        if self.pool { self.windows(geometry, rows).pooled() } else { (rows, geometry.out.1) }
    }

    /// Values that are normalised of some rows of an image.
    fn len(&self, geometry: &Geometry, rows: usize) -> usize {
        let (height, width) = self.shape(geometry, rows);
        height * width * geometry.out_channels
    }

    /// Parts that are measured on their own are a few small images, or some rows of a large one. They do not depend on the machine;
    /// how many are convolved together does.
    fn cut(&self, geometry: &Geometry, n: usize) -> Cut {
        const PART: usize = 1 << 13;
        const LARGEST_PART: usize = 1 << 17;
        // Tiles of Winograd's, and pairs of them where there is pooling.
        const ROWS: usize = 8;
        let (height, row) = (geometry.out.0, geometry.out_row());
        let image = height * row;
        if image > LARGEST_PART {
            let rows = (LARGEST_PART / row / ROWS).max(1) * ROWS;
            let of_image = |image| {
                (0..height)
                    .step_by(rows)
                    .map(move |r| Band { images: image..image + 1, rows: r..height.min(r + rows) })
            };
            let bands = (0..n).flat_map(of_image).collect();
            return Cut { bands, part: self.len(geometry, rows).max(1) };
        }
        let images = (PART / image.max(geometry.image())).max(1);
        // As many as fit the cache, but some for each thread.
        let most = (LARGEST_PART / image.max(geometry.image()) / images).max(1);
        let together = (n.div_ceil(images) / (4 * threads())).clamp(1, most) * images;
        let bands = (0..n).step_by(together);
        let bands = bands.map(|i| Band { images: i..n.min(i + together), rows: 0..height });
        Cut { bands: bands.collect(), part: (images * self.len(geometry, height)).max(1) }
    }

    /// Convolution, pooling and statistics.
    fn measure(&self, convolution: &Convolution, x: &[f32]) -> State {
        let geometry = convolution.geometry();
        let (image, channels) = (geometry.image(), geometry.out_channels);
        let n = x.len() / image;
        let Cut { bands, part } = self.cut(geometry, n);
        let len = n * self.len(geometry, geometry.out.0);
        let mut winners = vec![0u8; if self.pool { len } else { 0 }];
        let measure = |z: &mut [MaybeUninit<f32>]| {
            let (mut z, mut winners) = (z, &mut winners[..]);
            let mut work = Vec::with_capacity(bands.len());
            for band in bands {
                let len = band.images.len() * self.len(geometry, band.rows.len());
                let (own, behind) = z.split_at_mut(len);
                let (own_winners, winners_behind) =
                    winners.split_at_mut(if self.pool { len } else { 0 });
                (z, winners) = (behind, winners_behind);
                work.push((band, own, own_winners));
            }
            let measured = work.into_par_iter().run_all(|(band, z, winners)| {
                let (x, z) = (&x[band.images.start * image..band.images.end * image], zeroed(z));
                self.convolve(convolution, x, band.rows, z, winners);
                z.chunks(part).map(|z| Part::measure(z, channels)).collect::<Vec<_>>()
            });
            measured.into_iter().flatten().collect::<Vec<_>>()
        };
        // SAFETY: the bands are all rows of all images, and each is zeroed.
        let (z, parts) = unsafe { fresh(len, measure) };
        State { moments: Moments::merge(&parts, channels), z, winners }
    }

    /// Convolution of some rows of images, and pooling.
    fn convolve(
        &self,
        convolution: &Convolution,
        x: &[f32],
        rows: Range<usize>,
        z: &mut [f32],
        winners: &mut [u8],
    ) {
        if !self.pool {
            return convolution.run(x, rows, z);
        }
        let geometry = convolution.geometry();
        let (windows, pooled) =
            (self.windows(geometry, rows.len()), self.len(geometry, rows.len()));
        let image = rows.len() * geometry.out_row();
        with_scratch(|Scratch { gradient: full, .. }| {
            let full = full.resize(x.len() / geometry.image() * image);
            convolution.run(x, rows, full);
            let images =
                z.chunks_exact_mut(pooled.max(1)).zip(winners.chunks_exact_mut(pooled.max(1)));
            for ((z, winners), full) in images.zip(full.chunks_exact(image)) {
                windows.pool(full, z, winners);
            }
        });
    }

    /// What backward needs, the output, the sizes of the convolution and the output's shape.
    fn forward(
        &self,
        (x, x_dims): (&[f32], &[usize]),
        (weight, weight_dims): (&[f32], &[usize]),
        affine: &[f32],
    ) -> Result<(State, Vec<f32>, Geometry, Shape)> {
        let (geometry, n) = Geometry::new(x_dims, weight_dims, self.config)?;
        let (height, width) = self.shape(&geometry, geometry.out.0);
        if affine.len() != 2 * geometry.out_channels || n * height * width <= 1 {
            let count = affine.len() / 2;
            bail!("batch norm of {count} channels behind {geometry:?} with {n} images");
        }
        let bias = self.bias.as_deref();
        let convolution = Convolution::new(geometry, weight, bias, Activation::Identity);
        let state = self.measure(&convolution, x);
        let y = Affine::new(&state.moments, affine, self.eps).activated(self.activation, &state.z);
        let shape = Shape::from((n, height, width, geometry.out_channels));
        Ok((state, y, geometry, shape))
    }
}

impl CustomOp3 for Fused {
    fn name(&self) -> &'static str {
        "convolution with batch norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        affine: &CpuStorage,
        affine_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = (values(x, x_layout)?, x_layout.dims());
        let weight = (values(weight, weight_layout)?, weight_layout.dims());
        let (state, y, _, shape) = self.block.forward(x, weight, values(affine, affine_layout)?)?;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        affine: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (geometry, _) = Geometry::new(x.dims(), weight.dims(), self.block.config)?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (dx, dw, d_affine) = with_values(x, |x_values| {
            with_values(weight, |weight| {
                with_values(affine, |affine| {
                    with_values(dy, |dy| {
                        let (op, state) = (&self.block, &state);
                        let gradients = Gradients { op, state, affine, dy, geometry };
                        Ok(gradients.compute(x_values, weight, x.track_op()))
                    })
                })
            })
        })?;
        let like = |values: Vec<f32>, tensor: &Tensor| {
            Tensor::from_vec(values, tensor.shape(), tensor.device())
        };
        let dx = dx.map(|dx| like(dx, x)).transpose()?;
        Ok((dx, Some(like(dw, weight)?), Some(like(d_affine, affine)?)))
    }
}

/// What is kept of such a block in training.
struct Normalized {
    block: Block,
    state: State,
    geometry: Geometry,
    x: Value,
    weight: Tensor,
    norm: BatchNorm,
    affine: Vec<f32>,
}

impl Back for Normalized {
    fn back(&self, dy: Vec<f32>, wants_dx: bool, to: &mut GradStore) -> Result<Option<Vec<f32>>> {
        let Self { block: op, state, geometry, x, weight, norm, affine } = self;
        let gradients = Gradients { op, state, affine, dy: &dy, geometry: *geometry };
        let (dx, dw, d_affine) =
            with_values(weight, |values| Ok(gradients.compute(&x.values, values, wants_dx)))?;
        add_gradient(to, weight, dw)?;
        norm.add_gradients(d_affine, to)?;
        Ok(dx)
    }
}

/// The inputs of a backward pass.
struct Gradients<'a> {
    op: &'a Block,
    state: &'a State,
    affine: &'a [f32],
    dy: &'a [f32],
    geometry: Geometry,
}

impl Gradients<'_> {
    fn compute(
        &self,
        x: &[f32],
        weight: &[f32],
        wants_dx: bool,
    ) -> (Option<Vec<f32>>, Vec<f32>, Vec<f32>) {
        let applied = Affine::new(&self.state.moments, self.affine, self.op.eps);
        let slopes = Slopes::measure(&applied, self.op.activation, &self.state.z, self.dy);
        let fill = |images: Range<usize>, dz: &mut [f32]| {
            self.output_gradient(&applied, &slopes, images, dz)
        };
        let dy = OutputGradient::Computed(&fill);
        let (dx, dw) = Backward::new(self.geometry, (x, weight), dy, wants_dx).run();
        (dx, dw, slopes.affine_gradient())
    }

    /// The gradient of the convolution's output for some images.
    fn output_gradient(
        &self,
        applied: &Affine<'_>,
        slopes: &Slopes,
        images: Range<usize>,
        to: &mut [f32],
    ) {
        let rows = self.geometry.out.0;
        let output = self.op.len(&self.geometry, rows);
        let part = images.start * output..images.end * output;
        let (z, dy) = (&self.state.z[part.clone()], &self.dy[part.clone()]);
        if !self.op.pool {
            return slopes.input_gradient(applied, self.op.activation, z, dy, to);
        }
        with_scratch(|Scratch { padded: pooled, .. }| {
            let pooled = pooled.resize(z.len());
            slopes.input_gradient(applied, self.op.activation, z, dy, pooled);
            let winners = &self.state.winners[part];
            let images = pooled.chunks_exact(output).zip(winners.chunks_exact(output));
            for ((pooled, winners), to) in images.zip(to.chunks_exact_mut(self.geometry.output())) {
                self.op.windows(&self.geometry, rows).scatter(pooled, winners, to);
            }
        });
    }
}

#[cfg(test)]
mod tests;
