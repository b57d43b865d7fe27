//! 2-D convolution as an operator: images in parallel.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use candle_nn::{Init, VarBuilder};
use rayon::prelude::*;

use super::convolution::{InputGradient, Plan};
use super::{portable, values, with_values};

/// Parts into which a batch is cut for the weights' gradient: fixed, so that the sum does not depend on the machine.
pub(super) const BATCH_PARTS: usize = 8;

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

    pub(super) fn weight(&self) -> &Tensor {
        &self.weight
    }

    pub(super) fn config(&self) -> Conv2dConfig {
        self.config
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
        let (plan, n) = Plan::new(x_layout.dims(), weight_layout.dims(), self.config)?;
        let packed = plan.pack(values(weight, weight_layout)?);
        let mut y = vec![0.0; n * plan.output()];
        let images =
            y.par_chunks_mut(plan.output()).zip(values(x, x_layout)?.par_chunks(plan.image()));
        images.for_each(|(y, x)| plan.forward(x, &packed, y));
        let (height, width) = plan.patches.out;
        Ok((CpuStorage::F32(y), Shape::from((n, height, width, plan.out))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (plan, _) = Plan::new(x.dims(), weight.dims(), self.config)?;
        let dx = x.track_op().then(|| {
            let gradient =
                with_values(weight, |weight| Ok(InputGradient::new(plan, plan.pack(weight))))?;
            let mut dx = vec![0.0; x.elem_count()];
            with_values(dy, |dy| {
                let images = dx.par_chunks_mut(plan.image()).zip(dy.par_chunks(plan.output()));
                images.for_each(|(dx, dy)| gradient.compute(dy, dx));
                Ok(())
            })?;
            Tensor::from_vec(dx, x.shape(), x.device())
        });
        let dw = weight.track_op().then(|| {
            let dw = with_values(x, |x| with_values(dy, |dy| Ok(weight_gradient(x, dy, &plan))))?;
            Tensor::from_vec(plan.unpack(&dw), weight.shape(), weight.device())
        });
        Ok((dx.transpose()?, dw.transpose()?))
    }
}

/// The packed weights' gradient: each part of the batch sums on its own, the parts are added in order.
fn weight_gradient(x: &[f32], dy: &[f32], plan: &Plan) -> Vec<f32> {
    let part = (x.len() / plan.image()).div_ceil(BATCH_PARTS).max(1);
    let parts = x.par_chunks(part * plan.image()).zip(dy.par_chunks(part * plan.output()));
    let parts = parts.map(|(x, dy)| {
        let mut sum = vec![0.0; plan.weights()];
        for (x, dy) in x.chunks_exact(plan.image()).zip(dy.chunks_exact(plan.output())) {
            plan.add_weight_gradient(x, dy, &mut sum);
        }
        sum
    });
    add_in_order(parts.collect(), plan.weights())
}

/// The sum of equally long vectors, first to last.
pub(super) fn add_in_order(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_else(|| vec![0.0; len]);
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
    }
    sum
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
