//! 2-D convolution as an operator, with bias and activation.

use candle_core::{Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};

use super::convolution::{Backward, Convolution, Geometry, OutputGradient};
use super::engine::conv2d_of_tensors;
use super::weighted::{self, Array, Weighted};
use super::{
    Activation, BatchNorm, Traced, Training, Value, is_ours, portable, positions, training,
};

/// How the kernel moves over the image, in the same way along both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// The step between outputs, in pixels.
    pub stride: usize,
    /// Zeros added around the image.
    pub padding: Padding,
    /// The distance between neighbouring positions of the kernel, in pixels.
    pub dilation: usize,
    /// The number of groups of channels that are convolved separately.
    pub groups: usize,
}

/// Zeros added at both ends of a side of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// This number of pixels at each end.
    Each(usize),
    /// As many pixels as give one output for every `stride` pixels, rounded up (TensorFlow's `SAME`). Of an odd number, the greater half comes
    /// after the last pixel.
    Same,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self { stride: 1, padding: Padding::Each(0), dilation: 1, groups: 1 }
    }
}

impl Conv2dConfig {
    /// The number of outputs along a side of `size` pixels.
    ///
    /// # Errors
    /// When the kernel does not fit.
    pub(crate) fn positions(self, size: usize, kernel: usize) -> Result<usize> {
        if self.dilation == 0 {
            bail!("a dilation of 0");
        }
        let border = self.border(size, kernel);
        positions(size, self.reach(kernel), self.stride, border)
    }

    /// The number of pixels from the first to the last that a kernel covers.
    fn reach(self, kernel: usize) -> usize {
        kernel.checked_sub(1).map_or(0, |last| last * self.dilation + 1)
    }

    /// The numbers of zeros before and behind a side of `size` pixels.
    pub(crate) fn border(self, size: usize, kernel: usize) -> [usize; 2] {
        match self.padding {
            Padding::Each(each) => [each; 2],
            Padding::Same => {
                let last = size.div_ceil(self.stride.max(1)).saturating_sub(1) * self.stride;
                let missing = (last + self.reach(kernel)).saturating_sub(size);
                [missing / 2, missing - missing / 2]
            }
        }
    }
}

/// A convolution, with or without bias.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// Filters `[out, in / groups, kernel, kernel]`, or `[out, in]` for a linear layer on each pixel.
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    pub(crate) config: Conv2dConfig,
    pub(crate) activation: Activation,
}

impl Conv2d {
    /// Builds a convolution without bias, because the bias of batch norm usually follows. The parameter `weight`
    /// `[out, in / groups, kernel, kernel]` is initialised with the normal distribution of He et al. (2015), fan-in.
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

    /// A convolution that computes what this one, followed by `norm`, does in evaluation. This one must have no activation.
    ///
    /// # Errors
    /// When the numbers of channels differ.
    pub(crate) fn followed_by(&self, norm: &BatchNorm) -> Result<Self> {
        let (weight, bias) = norm.folded(&self.weight, self.bias.as_ref())?;
        let (config, activation) = (self.config, norm.activation);
        Ok(Self { weight, bias: Some(bias), config, activation })
    }

    /// A convolution that computes this one, which has no activation, times a factor for each output channel.
    pub(crate) fn scaled(&self, factors: &Tensor) -> Result<Self> {
        let mut by_filter = vec![1; self.weight.rank()];
        by_filter[0] = factors.elem_count();
        let weight = self.weight.broadcast_mul(&factors.reshape(by_filter)?)?;
        let bias = self.bias.as_ref().map(|bias| bias * factors).transpose()?;
        Ok(Self { weight, bias, ..self.clone() })
    }

    /// As [`Self::forward`], with its backward pass.
    pub(crate) fn trace(&self, x: &Value) -> Result<Traced> {
        let Self { weight, bias, config, activation } = self;
        weighted::trace(Convolve(*config), (x, weight, bias.as_ref()), *activation)
    }

    /// # Shapes
    /// `x`: `[n, height, width, in]`; returns `[n, height', width', out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        conv2d(x, &self.weight, self.bias.as_ref(), self.config, self.activation)
    }
}

/// Convolution of a batch of images, plus bias, followed by an activation.
///
/// # Shapes
/// `x`: `[n, height, width, in]`; `weight`: `[out, in / groups, kernel height, kernel width]` or `[out, in]`; `bias`: `[out]`; returns
/// `[n, height', width', out]` with `height' = (height + border - dilation (kernel - 1) - 1) / stride + 1`, where `border` is the number of
/// zeros at both ends.
///
/// # Errors
/// When the numbers of channels differ, or the kernel does not fit into the padded image.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: Conv2dConfig,
    activation: Activation,
) -> Result<Tensor> {
    if !is_ours(x) {
        let is_tracked = x.track_op() || weight.track_op() || bias.is_some_and(Tensor::track_op);
        return match training(x.device(), x.dtype()) {
            Training::Tensors if !is_tracked => {
                conv2d_of_tensors(x, weight, bias, config, activation)
            }
            _ => portable::conv2d(x, weight, bias, config, activation),
        };
    }
    weighted::apply(Convolve(config), (x, weight, bias), activation)
}

struct Convolve(Conv2dConfig);

impl Weighted for Convolve {
    const NAME: &'static str = "conv2d";

    fn forward(
        &self,
        (x, weight): (Array<'_>, Array<'_>),
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<(Vec<f32>, Shape)> {
        let (geometry, n) = Geometry::new(x.dims, weight.dims, self.0)?;
        if bias.is_some_and(|bias| bias.len() != geometry.out_channels) {
            bail!("conv2d to {} channels with another number of biases", geometry.out_channels);
        }
        let convolution = Convolution::new(geometry, weight.values, bias, activation);
        let mut y = vec![0.0; n * geometry.output()];
        convolution.run_batch(x.values, n, &mut y);
        let (height, width) = geometry.out;
        Ok((y, Shape::from((n, height, width, geometry.out_channels))))
    }

    fn gradients(
        &self,
        (x, weight): (Array<'_>, Array<'_>),
        dy: &[f32],
        wants_dx: bool,
    ) -> Result<(Option<Vec<f32>>, Vec<f32>)> {
        let (geometry, _) = Geometry::new(x.dims, weight.dims, self.0)?;
        let (values, dy) = ((x.values, weight.values), OutputGradient::Given(dy));
        Ok(Backward::new(geometry, values, dy, wants_dx).run())
    }
}

#[cfg(test)]
mod tests;
