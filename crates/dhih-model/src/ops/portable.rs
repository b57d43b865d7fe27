//! The operators made of candle's own operations: what runs on a GPU, and the oracle that the CPU forms are tested against.

use candle_core::{D, Result, Tensor};

use super::{Activation, Conv2dConfig, Pool2dConfig, positions};

/// As [`super::conv2d`], by candle's convolution, whose backward fails on oblong images where the stride is not 1.
///
/// # Errors
/// Those of candle.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: Conv2dConfig,
    activation: Activation,
) -> Result<Tensor> {
    let Conv2dConfig { stride, padding, dilation, groups } = config;
    let x = x.permute((0, 3, 1, 2))?.contiguous()?;
    let y = x.conv2d(weight, padding, stride, dilation, groups)?;
    let y = y.permute((0, 2, 3, 1))?.contiguous()?;
    activation.apply(&match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    })
}

/// As [`super::max_pool2d`], as the maximum over shifted copies (candle's pooling has a wrong gradient); equal values share
/// the gradient.
///
/// # Errors
/// When the window does not fit.
pub fn max_pool2d(x: &Tensor, config: Pool2dConfig) -> Result<Tensor> {
    let Pool2dConfig { kernel, stride, padding } = config;
    let (_, height, width, _) = x.dims4()?;
    let out =
        [positions(height, kernel, stride, padding)?, positions(width, kernel, stride, padding)?];
    // Copies of the border pixels stand in for the padding: the window then holds a pixel twice, which changes no
    // maximum as long as padding is at most half the window.
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

/// As [`super::batch_norm`]: also returns mean and biased variance of each channel.
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
