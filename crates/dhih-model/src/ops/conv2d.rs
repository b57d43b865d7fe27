//! 2-D convolution as an operator: images in parallel.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};
use rayon::prelude::*;

use super::convolution::{InputGradient, Plan};
use super::{Activation, portable, positions, values, with_values};

/// Parts into which a batch is cut for the weights' gradient: fixed, so that the sum does not depend on the machine.
pub(super) const BATCH_PARTS: usize = 8;

/// How the kernel moves over the image, alike in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Step between outputs, in pixels.
    pub stride: usize,
    /// Zeros added on each side, in pixels.
    pub padding: usize,
    /// Step between the kernel's taps, in pixels.
    pub dilation: usize,
    /// Parts into which the channels are cut; each part of the output sees its part of the input only.
    pub groups: usize,
}

impl Default for Conv2dConfig {
    /// Stride 1, no padding, dilation 1, one group.
    fn default() -> Self {
        Self { stride: 1, padding: 0, dilation: 1, groups: 1 }
    }
}

impl Conv2dConfig {
    /// Outputs along a side of `size` pixels.
    ///
    /// # Errors
    /// When the kernel does not fit.
    pub(crate) fn positions(self, size: usize, kernel: usize) -> Result<usize> {
        let Self { stride, padding, dilation, .. } = self;
        if dilation == 0 {
            bail!("a dilation of 0");
        }
        let reach = kernel.checked_sub(1).map_or(0, |last| last * dilation + 1);
        positions(size, reach, stride, padding)
    }
}

/// A convolution with its activation; the bias is absent where batch norm brings one.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// `[out, in / groups, kernel, kernel]`.
    pub(crate) weight: Tensor,
    /// `[out]`.
    pub(crate) bias: Option<Tensor>,
    pub(crate) config: Conv2dConfig,
    pub(crate) activation: Activation,
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
        let weight = vb.get_with_hints(shape, "weight", init)?;
        Ok(Self { weight, bias: None, config, activation: Activation::Identity })
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
        conv2d(x, &self.weight, self.bias.as_ref(), self.config, self.activation)
    }
}

/// Convolution of a batch of images, plus the bias, through the activation.
///
/// # Shapes
/// `x`: `[n, height, width, in]`; `weight`: `[out, in / groups, kernel height, kernel width]`; `bias`: `[out]`; returns
/// `[n, height', width', out]` with `height' = (height + 2 padding - dilation (kernel - 1) - 1) / stride + 1`.
///
/// # Errors
/// When the channels differ or the kernel does not fit the padded image.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: Conv2dConfig,
    activation: Activation,
) -> Result<Tensor> {
    if !x.device().is_cpu() || config.groups != 1 || config.dilation != 1 {
        return portable::conv2d(x, weight, bias, config, activation);
    }
    let y = x.contiguous()?.apply_op2(&weight.contiguous()?, Convolution { config })?;
    portable::add_bias(&y, bias, activation)
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

    fn plain(x: &Tensor, w: &Tensor, config: Conv2dConfig) -> Result<Tensor> {
        conv2d(x, w, None, config, Activation::Identity)
    }

    fn portable_plain(x: &Tensor, w: &Tensor, config: Conv2dConfig) -> Result<Tensor> {
        portable::conv2d(x, w, None, config, Activation::Identity)
    }

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
            let x = variable("x", &[n, side, side + 1, 3]);
            let w = variable("w", &[5, 3, kernel, kernel]);
            let config = Conv2dConfig { stride, padding, ..Default::default() };
            let ours = || plain(x.as_tensor(), w.as_tensor(), config);
            let oracle = || portable_plain(x.as_tensor(), w.as_tensor(), config);
            assert_same_gradients(&[&x, &w], ours, oracle, 1e-5);
        }
    }

    #[test]
    fn agrees_with_finite_differences() {
        let (x, w) = (variable("x", &[2, 6, 5, 2]), variable("w", &[3, 2, 3, 3]));
        let config = Conv2dConfig { stride: 2, padding: 1, ..Default::default() };
        assert_finite_differences(&[&x, &w], || plain(x.as_tensor(), w.as_tensor(), config));
    }

    #[test]
    fn strided_inputs_and_gradients_are_understood() {
        let (x, w) = (variable("x", &[3, 6, 2, 5]), variable("w", &[4, 3, 3, 3]));
        let config = Conv2dConfig { stride: 1, padding: 1, ..Default::default() };
        let ours = || {
            let y = plain(&x.permute((2, 1, 3, 0))?, w.as_tensor(), config)?;
            y.transpose(1, 2)
        };
        let oracle = || {
            let y = portable_plain(&x.permute((2, 1, 3, 0))?, w.as_tensor(), config)?;
            y.transpose(1, 2)
        };
        assert_same_gradients(&[&x, &w], ours, oracle, 1e-5);
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let (x, w) = (variable("x", &[13, 8, 8, 3]), variable("w", &[4, 3, 3, 3]));
        let config = Conv2dConfig { stride: 1, padding: 1, ..Default::default() };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let y = plain(x.as_tensor(), w.as_tensor(), config).unwrap();
                let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                gradients.get(&w).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
            })
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let config = Conv2dConfig { stride: 1, padding: 0, ..Default::default() };
        let x = variable("x", &[1, 4, 4, 3]);
        for dims in [[2, 4, 3, 3], [2, 3, 5, 5], [2, 3, 0, 0]] {
            let w = Tensor::zeros(&dims[..], candle_core::DType::F32, x.device()).unwrap();
            assert!(plain(x.as_tensor(), &w, config).is_err(), "{dims:?}");
        }
        let w = variable("w", &[2, 3, 3, 3]);
        let still = Conv2dConfig { stride: 0, padding: 0, ..Default::default() };
        assert!(plain(x.as_tensor(), w.as_tensor(), still).is_err());
    }
}
