//! 2-D average pooling, with a sliding window or with a given number of windows that cover the image as evenly as possible.

use std::ops::Range;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::fresh::fill_parts;
use super::grid::{Grid, sides};
use super::multiversion::multiversion;
use super::{Back, Pool2dConfig, Traced, Value, is_ours, portable, values, with_values};

/// The mean of each window over those of its pixels that are within the image.
///
/// # Shapes
/// As [`super::max_pool2d`].
///
/// # Errors
/// When the window does not fit, or the padding is more than half of the window.
pub fn avg_pool2d(x: &Tensor, config: Pool2dConfig) -> Result<Tensor> {
    average(x, Grid::sliding(sides(x)?, config)?)
}

/// The mean of each of `height` x `width` windows that cover the image as evenly as possible (PyTorch's `AdaptiveAvgPool2d`).
///
/// # Shapes
/// `x`: `[n, .., .., c]`; returns `[n, height, width, c]`.
///
/// # Errors
/// When there are no pixels or no windows.
pub fn adaptive_avg_pool2d(x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    average(x, Grid::adaptive(sides(x)?, (height, width))?)
}

fn average(x: &Tensor, grid: Grid) -> Result<Tensor> {
    if is_ours(x) { x.contiguous()?.apply_op1(grid) } else { portable::average(x, &grid) }
}

impl Grid {
    /// Computes the means of one image of `width` columns.
    pub(crate) fn image(&self, (width, channels): (usize, usize), x: &[f32], y: &mut [f32]) {
        y.fill(0.0);
        forward(self, width, channels, x, y);
    }

    /// The numbers of values of one input and of one output image, at least 1.
    fn sizes(&self, (height, width, channels): (usize, usize, usize)) -> (usize, usize) {
        let windows = self.rows.len() * self.columns.len();
        ((height * width * channels).max(1), (windows * channels).max(1))
    }

    /// The weight of a pixel in the mean of its window.
    fn share(rows: &Range<usize>, columns: &Range<usize>) -> f32 {
        1.0 / (rows.len() * columns.len()) as f32
    }

    /// The means of all images; `sizes` are height, width and channels of an image.
    fn means(&self, sizes: (usize, usize, usize), x: &[f32]) -> Vec<f32> {
        let (image, output) = self.sizes(sizes);
        let len = x.len() / image * output;
        let fill = |y: &mut [f32], x: &[f32]| forward(self, sizes.1, sizes.2, x, y);
        fill_parts(len, output, x.par_chunks(image), fill).0
    }

    /// The gradients of such images, `len` values in all.
    fn spread(&self, sizes: (usize, usize, usize), dy: &[f32], len: usize) -> Vec<f32> {
        let (height, width, channels) = sizes;
        let (image, output) = self.sizes(sizes);
        let covering = [covering(&self.rows, height), covering(&self.columns, width)];
        let fill = |dx: &mut [f32], dy: &[f32]| backward(self, &covering, channels, dy, dx);
        fill_parts(len, image, dy.par_chunks(output), fill).0
    }

    /// The means of all windows, with the backward pass.
    pub(crate) fn trace(self, x: &Value) -> Result<Traced> {
        let &[n, height, width, channels] = &x.dims[..] else {
            bail!("means of windows of {:?}", x.dims);
        };
        let sizes = (height, width, channels);
        let dims = [n, self.rows.len(), self.columns.len(), channels];
        let y = Value::new(self.means(sizes, &x.values), &dims);
        Ok(Traced { y, back: Box::new(Averaged { grid: self, sizes, len: x.values.len() }) })
    }
}

/// What the backward pass of average pooling needs.
struct Averaged {
    grid: Grid,
    sizes: (usize, usize, usize),
    /// The number of values of the input.
    len: usize,
}

impl Back for Averaged {
    fn back(&self, dy: Vec<f32>, _: bool, _: &mut GradStore) -> Result<Option<Vec<f32>>> {
        Ok(Some(self.grid.spread(self.sizes, &dy, self.len)))
    }
}

/// For each position, the windows that contain it.
fn covering(windows: &[Range<usize>], size: usize) -> Vec<Range<usize>> {
    let of = |at: usize| {
        windows.partition_point(|w| w.end <= at)..windows.partition_point(|w| w.start <= at)
    };
    (0..size).map(of).collect()
}

multiversion! {
    /// Adds the means of one image to `y`, which is 0 before.
    fn forward(grid: &Grid, width: usize, channels: usize, x: &[f32], y: &mut [f32]) {
        let windows = grid.rows.iter().flat_map(|r| grid.columns.iter().map(move |c| (r, c)));
        for (y, (rows, columns)) in y.chunks_exact_mut(channels).zip(windows) {
            for row in rows.clone() {
                let pixels = &x[(row * width + columns.start) * channels..][..columns.len() * channels];
                for x in pixels.chunks_exact(channels) {
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
                }
            }
            let share = Grid::share(rows, columns);
            y.iter_mut().for_each(|y| *y *= share);
        }
    }
}

multiversion! {
    /// Adds the gradient of one image to `dx`, which is 0 before. `covering` has, for each row and for each column, the windows that contain it.
    fn backward(
        grid: &Grid,
        covering: &[Vec<Range<usize>>; 2],
        channels: usize,
        dy: &[f32],
        dx: &mut [f32],
    ) {
        let [by_row, by_column] = covering;
        let pixels = by_row.iter().flat_map(|r| by_column.iter().map(move |c| (r, c)));
        for (dx, (rows, columns)) in dx.chunks_exact_mut(channels).zip(pixels) {
            for row in rows.clone() {
                for column in columns.clone() {
                    let share = Grid::share(&grid.rows[row], &grid.columns[column]);
                    let dy = &dy[(row * grid.columns.len() + column) * channels..][..channels];
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy * share);
                }
            }
        }
    }
}

impl CustomOp1 for Grid {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, height, width, channels) = layout.shape().dims4()?;
        let y = self.means((height, width, channels), values(x, layout)?);
        let shape = Shape::from((n, self.rows.len(), self.columns.len(), channels));
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, height, width, channels) = x.dims4()?;
        let sizes = (height, width, channels);
        let dx = with_values(dy, |dy| Ok(self.spread(sizes, dy, x.elem_count())))?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        assert_close, assert_finite_differences, assert_same_gradients, bits_by_threads, variable,
    };
    use super::*;
    use candle_core::Device;

    fn config(kernel: usize, stride: usize, padding: usize, ceil: bool) -> Pool2dConfig {
        Pool2dConfig { kernel, stride, padding, ceil }
    }

    #[test]
    fn means_are_of_the_pixels_within_the_image() {
        let x = Tensor::arange(0f32, 25.0, &Device::Cpu).unwrap().reshape((1, 5, 5, 1)).unwrap();
        let expected = |values: &[f32], (height, width)| {
            Tensor::from_slice(values, (1, height, width, 1), &Device::Cpu).unwrap()
        };
        let means = [3f32, 4.5, 6.0, 10.5, 12.0, 13.5, 18.0, 19.5, 21.0];
        let y = avg_pool2d(&x, config(3, 2, 1, false)).unwrap();
        assert_close(&y, &expected(&means, (3, 3)), 1e-6);
        // The last windows contain one row or column only.
        let means = [3f32, 5.0, 6.5, 13.0, 15.0, 16.5, 20.5, 22.5, 24.0];
        let y = avg_pool2d(&x, config(2, 2, 0, true)).unwrap();
        assert_close(&y, &expected(&means, (3, 3)), 1e-6);
        let y = adaptive_avg_pool2d(&x, (2, 1)).unwrap();
        assert_close(&y, &expected(&[7f32, 17.0], (2, 1)), 1e-6);
    }

    #[test]
    fn agrees_with_candle() {
        for (kernel, stride) in [(2, 2), (3, 2), (3, 1), (2, 3), (4, 4)] {
            let x = variable("x", &[3, 8, 9, 5]);
            let oracle = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
            let oracle = oracle.avg_pool2d_with_stride(kernel, stride).unwrap();
            let y = avg_pool2d(x.as_tensor(), config(kernel, stride, 0, false)).unwrap();
            assert_close(&y, &oracle.permute((0, 2, 3, 1)).unwrap(), 1e-6);
        }
    }

    #[test]
    fn agrees_with_the_portable_form() {
        for config in [
            config(2, 2, 0, false),
            config(3, 2, 0, true),
            config(3, 2, 1, false),
            config(3, 1, 1, false),
            config(2, 3, 1, true),
            config(8, 1, 0, false),
        ] {
            let x = variable("x", &[3, 8, 9, 21]);
            let ours = || avg_pool2d(x.as_tensor(), config);
            assert_same_gradients(
                &[&x],
                ours,
                || portable::avg_pool2d(x.as_tensor(), config),
                1e-6,
            );
        }
        for (side, size) in [(7, (1, 1)), (13, (6, 6)), (4, (1, 3)), (5, (7, 7)), (6, (6, 2))] {
            let x = variable("x", &[3, side, side, 21]);
            let ours = || adaptive_avg_pool2d(x.as_tensor(), size);
            let oracle = || portable::adaptive_avg_pool2d(x.as_tensor(), size);
            assert_same_gradients(&[&x], ours, oracle, 1e-6);
        }
        // A layout that no operator of this crate produces.
        let x = variable("x", &[21, 6, 3, 5]);
        let turned = || x.permute((2, 1, 3, 0));
        let ours = || adaptive_avg_pool2d(&turned()?, (3, 2))?.transpose(1, 2);
        let oracle = || portable::adaptive_avg_pool2d(&turned()?, (3, 2))?.transpose(1, 2);
        assert_same_gradients(&[&x], ours, oracle, 1e-6);
    }

    #[test]
    fn agrees_with_finite_differences() {
        let x = variable("x", &[2, 6, 5, 3]);
        for config in [config(3, 2, 0, true), config(3, 1, 1, false), config(1, 2, 0, false)] {
            assert_finite_differences(&[&x], || avg_pool2d(x.as_tensor(), config));
        }
        for size in [(1, 1), (7, 2), (4, 3)] {
            assert_finite_differences(&[&x], || adaptive_avg_pool2d(x.as_tensor(), size));
        }
    }

    #[test]
    fn neither_threads_nor_other_images_change_a_bit() {
        let x = variable("x", &[9, 7, 7, 40]);
        let all = bits_by_threads(&x, || adaptive_avg_pool2d(x.as_tensor(), (3, 3)));
        for i in 0..9 {
            let one = adaptive_avg_pool2d(&x.narrow(0, i, 1).unwrap(), (3, 3)).unwrap();
            let one = one.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(one, all[i * one.len()..][..one.len()]);
        }
    }

    #[test]
    fn other_types_have_the_portable_form() {
        let x = variable("x", &[2, 5, 5, 3]).to_dtype(candle_core::DType::F64).unwrap();
        let y = adaptive_avg_pool2d(&x, (2, 2)).unwrap();
        assert_eq!(y.dtype(), candle_core::DType::F64);
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        let x = variable("x", &[1, 4, 4, 6]);
        for (kernel, stride, padding) in [(5, 1, 0), (2, 1, 2), (2, 0, 0), (0, 1, 0)] {
            let config = config(kernel, stride, padding, false);
            assert!(avg_pool2d(x.as_tensor(), config).is_err(), "{config:?}");
        }
        for size in [(0, 1), (1, 0)] {
            assert!(adaptive_avg_pool2d(x.as_tensor(), size).is_err(), "{size:?}");
        }
        let none = x.narrow(1, 0, 0).unwrap();
        assert!(adaptive_avg_pool2d(&none, (1, 1)).is_err());
        assert!(avg_pool2d(&none, config(2, 1, 1, false)).is_err());
        assert!(adaptive_avg_pool2d(&x.flatten(0, 1).unwrap(), (1, 1)).is_err());
        let empty = x.narrow(0, 0, 0).unwrap();
        assert_eq!(adaptive_avg_pool2d(&empty, (1, 1)).unwrap().dims(), [0, 1, 1, 6]);
    }
}
