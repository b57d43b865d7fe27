//! The operators made of candle's operations. They run on a GPU, and are the oracle of the operators on the CPU.

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor, bail};

use super::grid::{Grid, sides};
use super::mask::mask;
use super::{Activation, Conv2dConfig, Pool2dConfig, filters};

/// As [`super::conv2d`], by candle's convolution.
///
/// # Errors
/// Those of candle, and when the channels cannot be divided into the groups.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: Conv2dConfig,
    activation: Activation,
) -> Result<Tensor> {
    let Conv2dConfig { stride, dilation, groups, .. } = config;
    let (n, height, width, channels) = x.dims4()?;
    let [out, per_group, kernel_height, kernel_width] = filters(weight.dims())?;
    let weight = &weight.reshape((out, per_group, kernel_height, kernel_width))?;
    if groups == 0 || channels != per_group * groups || !out.is_multiple_of(groups) {
        bail!("conv2d of {channels} channels in {groups} groups with weights {:?}", weight.dims());
    }
    let rows = config.positions(height, kernel_height)?;
    let columns = config.positions(width, kernel_width)?;
    let [top, bottom] = config.border(height, kernel_height);
    let [left, right] = config.border(width, kernel_width);
    let x = x.pad_with_zeros(1, top, bottom)?.pad_with_zeros(2, left, right)?;
    if groups == channels && out == channels {
        return add_bias(&depthwise(&x, weight, config, (rows, columns))?, bias, activation);
    }
    let gathered =
        n.saturating_mul(rows * columns).saturating_mul(kernel_height * kernel_width * channels);
    if !x.device().is_cpu() && u32::try_from(gathered).is_err() {
        bail!(
            "a convolution of {n} images gathers {gathered} values, and candle's kernels count to 2^32: take a smaller batch"
        );
    }
    // candle's backward pass fails on images that are not square where the stride is not 1. More zeros make them square, and the additional
    // outputs are cut off.
    let (_, height, width, _) = x.dims4()?;
    let side = height.max(width);
    let x = match stride {
        1 => x,
        _ => x.pad_with_zeros(1, 0, side - height)?.pad_with_zeros(2, 0, side - width)?,
    };
    let x = x.permute((0, 3, 1, 2))?.contiguous()?;
    let y = x.conv2d(&weight.contiguous()?, 0, stride, dilation, groups)?;
    let y = y.permute((0, 2, 3, 1))?.narrow(1, 0, rows)?.narrow(2, 0, columns)?;
    add_bias(&y.contiguous()?, bias, activation)
}

/// Depthwise convolution of a padded image, tap by tap; candle would convolve channel by channel.
fn depthwise(
    padded: &Tensor,
    weight: &Tensor,
    config: Conv2dConfig,
    (rows, columns): (usize, usize),
) -> Result<Tensor> {
    let Conv2dConfig { stride, dilation, .. } = config;
    let (channels, _, kernel_height, kernel_width) = weight.dims4()?;
    let padded = padded.contiguous()?;
    let pick = |count: usize, tap: usize| {
        let at = (0..count).map(|o| (o * stride + tap * dilation) as u32);
        Tensor::from_iter(at, padded.device())
    };
    // As `[taps, channels]`.
    let weight = weight.reshape((channels, ()))?.t()?;
    let mut sum: Option<Tensor> = None;
    for ky in 0..kernel_height {
        let along = padded.index_select(&pick(rows, ky)?, 1)?;
        for kx in 0..kernel_width {
            let shifted = along.index_select(&pick(columns, kx)?, 2)?;
            let product = shifted.broadcast_mul(&weight.get(ky * kernel_width + kx)?)?;
            sum = Some(match sum {
                Some(sum) => (sum + product)?,
                None => product,
            });
        }
    }
    sum.map_or_else(|| padded.narrow(0, 0, 0), Ok)
}

/// `activation(y + bias)`, the bias along the last dimension.
pub(super) fn add_bias(
    y: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    match bias {
        Some(bias) => activation.apply(&y.broadcast_add(bias)?),
        None => activation.apply(y),
    }
}

/// As [`Activation::apply`].
///
/// # Errors
/// Those of candle.
pub fn activation(activation: Activation, x: &Tensor) -> Result<Tensor> {
    // The comparison is false for NaN, which thereby passes.
    let relu = || x.le(0.0)?.where_cond(&x.zeros_like()?, x);
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => relu(),
        Activation::Relu6 => {
            let six = Tensor::full(6f32, x.shape(), x.device())?.to_dtype(x.dtype())?;
            x.ge(6.0)?.where_cond(&six, &relu()?)
        }
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => {
            let inner = ((x + (x.powf(3.0)? * 0.044_715)?)? * (8.0 / std::f64::consts::PI).sqrt())?;
            x * sigmoid(&inner)?
        }
        Activation::QuickGelu => x * sigmoid(&(x * 1.702)?)?,
        Activation::Silu => x * sigmoid(x)?,
        Activation::Sigmoid => sigmoid(x),
        Activation::HardSwish => x * ramp(x)?,
        Activation::HardSigmoid => ramp(x),
    }
}

/// The hyperbolic tangent does not overflow.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    ((x * 0.5)?.tanh()? * 0.5)? + 0.5
}

fn ramp(x: &Tensor) -> Result<Tensor> {
    (x + 3.0)?.clamp(0f32, 6f32)? / 6.0
}

/// As [`super::linear`].
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    add_bias(&x.matmul(&weight.t()?)?, bias, activation)
}

/// As [`super::add`].
///
/// # Errors
/// When the shapes differ.
pub fn add(x: &Tensor, y: &Tensor, activation: Activation) -> Result<Tensor> {
    activation.apply(&(x + y)?)
}

/// As [`super::dropout`], as a product with its mask.
///
/// # Errors
/// When `p` is not in 0..1.
pub fn dropout(x: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    let mask = Tensor::from_vec(mask(x.elem_count(), p, seed)?, x.shape(), &Device::Cpu)?;
    x * mask.to_dtype(x.dtype())?.to_device(x.device())?
}

/// As [`super::avg_pool2d`].
///
/// # Errors
/// When the window does not fit, or the padding is more than half of it.
pub fn avg_pool2d(x: &Tensor, config: Pool2dConfig) -> Result<Tensor> {
    average(x, &Grid::sliding(sides(x)?, config)?)
}

/// As [`super::adaptive_avg_pool2d`].
///
/// # Errors
/// When there are no pixels or no windows.
pub fn adaptive_avg_pool2d(x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    average(x, &Grid::adaptive(sides(x)?, size)?)
}

/// The means of all windows: one matrix product along each side.
pub(super) fn average(x: &Tensor, grid: &Grid) -> Result<Tensor> {
    let (_, height, width, _) = x.dims4()?;
    averaged(x, &averaging(&grid.rows, height, x)?, &averaging(&grid.columns, width, x)?)
}

/// Multiplies images `[n, height, width, channels]` by one matrix along their rows and one along their columns.
pub(super) fn averaged(x: &Tensor, rows: &Tensor, columns: &Tensor) -> Result<Tensor> {
    let (n, height, width, channels) = x.dims4()?;
    let (tall, wide) = (rows.dim(0)?, columns.dim(0)?);
    let x = x.contiguous()?.reshape((n, height, width * channels))?;
    let x = rows.broadcast_matmul(&x)?.reshape((n * tall, width, channels))?;
    columns.broadcast_matmul(&x)?.reshape((n, tall, wide, channels))
}

/// The matrix `[windows, size]` whose product with one side of `x` is the mean of each window.
pub(super) fn averaging(windows: &[Range<usize>], size: usize, x: &Tensor) -> Result<Tensor> {
    let share = |window: &Range<usize>, at| {
        if window.contains(&at) { 1.0 / window.len() as f32 } else { 0.0 }
    };
    let values = windows.iter().flat_map(|window| (0..size).map(|at| share(window, at)));
    Tensor::from_vec(values.collect::<Vec<f32>>(), (windows.len(), size), x.device())?
        .to_dtype(x.dtype())
}

/// As [`super::max_pool2d`], by the maximum over shifted copies, because candle's pooling has a wrong gradient. Equal values share the gradient.
///
/// # Errors
/// When the window does not fit.
pub fn max_pool2d(x: &Tensor, config: Pool2dConfig) -> Result<Tensor> {
    let Pool2dConfig { kernel, stride, padding, .. } = config;
    let (_, height, width, _) = x.dims4()?;
    let out = [config.positions(height)?, config.positions(width)?];
    // Copies of the border pixels replace the padding. A window then contains a pixel twice, which does not change its maximum as long as the
    // padding is at most half of the window.
    let pick = |along: usize, size: usize, offset: usize| {
        let clamp = |o: usize| (o * stride + offset).saturating_sub(padding).min(size - 1) as u32;
        Tensor::from_iter((0..out[along]).map(clamp), x.device())
    };
    let mut largest: Option<Tensor> = None;
    for ky in 0..kernel {
        let rows = x.index_select(&pick(0, height, ky)?, 1)?;
        for kx in 0..kernel {
            let shifted = rows.index_select(&pick(1, width, kx)?, 2)?;
            largest = Some(match largest {
                Some(largest) => largest.maximum(&shifted)?,
                None => shifted,
            });
        }
    }
    largest.map_or_else(|| x.narrow(0, 0, 0), Ok)
}

/// As [`super::batch_norm`]. Also returns mean and biased variance of each channel.
///
/// # Errors
/// Those of candle.
pub fn batch_norm(
    x: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    eps: f64,
    activation: Activation,
) -> Result<(Tensor, Tensor, Tensor)> {
    let flat = x.flatten(0, D::Minus2)?;
    let mean = flat.mean(0)?;
    let centred = x.broadcast_sub(&mean)?;
    let var = centred.flatten(0, D::Minus2)?.sqr()?.mean(0)?;
    let scale = (weight / (&var + eps)?.sqrt()?)?;
    let y = centred.broadcast_mul(&scale)?.broadcast_add(bias)?;
    Ok((activation.apply(&y)?, mean, var))
}

/// As [`super::layer_norm`]. Values of 16 bits are normalised in f32, because f16 has no square above 65,504.
///
/// # Errors
/// Those of candle.
pub fn layer_norm(x: &Tensor, (weight, bias): (&Tensor, &Tensor), eps: f64) -> Result<Tensor> {
    let wide = widened(x)?;
    let centred = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
    let var = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normalised = centred.broadcast_div(&(var + eps)?.sqrt()?)?.to_dtype(x.dtype())?;
    normalised.broadcast_mul(weight)?.broadcast_add(bias)
}

/// The values in f32 where they have 16 bits, in which many of them cannot be summed.
pub(super) fn widened(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.to_dtype(DType::F32),
        _ => Ok(x.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Padding;
    use super::super::testing::{assert_close, assert_finite_differences, variable};
    use super::*;
    use candle_core::Var;

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn activations_have_the_stated_values_and_gradients() {
        let points = [-7f32, -1.0, 0.0, 1.0, 6.0, 7.0];
        let x = Var::new(&points, &Device::Cpu).unwrap();
        for (activation, expected, gradient) in [
            (Activation::Identity, points, [1.0; 6]),
            (Activation::Relu, [0.0, 0.0, 0.0, 1.0, 6.0, 7.0], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
            (Activation::Relu6, [0.0, 0.0, 0.0, 1.0, 6.0, 6.0], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
            (
                Activation::Gelu,
                [0.0, -0.158_655_26, 0.0, 0.841_344_7, 6.0, 7.0],
                [0.0, -0.083_315_5, 0.5, 1.083_315_5, 1.0, 1.0],
            ),
            (
                Activation::HardSwish,
                [0.0, -1.0 / 3.0, 0.0, 2.0 / 3.0, 6.0, 7.0],
                [0.0, 1.0 / 6.0, 0.5, 5.0 / 6.0, 1.0, 1.0],
            ),
        ] {
            let y = activation.apply(x.as_tensor()).unwrap();
            let gradients = y.sum_all().unwrap().backward().unwrap();
            let close = |got: &Tensor, expected: [f32; 6]| {
                assert_close(got, &Tensor::new(&expected, &Device::Cpu).unwrap(), 1e-6);
            };
            close(&y, expected);
            close(gradients.get(&x).unwrap(), gradient);
        }
        let nan = Tensor::new(&[f32::NAN], &Device::Cpu).unwrap();
        assert!(values(&Activation::Relu6.apply(&nan).unwrap())[0].is_nan());
    }

    /// A transformer has channels that are hundreds of times as large as the others. Their squares are infinite in f16.
    #[test]
    fn layer_norm_in_f16_agrees_with_f32_where_a_channel_is_far_from_the_mean() {
        let mut token = [1f32, -1.0, 0.5, 300.0].repeat(4);
        token[0] = -400.0;
        let count = token.len();
        let x = Tensor::from_vec(token, (1, count), &Device::Cpu).unwrap();
        let [weight, bias] = [1f32, 0.5].map(|it| Tensor::full(it, count, &Device::Cpu).unwrap());
        let expected = layer_norm(&x, (&weight, &bias), 1e-6).unwrap();
        let [x, weight, bias] = [x, weight, bias].map(|it| it.to_dtype(DType::F16).unwrap());
        let y = layer_norm(&x, (&weight, &bias), 1e-6).unwrap();
        assert_eq!(y.dtype(), DType::F16);
        assert_close(&y.to_dtype(DType::F32).unwrap(), &expected, 2e-3);
    }

    #[test]
    fn convolution_in_groups_is_one_of_each_part() {
        for (channels, out, groups) in [(4, 6, 2), (3, 3, 3), (2, 6, 2)] {
            let config = Conv2dConfig { stride: 2, padding: Padding::Each(2), dilation: 2, groups };
            let x = variable("x", &[2, 9, 7, channels]);
            let w = variable("w", &[out, channels / groups, 3, 3]);
            let b = variable("b", &[out]);
            let ours = || {
                let bias = Some(b.as_tensor());
                conv2d(x.as_tensor(), w.as_tensor(), bias, config, Activation::Identity)
            };
            let parts = (0..groups).map(|g| {
                let part = |t: &Tensor, dim: usize| {
                    let size = t.dim(dim).unwrap() / groups;
                    t.narrow(dim, g * size, size).unwrap()
                };
                let (x, w) = (part(x.as_tensor(), 3), part(w.as_tensor(), 0));
                // The kernel is dilated by inserting zeros.
                let w = w.reshape((out / groups, channels / groups, 3, 1, 3, 1)).unwrap();
                let w = w.pad_with_zeros(3, 0, 1).unwrap().pad_with_zeros(5, 0, 1).unwrap();
                let w = w.reshape((out / groups, channels / groups, 6, 6)).unwrap();
                let w = w.narrow(2, 0, 5).unwrap().narrow(3, 0, 5).unwrap();
                let config =
                    Conv2dConfig { stride: 2, padding: Padding::Each(2), ..Default::default() };
                conv2d(&x, &w, None, config, Activation::Identity).unwrap()
            });
            let expected = Tensor::cat(&parts.collect::<Vec<_>>(), 3).unwrap();
            let expected = expected.broadcast_add(b.as_tensor()).unwrap();
            assert_close(&ours().unwrap(), &expected, 1e-5);
            assert_finite_differences(&[&x, &w, &b], ours);
        }
    }

    #[test]
    fn pooling_and_products_agree_with_finite_differences() {
        let x = variable("x", &[2, 6, 5, 3]);
        let config = Pool2dConfig { kernel: 3, stride: 2, padding: 0, ceil: true };
        assert_finite_differences(&[&x], || avg_pool2d(x.as_tensor(), config));
        assert_finite_differences(&[&x], || adaptive_avg_pool2d(x.as_tensor(), (7, 2)));
        let (x, w, b) = (variable("x", &[3, 4]), variable("w", &[5, 4]), variable("b", &[5]));
        assert_finite_differences(&[&x, &w, &b], || {
            linear(x.as_tensor(), w.as_tensor(), Some(b.as_tensor()), Activation::Gelu)
        });
        let y = variable("y", &[3, 4]);
        assert_finite_differences(&[&x, &y], || {
            add(x.as_tensor(), y.as_tensor(), Activation::Gelu)
        });
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = variable("x", &[1, 4, 4, 6]);
        let w = variable("w", &[4, 3, 3, 3]);
        let conv = |groups, dilation| {
            let config = Conv2dConfig { groups, dilation, ..Default::default() };
            conv2d(x.as_tensor(), w.as_tensor(), None, config, Activation::Identity)
        };
        assert!(conv(2, 1).is_ok());
        for (groups, dilation) in [(0, 1), (1, 1), (3, 1), (2, 2), (2, 0)] {
            assert!(conv(groups, dilation).is_err(), "{groups} {dilation}");
        }
    }
}
