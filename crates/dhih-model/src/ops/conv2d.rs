//! 2-D convolution as an operator, with bias and activation.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};

use super::convolution::{Backward, Convolution, Geometry, OutputGradient};
use super::{Activation, is_ours, portable, positions, values, with_values};

/// How the kernel moves over the image, alike in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Step between outputs, in pixels.
    pub stride: usize,
    /// Zeros added on each side, in pixels.
    pub padding: usize,
    /// Pixels from one place of the kernel to the next.
    pub dilation: usize,
    /// Groups of channels that are convolved on their own.
    pub groups: usize,
}

impl Default for Conv2dConfig {
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

/// A convolution, with or without bias.
#[derive(Debug, Clone)]
pub struct Conv2d {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    pub(crate) config: Conv2dConfig,
    pub(crate) activation: Activation,
}

impl Conv2d {
    /// Without bias, for batch norm brings its own. Names `weight` `[out, in / groups, kernel, kernel]` under `vb`, initialised
    /// after He et al. (2015), fan-in, normal.
    ///
    /// # Errors
    /// Those of the variable store.
    pub fn new(
        (channels_in, channels_out): (usize, usize),
        kernel: usize,
        config: Conv2dConfig,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let group_in = channels_in / config.groups.max(1);
        let shape = (channels_out, group_in, kernel, kernel);
        let fan_in = (group_in * kernel * kernel) as f64;
        let init = Init::Randn { mean: 0.0, stdev: (2.0 / fan_in).sqrt() };
        let weight = vb.get_with_hints(shape, "weight", init)?;
        Ok(Self { weight, bias: None, config, activation: Activation::Identity })
    }

    /// # Shapes
    /// `[n, height, width, in]` to `[n, height', width', out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        conv2d(x, &self.weight, self.bias.as_ref(), self.config, self.activation)
    }
}

/// Convolution of a batch of images, plus bias, through an activation.
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
    if !is_ours(x) {
        return portable::conv2d(x, weight, bias, config, activation);
    }
    // An activation whose gradient needs its input is an operator of its own where there is to be a gradient.
    let tracked = x.track_op() || weight.track_op() || bias.is_some_and(Tensor::track_op);
    if tracked && activation.needs_input() {
        return activation.apply(&conv2d(x, weight, bias, config, Activation::Identity)?);
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let op = Convolve { config, activation };
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
        None => x.apply_op2(&weight, op),
    }
}

struct Convolve {
    config: Conv2dConfig,
    activation: Activation,
}

impl Convolve {
    fn forward(
        &self,
        (x, x_layout): (&CpuStorage, &Layout),
        (weight, weight_layout): (&CpuStorage, &Layout),
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let (geometry, n) = Geometry::new(x_layout.dims(), weight_layout.dims(), self.config)?;
        if bias.is_some_and(|bias| bias.len() != geometry.out_channels) {
            bail!("conv2d to {} channels with another number of biases", geometry.out_channels);
        }
        let weight = values(weight, weight_layout)?;
        let convolution = Convolution::new(geometry, weight, bias, self.activation);
        let mut y = vec![0.0; n * geometry.output()];
        convolution.run_batch(values(x, x_layout)?, n, &mut y);
        let (height, width) = geometry.out;
        Ok((CpuStorage::F32(y), Shape::from((n, height, width, geometry.out_channels))))
    }

    /// The gradients of x, where wanted, of the weight, and of the bias.
    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Tensor, Tensor)> {
        let (geometry, _) = Geometry::new(x.dims(), weight.dims(), self.config)?;
        // As an operator with a gradient, it has an activation whose gradient its output tells.
        let before = match self.activation {
            Activation::Identity => dy.contiguous()?,
            activation => activation.gradient(y, dy)?,
        };
        let (dx, dw) = with_values(x, |x_values| {
            with_values(weight, |weight| {
                with_values(&before, |dy| {
                    let dy = OutputGradient::Given(dy);
                    Ok(Backward::new(geometry, (x_values, weight), dy, x.track_op()).run())
                })
            })
        })?;
        let dx = dx.map(|dx| Tensor::from_vec(dx, x.shape(), x.device())).transpose()?;
        let db = super::sum_rows(&before)?;
        Ok((dx, Tensor::from_vec(dw, weight.shape(), weight.device())?, db))
    }
}

impl CustomOp2 for Convolve {
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
        self.forward((x, x_layout), (weight, weight_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw, _) = self.backward(x, weight, y, dy)?;
        Ok((dx, Some(dw)))
    }
}

impl CustomOp3 for Convolve {
    fn name(&self) -> &'static str {
        "conv2d with bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let bias = values(bias, bias_layout)?;
        self.forward((x, x_layout), (weight, weight_layout), Some(bias))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw, db) = self.backward(x, weight, y, dy)?;
        Ok((dx, Some(dw), Some(db)))
    }
}

#[cfg(test)]
mod tests;
