//! The loops of [`super::conv_block`] on one image: batch norm, ReLU and 2 x 2 maximum in one pass, forward and backward.

use super::BatchNorm;
use super::convolution::Plan;
use super::moments::Moments;
use super::multiversion::multiversion;

/// A place in a window that no gradient goes to: the window's maximum is not positive.
const NO_WINNER: u8 = 4;

/// Sizes of one image behind the convolution.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    height: usize,
    width: usize,
    channels: usize,
}

impl Sizes {
    /// Of the output of `plan`.
    pub(super) fn of(plan: &Plan) -> Self {
        let (height, width) = plan.patches.out;
        Self { height, width, channels: plan.out }
    }

    /// Rows and columns behind the pooling.
    pub(super) fn pooled(&self) -> (usize, usize) {
        (self.height / 2, self.width / 2)
    }

    /// Values of one pooled image.
    pub(super) fn pooled_len(&self) -> usize {
        self.pooled().0 * self.pooled().1 * self.channels
    }
}

/// Per channel: `normalised = (z - mean) rstd`, `a = normalised weight + bias`.
pub(super) struct Affine<'a> {
    mean: &'a [f32],
    pub(super) rstd: Vec<f32>,
    pub(super) weight: &'a [f32],
    bias: &'a [f32],
}

impl<'a> Affine<'a> {
    /// `affine`: weights, then biases.
    pub(super) fn new(moments: &'a Moments, affine: &'a [f32]) -> Self {
        let (weight, bias) = affine.split_at(affine.len() / 2);
        let rstd = |var: &f32| 1.0 / (var + BatchNorm::EPS as f32).sqrt();
        Self { mean: &moments.mean, rstd: moments.var.iter().map(rstd).collect(), weight, bias }
    }
}

multiversion! {
    /// Normalises, applies ReLU and takes the maximum of each window of one image.
    pub(super) fn pool_forward(
        z: &[f32],
        sizes: Sizes,
        affine: &Affine<'_>,
        y: &mut [f32],
        normalised: &mut [f32],
        winners: &mut [u8],
    ) {
        let Sizes { width, channels: c, .. } = sizes;
        let (rows, columns) = sizes.pooled();
        let (mean, rstd) = (&affine.mean[..c], &affine.rstd[..c]);
        let (weight, bias) = (&affine.weight[..c], &affine.bias[..c]);
        for window in 0..rows * columns {
            let at = (window / columns * 2 * width + window % columns * 2) * c;
            let taps = [&z[at..][..c], &z[at + c..][..c], &z[at + width * c..][..c], &z[at + (width + 1) * c..][..c]];
            let y = &mut y[window * c..][..c];
            let normalised = &mut normalised[window * c..][..c];
            let winners = &mut winners[window * c..][..c];
            for i in 0..c {
                let normal = |tap: usize| (taps[tap][i] - mean[i]) * rstd[i];
                let mut best = normal(0);
                let mut value = best * weight[i] + bias[i];
                let mut winner = 0;
                for tap in 1..4 {
                    let candidate = normal(tap);
                    let a = candidate * weight[i] + bias[i];
                    // NaN wins and stays, so that it is seen and not hidden.
                    let better = a > value || a.is_nan();
                    best = if better { candidate } else { best };
                    value = if better { a } else { value };
                    winner = if better { tap as u8 } else { winner };
                }
                let dead = value <= 0.0;
                y[i] = if dead { 0.0 } else { value };
                normalised[i] = best;
                winners[i] = if dead { NO_WINNER } else { winner };
            }
        }
    }
}

multiversion! {
    /// Adds one image's gradients of bias and weight, `sums[0]` and `sums[1]`.
    pub(super) fn add_sums(dy: &[f32], normalised: &[f32], winners: &[u8], sums: &mut [Vec<f32>; 2]) {
        let [bias, weight] = sums;
        let c = bias.len();
        let rows = dy.chunks_exact(c).zip(normalised.chunks_exact(c)).zip(winners.chunks_exact(c));
        for ((dy, normalised), winners) in rows {
            for i in 0..c {
                let g = if winners[i] == NO_WINNER { 0.0 } else { dy[i] };
                bias[i] += g;
                weight[i] += g * normalised[i];
            }
        }
    }
}

multiversion! {
    /// The gradient of one image before batch norm: `scale (g - constant - normalised slope)`.
    pub(super) fn input_gradient(
        image: (&[f32], &[f32], &[u8]),
        sizes: Sizes,
        affine: &Affine<'_>,
        constants: (&[f32], &[f32], &[f32]),
        dz: &mut [f32],
    ) {
        let Sizes { height, width, channels: c } = sizes;
        let (rows, columns) = sizes.pooled();
        let (mean, rstd) = (&affine.mean[..c], &affine.rstd[..c]);
        let (z, dy, winners) = image;
        let (scale, constant, slope) = constants;
        let (scale, constant, slope) = (&scale[..c], &constant[..c], &slope[..c]);
        for y in 0..height {
            for x in 0..width {
                let at = (y * width + x) * c;
                let (z, dz) = (&z[at..][..c], &mut dz[at..][..c]);
                if y / 2 < rows && x / 2 < columns {
                    let window = (y / 2 * columns + x / 2) * c;
                    let (dy, winners) = (&dy[window..][..c], &winners[window..][..c]);
                    let place = (y % 2 * 2 + x % 2) as u8;
                    for i in 0..c {
                        let g = if winners[i] == place { dy[i] } else { 0.0 };
                        let normalised = (z[i] - mean[i]) * rstd[i];
                        dz[i] = scale[i] * (g - constant[i] - normalised * slope[i]);
                    }
                } else {
                    for i in 0..c {
                        let normalised = (z[i] - mean[i]) * rstd[i];
                        dz[i] = scale[i] * (-constant[i] - normalised * slope[i]);
                    }
                }
            }
        }
    }
}
