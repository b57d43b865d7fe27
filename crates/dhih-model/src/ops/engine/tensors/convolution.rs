//! Convolutions as one matrix product for many images: gathered patches times the weights. The backward pass gathers the patches again, because
//! they would be the largest values to keep.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, bail};

use super::super::{Back, Traced, add_tensor};
use super::Tensors;
use super::activation::{Activated, activated};
use super::gather::{Gather, MOST_VALUES, Side, joined, narrowed, parts};
use crate::ops::portable::add_bias;
use crate::ops::{Activation, Conv2dConfig, filters};

/// A convolution of images of one size.
#[derive(Debug)]
pub(super) struct Convolution {
    /// How patches are gathered; `None` where each patch is one pixel and each pixel one patch.
    gather: Option<Arc<Gather>>,
    out: [usize; 2],
    groups: usize,
    /// Whether each channel is convolved on its own.
    is_depthwise: bool,
    /// The number of images whose patches are gathered at a time.
    together: usize,
}

impl Convolution {
    /// A convolution of `x`, `[n, height, width, in]`, with weights `[out, in / groups, kernel height, kernel width]`.
    pub(super) fn new(x: &Tensor, weight: &Tensor, config: Conv2dConfig) -> Result<Self> {
        let (_, height, width, channels) = x.dims4()?;
        let [out_channels, per_group, kernel_height, kernel_width] = filters(weight.dims())?;
        let Conv2dConfig { stride, dilation, groups, .. } = config;
        if groups == 0 || channels != per_group * groups || out_channels % groups != 0 {
            bail!("{channels} channels in {groups} groups with weights {:?}", weight.dims());
        }
        let side = |size: usize, kernel: usize| -> Result<Side> {
            let border = config.border(size, kernel)[0];
            let out = config.positions(size, kernel)?;
            Ok(Side { size, out, kernel, stride, dilation, border })
        };
        let sides = [side(height, kernel_height)?, side(width, kernel_width)?];
        let out = sides.map(|side| side.out);
        let is_each_pixel =
            kernel_height * kernel_width == 1 && stride == 1 && out == [height, width];
        let gather = match is_each_pixel {
            true => None,
            false => Some(Gather::of(sides, x.device())?),
        };
        let values = out[0] * out[1] * kernel_height * kernel_width * channels;
        Ok(Self {
            gather,
            out,
            groups,
            is_depthwise: groups > 1 && groups == channels && groups == out_channels,
            together: (MOST_VALUES / values.max(1)).max(1),
        })
    }

    #[cfg(test)]
    pub(super) fn at_a_time(self, together: usize) -> Self {
        Self { together, ..self }
    }

    /// `x`: `[n, height, width, in]`; returns `[n, height', width', out]`. The weights are as in [`Self::new`].
    pub(super) fn forward(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let n = x.dim(0)?;
        if n <= self.together {
            return self.forward_some(x, weight);
        }
        let parts = parts(n, self.together);
        let parts = parts.map(|part| self.forward_some(&narrowed(x, &part)?, weight));
        joined(parts.collect::<Result<_>>()?, 0)
    }

    fn forward_some(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let (n, [height, width]) = (x.dim(0)?, self.out);
        if self.is_depthwise {
            let y = self.windows(x)?.broadcast_mul(&by_tap(weight)?)?.sum(2)?;
            return y.reshape((n, height, width, ()));
        }
        let groups = (0..self.groups).map(|group| {
            let (x, weight) = (self.group(x, 3, group)?, self.group(weight, 0, group)?);
            self.patches(&x)?.matmul(&matrix(&weight)?)?.reshape((n, height, width, ()))
        });
        joined(groups.collect::<Result<Vec<_>>>()?, 3)
    }

    /// The gradients of the input, where it is wanted, and of the weights.
    pub(super) fn gradients(
        &self,
        x: &Tensor,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<(Option<Tensor>, Tensor)> {
        let (mut dxs, mut dw) = (Vec::new(), None::<Tensor>);
        for part in parts(x.dim(0)?, self.together) {
            let (x, dy) = (narrowed(x, &part)?, narrowed(dy, &part)?);
            let (dx, more) = match self.is_depthwise {
                true => self.depthwise_gradients(&x, weight, &dy, wants_dx)?,
                false => self.gradients_of_some(&x, weight, &dy, wants_dx)?,
            };
            dxs.extend(dx);
            dw = Some(match dw {
                Some(dw) => (dw + more)?,
                None => more,
            });
        }
        let Some(dw) = dw else { bail!("a convolution of no images") };
        let dx = if wants_dx { Some(joined(dxs, 0)?) } else { None };
        Ok((dx, dw))
    }

    fn gradients_of_some(
        &self,
        x: &Tensor,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<(Option<Tensor>, Tensor)> {
        let (mut dxs, mut dws) = (Vec::new(), Vec::new());
        for group in 0..self.groups {
            let x = self.group(x, 3, group)?;
            let weight = self.group(weight, 0, group)?;
            let dy = self.group(dy, 3, group)?.flatten(0, 2)?;
            let (out, channels, kernel_height, kernel_width) = weight.dims4()?;
            let dw = self.patches(&x)?.t()?.matmul(&dy)?;
            let dw = dw.reshape((kernel_height, kernel_width, channels, out))?;
            dws.push(dw.permute((3, 2, 0, 1))?.contiguous()?);
            if wants_dx {
                let patches = dy.matmul(&matrix(&weight)?.t()?)?;
                dxs.push(self.sums(&patches, x.dims())?);
            }
        }
        let dx = if wants_dx { Some(joined(dxs, 3)?) } else { None };
        Ok((dx, joined(dws, 0)?))
    }

    fn depthwise_gradients(
        &self,
        x: &Tensor,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<(Option<Tensor>, Tensor)> {
        let channels = x.dim(3)?;
        let dy = dy.flatten(1, 2)?.unsqueeze(2)?;
        let dw = self.windows(x)?.broadcast_mul(&dy)?.flatten(0, 1)?.sum(0)?;
        let dw = dw.t()?.contiguous()?.reshape(weight.shape())?;
        if !wants_dx {
            return Ok((None, dw));
        }
        let (n, windows) = (dy.dim(0)?, dy.dim(1)?);
        let patches = dy.broadcast_mul(&by_tap(weight)?)?;
        let dx =
            self.sums(&patches.reshape((n * windows, ()))?, &[n, x.dim(1)?, x.dim(2)?, channels])?;
        Ok((Some(dx), dw))
    }

    /// The part of a dimension that belongs to one group.
    fn group(&self, x: &Tensor, dim: usize, group: usize) -> Result<Tensor> {
        if self.groups == 1 {
            return x.contiguous();
        }
        let own = x.dim(dim)? / self.groups;
        x.narrow(dim, group * own, own)?.contiguous()
    }

    /// The gathered patches, `[n, windows, taps, in]`.
    fn windows(&self, x: &Tensor) -> Result<Tensor> {
        match &self.gather {
            Some(gather) => gather.windows_of(x, 0.0),
            None => x.contiguous()?.flatten(1, 2)?.unsqueeze(2),
        }
    }

    /// The gathered patches as a matrix, `[n windows, taps in]`.
    fn patches(&self, x: &Tensor) -> Result<Tensor> {
        self.windows(x)?.flatten(0, 1)?.flatten(1, 2)
    }

    /// Adds patches, `[n windows, taps in]`, to images of shape `dims`.
    fn sums(&self, patches: &Tensor, dims: &[usize]) -> Result<Tensor> {
        match &self.gather {
            Some(gather) => {
                let shape = (dims[0], gather.windows, gather.taps, dims[3]);
                gather.sums_of(&patches.reshape(shape)?)?.reshape(dims)
            }
            None => patches.reshape(dims),
        }
    }
}

/// Weights `[out, in, kernel height, kernel width]` as a matrix `[taps in, out]`.
fn matrix(weight: &Tensor) -> Result<Tensor> {
    let out = weight.dim(0)?;
    weight.permute((2, 3, 1, 0))?.contiguous()?.reshape(((), out))
}

/// Weights `[channels, 1, kernel height, kernel width]` as `[taps, channels]`.
fn by_tap(weight: &Tensor) -> Result<Tensor> {
    weight.flatten_from(1)?.t()?.contiguous()
}

/// What the backward pass of a convolution with bias and activation needs.
struct Convolved {
    convolution: Convolution,
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    activated: Activated,
}

/// `activation(x * weight + bias)` with its backward pass.
pub(super) fn trace(
    x: &Tensor,
    (weight, bias): (&Tensor, Option<&Tensor>),
    config: Conv2dConfig,
    activation: Activation,
) -> Result<Traced<Tensors>> {
    let convolution = Convolution::new(x, weight, config)?;
    let z = convolution.forward(x, &whole(weight)?)?;
    let z = add_bias(&z, bias.map(Tensor::detach).as_ref(), Activation::Identity)?;
    let (y, activated) = activated(activation, z)?;
    let (x, weight, bias) = (x.clone(), weight.clone(), bias.cloned());
    Ok(Traced { y, back: Box::new(Convolved { convolution, x, weight, bias, activated }) })
}

/// The weights with four dimensions.
fn whole(weight: &Tensor) -> Result<Tensor> {
    weight.detach().reshape(&filters(weight.dims())?[..])
}

impl Back<Tensor> for Convolved {
    fn back(&self, dy: Tensor, wants_dx: bool, to: &mut GradStore) -> Result<Option<Tensor>> {
        let Self { convolution, x, weight, bias, activated } = self;
        let dz = activated.back(&dy)?;
        if let Some(bias) = bias.as_ref().filter(|bias| bias.track_op()) {
            add_tensor(to, bias, dz.flatten(0, 2)?.sum(0)?)?;
        }
        if !wants_dx && !weight.track_op() {
            return Ok(None);
        }
        let (dx, dw) = convolution.gradients(x, &whole(weight)?, &dz, wants_dx)?;
        add_tensor(to, weight, dw.reshape(weight.shape())?)?;
        Ok(dx)
    }
}
