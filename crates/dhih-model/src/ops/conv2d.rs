//! 2-D convolution: patches are unrolled block by block into cache-sized scratch and multiplied there, images in parallel.

use std::cell::RefCell;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};
use rayon::prelude::*;

use super::gemm::{Matrix, multiply};
use super::im2col::Patches;
use super::{portable, positions, values, with_values};

/// Parts into which a batch is cut for the weights' gradient: fixed, so that the sum does not depend on the machine.
const BATCH_PARTS: usize = 8;

thread_local! {
    /// Scratch for unrolled patches, kept from call to call: fresh pages cost as much as the arithmetic.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// How the kernel moves over the image, alike in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Step between outputs, in pixels.
    pub stride: usize,
    /// Zeros added on each side, in pixels.
    pub padding: usize,
}

/// A convolution without bias (batch norm brings its own).
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor,
    config: Conv2dConfig,
}

impl Conv2d {
    /// Names `weight` `[out, in, kernel, kernel]` under `vb`, initialised after He et al. (2015), fan-in, normal.
    ///
    /// # Errors
    /// Those of the variable store.
    pub fn new(
        (channels_in, channels_out): (usize, usize),
        kernel: usize,
        config: Conv2dConfig,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let shape = (channels_out, channels_in, kernel, kernel);
        let fan_in = (channels_in * kernel * kernel) as f64;
        let init = Init::Randn { mean: 0.0, stdev: (2.0 / fan_in).sqrt() };
        Ok(Self { weight: vb.get_with_hints(shape, "weight", init)?, config })
    }

    /// # Shapes
    /// `[n, height, width, in]` to `[n, height', width', out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        conv2d(x, &self.weight, self.config)
    }
}

/// Convolution of a batch of images.
///
/// # Shapes
/// `x`: `[n, height, width, in]`; `weight`: `[out, in, kernel height, kernel width]`; returns `[n, height', width', out]`
/// with `height' = (height + 2 padding - kernel) / stride + 1`.
///
/// # Errors
/// When the channels differ or the kernel does not fit the padded image.
pub fn conv2d(x: &Tensor, weight: &Tensor, config: Conv2dConfig) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return portable::conv2d(x, weight, config);
    }
    x.contiguous()?.apply_op2(&weight.contiguous()?, Convolution { config })
}

struct Convolution {
    config: Conv2dConfig,
}

impl Convolution {
    /// The geometry, the number of images and of output channels.
    fn plan(&self, x: &[usize], weight: &[usize]) -> Result<(Patches, usize, usize)> {
        let (&[n, height, width, channels], &[out, channels_in, kh, kw]) = (x, weight) else {
            bail!("conv2d takes [n, h, w, c] and [out, in, kh, kw], got {x:?} and {weight:?}");
        };
        if channels != channels_in {
            bail!("conv2d of {channels} channels with weights for {channels_in}");
        }
        let Conv2dConfig { stride, padding } = self.config;
        let sizes =
            (positions(height, kh, stride, padding)?, positions(width, kw, stride, padding)?);
        let kernel = (kh, kw);
        Ok((Patches { height, width, channels, kernel, stride, padding, out: sizes }, n, out))
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (patches, n, out) = self.plan(x_layout.dims(), weight_layout.dims())?;
        let weight = by_patch(values(weight, weight_layout)?, out, &patches);
        let y = convolve(values(x, x_layout)?, &weight, out, &patches);
        Ok((CpuStorage::F32(y), Shape::from((n, patches.out.0, patches.out.1, out))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (patches, _, out) = self.plan(x.dims(), weight.dims())?;
        let dx = x.track_op().then(|| {
            let dx = with_values(weight, |weight| {
                let weight = by_patch(weight, out, &patches);
                with_values(dy, |dy| Ok(input_gradient(dy, &weight, out, &patches)))
            })?;
            Tensor::from_vec(dx, x.shape(), x.device())
        });
        let dw = weight.track_op().then(|| {
            let dw = with_values(x, |x| {
                with_values(dy, |dy| Ok(weight_gradient(x, dy, out, &patches)))
            })?;
            Tensor::from_vec(by_channel(&dw, out, &patches), weight.shape(), weight.device())
        });
        Ok((dx.transpose()?, dw.transpose()?))
    }
}

/// Weights `[out, in, kh, kw]` as `[kh * kw * in, out]`, the order of a channels-last patch.
fn by_patch(weight: &[f32], out: usize, patches: &Patches) -> Vec<f32> {
    let (channels, taps) = (patches.channels, patches.kernel.0 * patches.kernel.1);
    let mut packed = vec![0.0; weight.len()];
    for o in 0..out {
        for c in 0..channels {
            for t in 0..taps {
                packed[(t * channels + c) * out + o] = weight[(o * channels + c) * taps + t];
            }
        }
    }
    packed
}

/// The inverse of [`by_patch`].
fn by_channel(packed: &[f32], out: usize, patches: &Patches) -> Vec<f32> {
    let (channels, taps) = (patches.channels, patches.kernel.0 * patches.kernel.1);
    let mut weight = vec![0.0; packed.len()];
    for o in 0..out {
        for c in 0..channels {
            for t in 0..taps {
                weight[(o * channels + c) * taps + t] = packed[(t * channels + c) * out + o];
            }
        }
    }
    weight
}

/// Calls `f` with the patch matrix of each block of output rows: `(first output pixel, output pixels, patches)`.
fn for_each_block(image: &[f32], patches: &Patches, mut f: impl FnMut(usize, usize, &[f32])) {
    let (rows, width) = patches.out;
    if patches.is_pointwise() {
        return f(0, rows * width, image);
    }
    let step = patches.rows_per_block();
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.resize(step * width * patches.patch_len(), 0.0);
        for start in (0..rows).step_by(step) {
            let end = rows.min(start + step);
            patches.unroll(image, start..end, scratch);
            f(start * width, (end - start) * width, scratch);
        }
    });
}

fn convolve(x: &[f32], weight: &[f32], out: usize, patches: &Patches) -> Vec<f32> {
    let image = patches.height * patches.width * patches.channels;
    let output = patches.out.0 * patches.out.1 * out;
    let mut y = vec![0.0; x.len() / image * output];
    let pairs = y.par_chunks_mut(output).zip(x.par_chunks(image));
    pairs.for_each(|(y, x)| {
        for_each_block(x, patches, |start, pixels, columns| {
            let columns = Matrix::new(columns, pixels, patches.patch_len());
            let weight = Matrix::new(weight, patches.patch_len(), out);
            multiply(columns, weight, &mut y[start * out..(start + pixels) * out], false);
        });
    });
    y
}

/// With stride 1 the input's gradient is itself a convolution, of the output's gradient with the kernel turned by 180
/// degrees; otherwise patches' gradients are added back.
fn input_gradient(dy: &[f32], weight: &[f32], out: usize, patches: &Patches) -> Vec<f32> {
    let Patches { height, width, channels, kernel: (kh, kw), stride, padding, .. } = *patches;
    if stride == 1 && kh == kw && padding < kh {
        let mut turned = vec![0.0; weight.len()];
        for (tap, block) in weight.chunks_exact(channels * out).enumerate() {
            let to = (kh * kw - 1 - tap) * out * channels;
            for (i, value) in block.iter().enumerate() {
                turned[to + i % out * channels + i / out] = *value;
            }
        }
        let (dy_height, dy_width) = patches.out;
        let transposed = Patches {
            height: dy_height,
            width: dy_width,
            channels: out,
            padding: kh - 1 - padding,
            out: (height, width),
            ..*patches
        };
        return convolve(dy, &turned, channels, &transposed);
    }
    let image = height * width * channels;
    let (rows, columns) = patches.out;
    let mut dx = vec![0.0; dy.len() / (rows * columns * out) * image];
    let pairs = dx.par_chunks_mut(image).zip(dy.par_chunks(rows * columns * out));
    pairs.for_each(|(dx, dy)| {
        SCRATCH.with_borrow_mut(|scratch| {
            let step = patches.rows_per_block();
            scratch.resize(step * columns * patches.patch_len(), 0.0);
            for start in (0..rows).step_by(step) {
                let end = rows.min(start + step);
                let pixels = (end - start) * columns;
                let dy = &dy[start * columns * out..end * columns * out];
                let weight = Matrix::new(weight, patches.patch_len(), out).transposed();
                multiply(Matrix::new(dy, pixels, out), weight, scratch, false);
                patches.roll(scratch, start..end, dx);
            }
        });
    });
    dx
}

/// `[kh * kw * in, out]`: each part of the batch sums on its own, the parts are added in order.
fn weight_gradient(x: &[f32], dy: &[f32], out: usize, patches: &Patches) -> Vec<f32> {
    let image = patches.height * patches.width * patches.channels;
    let output = patches.out.0 * patches.out.1 * out;
    let part = (x.len() / image).div_ceil(BATCH_PARTS).max(1);
    let parts = x.par_chunks(part * image).zip(dy.par_chunks(part * output));
    let parts: Vec<Vec<f32>> = parts
        .map(|(x, dy)| {
            let mut sum = vec![0.0; patches.patch_len() * out];
            for (x, dy) in x.chunks_exact(image).zip(dy.chunks_exact(output)) {
                for_each_block(x, patches, |start, pixels, columns| {
                    let columns = Matrix::new(columns, pixels, patches.patch_len()).transposed();
                    let dy = Matrix::new(&dy[start * out..(start + pixels) * out], pixels, out);
                    multiply(columns, dy, &mut sum, true);
                });
            }
            sum
        })
        .collect();
    let add = |mut sum: Vec<f32>, part: Vec<f32>| {
        sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
        sum
    };
    parts.into_iter().reduce(add).unwrap_or_else(|| vec![0.0; patches.patch_len() * out])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_finite_differences, assert_same_gradients, variable};
    use super::*;

    #[test]
    fn agrees_with_candle() {
        for (kernel, stride, padding, n, side) in [
            (3, 1, 1, 3, 8),
            (3, 2, 1, 2, 9),
            (5, 1, 2, 2, 7),
            (1, 1, 0, 4, 5),
            (1, 2, 0, 2, 6),
            (4, 4, 0, 2, 8),
            (3, 1, 2, 9, 4),
            (2, 1, 3, 1, 5),
            (11, 4, 2, 1, 31),
        ] {
            // candle's own backward fails on oblong images where the stride is not 1.
            let width = if stride == 1 { side + 1 } else { side };
            let x = variable("x", &[n, side, width, 3]);
            let w = variable("w", &[5, 3, kernel, kernel]);
            let config = Conv2dConfig { stride, padding };
            let ours = || conv2d(x.as_tensor(), w.as_tensor(), config);
            let oracle = || portable::conv2d(x.as_tensor(), w.as_tensor(), config);
            assert_same_gradients(&[&x, &w], ours, oracle, 1e-5);
        }
    }

    #[test]
    fn agrees_with_finite_differences() {
        let (x, w) = (variable("x", &[2, 6, 5, 2]), variable("w", &[3, 2, 3, 3]));
        let config = Conv2dConfig { stride: 2, padding: 1 };
        assert_finite_differences(&[&x, &w], || conv2d(x.as_tensor(), w.as_tensor(), config));
    }

    #[test]
    fn strided_inputs_and_gradients_are_understood() {
        let (x, w) = (variable("x", &[3, 6, 2, 5]), variable("w", &[4, 3, 3, 3]));
        let config = Conv2dConfig { stride: 1, padding: 1 };
        let ours = || {
            let y = conv2d(&x.permute((2, 1, 3, 0))?, w.as_tensor(), config)?;
            y.transpose(1, 2)
        };
        let oracle = || {
            let y = portable::conv2d(&x.permute((2, 1, 3, 0))?, w.as_tensor(), config)?;
            y.transpose(1, 2)
        };
        assert_same_gradients(&[&x, &w], ours, oracle, 1e-5);
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let (x, w) = (variable("x", &[13, 8, 8, 3]), variable("w", &[4, 3, 3, 3]));
        let config = Conv2dConfig { stride: 1, padding: 1 };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let y = conv2d(x.as_tensor(), w.as_tensor(), config).unwrap();
                let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                gradients.get(&w).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
            })
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let config = Conv2dConfig { stride: 1, padding: 0 };
        let x = variable("x", &[1, 4, 4, 3]);
        for dims in [[2, 4, 3, 3], [2, 3, 5, 5], [2, 3, 0, 0]] {
            let w = Tensor::zeros(&dims[..], candle_core::DType::F32, x.device()).unwrap();
            assert!(conv2d(x.as_tensor(), &w, config).is_err(), "{dims:?}");
        }
        let w = variable("w", &[2, 3, 3, 3]);
        let still = Conv2dConfig { stride: 0, padding: 0 };
        assert!(conv2d(x.as_tensor(), w.as_tensor(), still).is_err());
    }
}
