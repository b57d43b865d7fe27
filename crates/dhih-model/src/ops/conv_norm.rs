//! Convolution, batch norm and activation as one operator in training, optionally with 2 x 2 max pooling between convolution and norm.
//!
//! One operator saves memory traffic: statistics are measured while the convolution's output is in cache, with pooling this output is never
//! written to memory, and its gradient exists for a few images at a time.

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

/// A convolution, 2 x 2 max pooling where `pool`, and batch norm with its activation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvNorm<'a> {
    pub(crate) conv: &'a Conv2d,
    pub(crate) norm: &'a BatchNorm,
    pub(crate) pool: bool,
}

/// The pooling that can be fused.
pub(crate) const POOL: Pool2dConfig =
    Pool2dConfig { kernel: 2, stride: 2, padding: 0, ceil: false };

impl ConvNorm<'_> {
    /// Runs the operators one by one: in evaluation, on a GPU, and as the oracle of the fused operator.
    pub(crate) fn unfused(&self, x: &Tensor, momentum: Option<f64>) -> Result<Tensor> {
        let Self { conv, norm, pool } = *self;
        if momentum.is_none() && !pool && conv.activation == Activation::Identity {
            return conv.followed_by(norm)?.forward(x);
        }
        // In training, batch norm cancels a bias before it, whose gradient would be nothing but rounding errors.
        let is_fixed = momentum.is_some() && conv.activation == Activation::Identity;
        let bias =
            conv.bias.as_ref().map(|bias| if is_fixed { bias.detach() } else { bias.clone() });
        let z = conv2d(x, &conv.weight, bias.as_ref(), conv.config, conv.activation)?;
        norm.forward(&if pool { max_pool2d(&z, POOL)? } else { z }, momentum)
    }

    /// As [`BatchNorm::forward`], where in training `momentum` is the weight of the batch in the running statistics.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, in]`; returns `[n, height', width', out]`, with half of the sides where it is pooled.
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

    /// As [`Self::forward`] in training, with its backward pass; `None` where the operators have to run one by one.
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
    /// What the forward pass has measured. An operator serves one call only.
    state: Arc<Mutex<State>>,
}

/// The constants of the operator.
struct Block {
    config: super::Conv2dConfig,
    /// The bias of the convolution. Batch norm cancels it; its gradient is 0 and is not computed.
    bias: Option<Vec<f32>>,
    /// Added to variances.
    eps: f64,
    activation: Activation,
    pool: bool,
}

/// What the backward pass needs from the forward pass.
#[derive(Default)]
struct State {
    moments: Moments,
    /// The values before normalisation: the output of the convolution, pooled where the operator pools.
    z: Vec<f32>,
    /// The position of each pooled value in its window.
    winners: Vec<u8>,
}

/// How a batch is divided.
struct Cut {
    /// The pieces that are convolved at once.
    bands: Vec<Band>,
    /// The number of values whose statistics are measured together.
    part: usize,
}

impl Block {
    /// The pooling windows of some rows of an image.
    fn windows(&self, geometry: &Geometry, rows: usize) -> Windows {
        Windows { height: rows, width: geometry.out.1, channels: geometry.out_channels }
    }

    /// The shape of the values before normalisation, for some rows of an image.
    fn shape(&self, geometry: &Geometry, rows: usize) -> (usize, usize) {
        if self.pool { self.windows(geometry, rows).pooled() } else { (rows, geometry.out.1) }
    }

    /// The number of values before normalisation, for some rows of an image.
    fn len(&self, geometry: &Geometry, rows: usize) -> usize {
        let (height, width) = self.shape(geometry, rows);
        height * width * geometry.out_channels
    }

    /// Divides a batch of `n` images. Statistics are measured for a few small images or for some rows of a large one at a time; these parts do
    /// not depend on the machine. How many parts are convolved at once does.
    fn cut(&self, geometry: &Geometry, n: usize) -> Cut {
        const PART: usize = 1 << 13;
        const LARGEST_PART: usize = 1 << 17;
        // Rows of two Winograd tiles, so that pooling windows do not cross tiles.
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
        // As many as fit into the cache, but enough for each thread to have some.
        let most = (LARGEST_PART / image.max(geometry.image()) / images).max(1);
        let together = (n.div_ceil(images) / (4 * threads())).clamp(1, most) * images;
        let bands = (0..n).step_by(together);
        let bands = bands.map(|i| Band { images: i..n.min(i + together), rows: 0..height });
        Cut { bands: bands.collect(), part: (images * self.len(geometry, height)).max(1) }
    }

    /// Convolution, pooling and measuring of statistics.
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
        // SAFETY: the bands are all rows of all images, and each band is zeroed.
        let (z, parts) = unsafe { fresh(len, measure) };
        State { moments: Moments::merge(&parts, channels), z, winners }
    }

    /// Convolves some rows of images, and pools them.
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

    /// Runs the forward pass. Returns what the backward pass needs, the output, the sizes of the convolution, and the shape of the output.
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

/// What the backward pass of the block needs.
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
