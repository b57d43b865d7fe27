//! 2-D max pooling with any kernel, stride and padding.

use std::sync::{Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::fresh::fill_parts;
use super::multiversion::multiversion;
use super::{Back, Tasks, Traced, Value, is_ours, portable, positions, values, with_values};

/// A pooling window, the same along both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2dConfig {
    /// The side of the window, in pixels; at most 15.
    pub kernel: usize,
    /// The step between outputs, in pixels.
    pub stride: usize,
    /// By how many pixels the window may reach over the border, at most half of the window. Pixels outside are ignored.
    pub padding: usize,
    /// Whether a last window that reaches over the far border is used, too, as long as it begins within the image.
    pub ceil: bool,
}

impl Pool2dConfig {
    fn check(self) -> Result<()> {
        if self.kernel > 15 || self.padding > self.kernel / 2 {
            bail!("max_pool2d takes a kernel up to 15 and padding up to half of it, got {self:?}");
        }
        Ok(())
    }

    /// The number of windows along a side of `size` pixels.
    ///
    /// # Errors
    /// When the window does not fit.
    pub(crate) fn positions(self, size: usize) -> Result<usize> {
        let Self { kernel, stride, padding, ceil } = self;
        let whole = positions(size, kernel, stride, [padding; 2])?;
        let begins_within = whole * stride < size + padding;
        let covered = (whole - 1) * stride + kernel >= size + 2 * padding;
        Ok(whole + usize::from(ceil && begins_within && !covered))
    }
}

/// The largest value of each window. Its gradient goes to the first position that has this value, in row-major order.
///
/// # Shapes
/// `x`: `[n, height, width, c]`; returns `[n, height', width', c]` with `height' = (height + 2 padding - kernel) / stride + 1`.
///
/// # Errors
/// When the window does not fit, or the padding is more than half of the window.
pub fn max_pool2d(x: &Tensor, config: Pool2dConfig) -> Result<Tensor> {
    config.check()?;
    if !is_ours(x) {
        return portable::max_pool2d(x, config);
    }
    x.contiguous()?.apply_op1(MaxPool { config, winners: Mutex::default() })
}

struct MaxPool {
    config: Pool2dConfig,
    /// For each output, the position of its value in the window, `ky * kernel + kx`. An operator serves one call only.
    winners: Mutex<Vec<u8>>,
}

/// The sizes for one image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxWindows {
    height: usize,
    width: usize,
    channels: usize,
    out: (usize, usize),
    config: Pool2dConfig,
}

impl MaxPool {
    fn windows(&self, dims: &[usize]) -> Result<MaxWindows> {
        let &[_, height, width, channels] = dims else {
            bail!("max_pool2d takes [n, h, w, c], got {dims:?}");
        };
        MaxWindows::new((height, width, channels), self.config)
    }
}

impl MaxWindows {
    /// The sizes for an image of `height` x `width` x `channels`.
    ///
    /// # Errors
    /// When the window does not fit.
    pub(crate) fn new(
        (height, width, channels): (usize, usize, usize),
        config: Pool2dConfig,
    ) -> Result<Self> {
        let out = (config.positions(height)?, config.positions(width)?);
        Ok(Self { height, width, channels, out, config })
    }

    /// The number of values of a row of the output.
    pub(crate) fn out_row(&self) -> usize {
        self.out.1 * self.channels
    }

    /// Computes one row of the output.
    pub(crate) fn row(&self, x: &[f32], row: usize, y: &mut [f32]) {
        maxima(self, x, row, y);
    }

    /// Calls `f(output offset, position in the window, input offset)` for every pixel of every window. Offsets are those of the first channel.
    fn for_each(&self, mut f: impl FnMut(usize, u8, usize)) {
        let Pool2dConfig { kernel, stride, padding, .. } = self.config;
        for oy in 0..self.out.0 {
            for ox in 0..self.out.1 {
                let to = (oy * self.out.1 + ox) * self.channels;
                for ky in 0..kernel {
                    for kx in 0..kernel {
                        let y = (oy * stride + ky).wrapping_sub(padding);
                        let x = (ox * stride + kx).wrapping_sub(padding);
                        if y < self.height && x < self.width {
                            let from = (y * self.width + x) * self.channels;
                            f(to, (ky * kernel + kx) as u8, from);
                        }
                    }
                }
            }
        }
    }

    fn forward(&self, x: &[f32], y: &mut [f32], winners: &mut [u8]) {
        let c = self.channels;
        self.for_each(|to, place, from| {
            let (y, winners) = (&mut y[to..to + c], &mut winners[to..to + c]);
            for ((y, winner), &x) in y.iter_mut().zip(winners).zip(&x[from..from + c]) {
                // NaN counts as the largest value, so that it is not hidden.
                let larger = x > *y || x.is_nan();
                *y = if larger { x } else { *y };
                *winner = if larger { place } else { *winner };
            }
        });
    }

    fn backward(&self, dy: &[f32], winners: &[u8], dx: &mut [f32]) {
        let c = self.channels;
        self.for_each(|to, place, from| {
            let (dy, winners) = (&dy[to..to + c], &winners[to..to + c]);
            for ((dx, &dy), &winner) in dx[from..from + c].iter_mut().zip(dy).zip(winners) {
                *dx += if winner == place { dy } else { 0.0 };
            }
        });
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let windows = self.windows(layout.dims())?;
        let (y, winners) = windows.maxima_of(values(x, layout)?);
        *self.winners.lock().unwrap_or_else(PoisonError::into_inner) = winners;
        let shape = (layout.dims()[0], windows.out.0, windows.out.1, windows.channels);
        Ok((CpuStorage::F32(y), Shape::from(shape)))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let windows = self.windows(x.dims())?;
        let winners = self.winners.lock().unwrap_or_else(PoisonError::into_inner);
        let dx = with_values(dy, |dy| Ok(windows.scattered(dy, &winners, x.elem_count())))?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// As [`max_pool2d`], with its backward pass.
pub(crate) fn traced_max_pool2d(x: &Value, config: Pool2dConfig) -> Result<Traced> {
    config.check()?;
    let windows = MaxPool { config, winners: Mutex::default() }.windows(&x.dims)?;
    let (y, winners) = windows.maxima_of(&x.values);
    let dims = [x.dims[0], windows.out.0, windows.out.1, windows.channels];
    let back = Box::new(Pooled { windows, winners, len: x.values.len() });
    Ok(Traced { y: Value::new(y, &dims), back })
}

/// What the backward pass of max pooling needs.
struct Pooled {
    windows: MaxWindows,
    winners: Vec<u8>,
    /// The number of values of the input.
    len: usize,
}

impl Back for Pooled {
    fn back(&self, dy: Vec<f32>, _: bool, _: &mut GradStore) -> Result<Option<Vec<f32>>> {
        Ok(Some(self.windows.scattered(&dy, &self.winners, self.len)))
    }
}

impl MaxWindows {
    /// The largest value of each window of all images, and its position.
    fn maxima_of(&self, x: &[f32]) -> (Vec<f32>, Vec<u8>) {
        let (image, output) = self.sizes();
        let mut y = vec![f32::NEG_INFINITY; x.len() / image * output];
        let mut winners = vec![0; y.len()];
        let outputs = y.par_chunks_mut(output).zip(winners.par_chunks_mut(output));
        outputs.zip(x.par_chunks(image)).run(|((y, winners), x)| self.forward(x, y, winners));
        (y, winners)
    }

    /// The gradients of the inputs, `len` values in all.
    fn scattered(&self, dy: &[f32], winners: &[u8], len: usize) -> Vec<f32> {
        let (image, output) = self.sizes();
        let inputs = dy.par_chunks(output).zip(winners.par_chunks(output));
        let fill = |dx: &mut [f32], (dy, winners): (&[f32], &[u8])| self.backward(dy, winners, dx);
        fill_parts(len, image, inputs, fill).0
    }

    /// The numbers of values of one input and of one output image.
    fn sizes(&self) -> (usize, usize) {
        let image = self.height * self.width * self.channels;
        (image.max(1), (self.out.0 * self.out.1 * self.channels).max(1))
    }
}

multiversion! {
    fn maxima(windows: &MaxWindows, x: &[f32], row: usize, y: &mut [f32]) {
        /// The number of channels whose maxima are kept in registers while a window is read.
        const CHANNELS: usize = 32;
        let MaxWindows { height, width, channels, config, .. } = *windows;
        let Pool2dConfig { kernel, stride, padding, .. } = config;
        let inside = |first: usize, size: usize| {
            first.saturating_sub(padding)..(first + kernel).saturating_sub(padding).min(size)
        };
        let rows = inside(row * stride, height);
        for (column, y) in y.chunks_exact_mut(channels).enumerate() {
            let columns = inside(column * stride, width);
            for (c, y) in y.chunks_mut(CHANNELS).enumerate() {
                let mut best = [f32::NEG_INFINITY; CHANNELS];
                for row in rows.clone() {
                    for column in columns.clone() {
                        let x = &x[(row * width + column) * channels + c * CHANNELS..][..y.len()];
                        for (best, &x) in best.iter_mut().zip(x) {
                            // NaN counts as the largest value, so that it is not hidden.
                            *best = if x > *best || x.is_nan() { x } else { *best };
                        }
                    }
                }
                y.copy_from_slice(&best[..y.len()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_finite_differences, assert_same_gradients, variable};
    use super::*;

    #[test]
    fn agrees_with_the_portable_form() {
        for (kernel, stride, padding, side) in
            [(2, 2, 0, 8), (2, 2, 0, 7), (3, 2, 0, 8), (3, 2, 1, 8), (3, 1, 1, 5), (2, 3, 0, 8)]
        {
            let x = variable("x", &[3, side, side + 2, 4]);
            let config = Pool2dConfig { kernel, stride, padding, ceil: side % 2 == 0 };
            let ours = || max_pool2d(x.as_tensor(), config);
            let oracle = || portable::max_pool2d(x.as_tensor(), config);
            assert_same_gradients(&[&x], ours, oracle, 1e-6);
        }
    }

    #[test]
    fn agrees_with_finite_differences() {
        // The values are distinct and further apart than the step of the finite differences, so that no window changes its maximum.
        let count = 2 * 6 * 6 * 2;
        let spread: Vec<f32> = (0..count).map(|i| (i * 89 % count) as f32 * 0.05).collect();
        let spread = Tensor::from_vec(spread, (2, 6, 6, 2), &candle_core::Device::Cpu).unwrap();
        let x = candle_core::Var::from_tensor(&spread).unwrap();
        let config = Pool2dConfig { kernel: 3, stride: 2, padding: 1, ceil: true };
        assert_finite_differences(&[&x], || max_pool2d(x.as_tensor(), config));
    }

    #[test]
    fn ties_go_to_the_first_place_and_nan_is_seen() {
        let x = candle_core::Var::zeros(
            (1, 2, 2, 1),
            candle_core::DType::F32,
            &candle_core::Device::Cpu,
        );
        let x = x.unwrap();
        let config = Pool2dConfig { kernel: 2, stride: 2, padding: 0, ceil: false };
        let y = max_pool2d(x.as_tensor(), config).unwrap();
        let gradients = y.sum_all().unwrap().backward().unwrap();
        let dx = gradients.get(&x).unwrap().flatten_all().unwrap();
        assert_eq!(dx.to_vec1::<f32>().unwrap(), [1.0, 0.0, 0.0, 0.0]);
        let x = Tensor::new(&[1.0f32, f32::NAN, 2.0, 0.0], x.device()).unwrap();
        let y = max_pool2d(&x.reshape((1, 2, 2, 1)).unwrap(), config).unwrap();
        assert!(y.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0].is_nan());
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        let x = variable("x", &[1, 4, 4, 1]);
        for (kernel, stride, padding) in [(5, 1, 0), (2, 0, 0), (0, 1, 0), (2, 2, 2), (16, 1, 8)] {
            let config = Pool2dConfig { kernel, stride, padding, ceil: false };
            assert!(max_pool2d(x.as_tensor(), config).is_err(), "{config:?}");
        }
    }
}
