//! The loops of batch normalisation over rows of channels, for forward and backward pass.

use rayon::prelude::*;

use super::fresh::fill_parts;
use super::moments::Moments;
use super::multiversion::multiversion;
use super::scratch::{Scratch, with_scratch};
use super::{Activation, Tasks};

/// The number of values that are handled together, in cache. It is fixed, so that sums do not depend on the machine.
const PART_VALUES: usize = 1 << 14;

/// The number of rows of `channels` values that are handled together.
pub(super) fn rows_per_part(channels: usize) -> usize {
    (PART_VALUES / channels.max(1)).max(1)
}

/// The sum of all rows of `channels` values.
pub(super) fn sum_rows(x: &[f32], channels: usize) -> Vec<f32> {
    let parts = x.par_chunks(rows_per_part(channels) * channels).run_all(|rows| {
        let mut sum = vec![0f32; channels];
        add_rows(rows, &mut sum);
        sum
    });
    let mut total = vec![0f64; channels];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += f64::from(part));
    }
    total.into_iter().map(|sum| sum as f32).collect()
}

multiversion! {
    fn add_rows(rows: &[f32], sum: &mut [f32]) {
        for row in rows.chunks_exact(sum.len()) {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    }
}

/// Batch norm with given statistics. For each channel `normalised = (z - mean) rstd`, `a = normalised weight + bias`.
pub(super) struct Affine<'a> {
    mean: &'a [f32],
    rstd: Vec<f32>,
    /// The factor in `a = (z - mean) scale + bias`.
    scale: Vec<f32>,
    bias: &'a [f32],
}

impl<'a> Affine<'a> {
    /// `affine` are the weights, followed by the biases; `eps` is added to variances.
    pub(super) fn new(moments: &'a Moments, affine: &'a [f32], eps: f64) -> Self {
        let (weight, bias) = affine.split_at(affine.len() / 2);
        let rstd = |var: &f32| 1.0 / (var + eps as f32).sqrt();
        let rstd: Vec<f32> = moments.var.iter().map(rstd).collect();
        let scale: Vec<f32> = weight.iter().zip(&rstd).map(|(w, r)| w * r).collect();
        Self { mean: &moments.mean, rstd, scale, bias }
    }

    /// Computes `a` of each value.
    fn forward(&self, z: &[f32], a: &mut [f32]) {
        scale_rows(z, self.mean, &self.scale, self.bias, a);
    }

    /// Computes `activation(a)` of all values, in parallel.
    pub(super) fn activated(&self, activation: Activation, z: &[f32]) -> Vec<f32> {
        let channels = self.mean.len();
        let part = rows_per_part(channels) * channels;
        let (y, _) = fill_parts(z.len(), part, z.par_chunks(part), |y, z| {
            self.forward(z, y);
            activation.apply_in_place(y);
        });
        y
    }
}

multiversion! {
    fn scale_rows(z: &[f32], mean: &[f32], scale: &[f32], bias: &[f32], a: &mut [f32]) {
        let c = mean.len();
        let (scale, bias) = (&scale[..c], &bias[..c]);
        for (a, z) in a.chunks_exact_mut(c).zip(z.chunks_exact(c)) {
            for i in 0..c {
                a[i] = (z[i] - mean[i]) * scale[i] + bias[i];
            }
        }
    }
}

multiversion! {
    /// Computes `a = scale z + shift`, channel by channel.
    pub(crate) fn scale_and_shift(z: &[f32], scale: &[f32], shift: &[f32], a: &mut [f32]) {
        let c = scale.len();
        let shift = &shift[..c];
        for (a, z) in a.chunks_exact_mut(c).zip(z.chunks_exact(c)) {
            for i in 0..c {
                a[i] = z[i] * scale[i] + shift[i];
            }
        }
    }
}

/// The sums that the gradients of all values need.
pub(super) struct Slopes {
    /// Sums over rows of `g` and of `g normalised`, where `g` is the gradient before the activation.
    bias: Vec<f32>,
    weight: Vec<f32>,
    /// The means of the same.
    mean: Vec<f32>,
    mean_normalised: Vec<f32>,
}

impl Slopes {
    /// Computes the sums over all values.
    pub(super) fn measure(
        affine: &Affine<'_>,
        activation: Activation,
        z: &[f32],
        dy: &[f32],
    ) -> Self {
        let channels = affine.mean.len();
        let part = rows_per_part(channels) * channels;
        let parts = z.par_chunks(part).zip(dy.par_chunks(part)).run_all(|(z, dy)| {
            let mut sums = (vec![0f32; channels], vec![0f32; channels]);
            with_scratch(|Scratch { gradient, .. }| {
                let g = before_activation(affine, activation, z, dy, gradient);
                add_sums(g, z, affine.mean, &mut sums.0, &mut sums.1);
            });
            sums
        });
        let mut total = (vec![0f64; channels], vec![0f64; channels]);
        for part in parts {
            for c in 0..channels {
                total.0[c] += f64::from(part.0[c]);
                total.1[c] += f64::from(part.1[c]) * f64::from(affine.rstd[c]);
            }
        }
        let rows = (z.len() / channels) as f64;
        let single =
            |sums: &[f64], divisor: f64| sums.iter().map(|s| (s / divisor) as f32).collect();
        Self {
            bias: single(&total.0, 1.0),
            weight: single(&total.1, 1.0),
            mean: single(&total.0, rows),
            mean_normalised: single(&total.1, rows),
        }
    }

    /// The gradients of weights and biases, which follow each other.
    pub(super) fn affine_gradient(&self) -> Vec<f32> {
        [&self.weight[..], &self.bias].concat()
    }

    /// Computes the gradient of some rows of `z`: `scale (g - mean(g) - normalised mean(g normalised))`.
    pub(super) fn input_gradient(
        &self,
        affine: &Affine<'_>,
        activation: Activation,
        z: &[f32],
        dy: &[f32],
        dz: &mut [f32],
    ) {
        let channels = affine.mean.len();
        let part = rows_per_part(channels) * channels;
        let factor =
            (0..channels).map(|c| affine.scale[c] * affine.rstd[c] * self.mean_normalised[c]);
        let factor: Vec<f32> = factor.collect();
        with_scratch(|Scratch { gradient, .. }| {
            let rows = z.chunks(part).zip(dy.chunks(part));
            for ((z, dy), dz) in rows.zip(dz.chunks_mut(part)) {
                let g = before_activation(affine, activation, z, dy, gradient);
                let statistics = (affine.mean, &self.mean[..], &affine.scale[..], &factor[..]);
                combine(g, z, statistics, dz);
            }
        });
    }
}

/// The gradient before the activation.
fn before_activation<'a>(
    affine: &Affine<'_>,
    activation: Activation,
    z: &[f32],
    dy: &'a [f32],
    scratch: &'a mut super::scratch::Buffer,
) -> &'a [f32] {
    if activation == Activation::Identity {
        return dy;
    }
    let (g, a) = scratch.resize(2 * z.len()).split_at_mut(z.len());
    g.copy_from_slice(dy);
    affine.forward(z, a);
    // For the other activations the value before serves as well as the value behind: both are inside of the range or neither is.
    activation.gradient_in_place(a, g);
    g
}

multiversion! {
    fn add_sums(g: &[f32], z: &[f32], mean: &[f32], sum: &mut [f32], sum_centred: &mut [f32]) {
        let c = mean.len();
        for (g, z) in g.chunks_exact(c).zip(z.chunks_exact(c)) {
            for i in 0..c {
                sum[i] += g[i];
                sum_centred[i] += g[i] * (z[i] - mean[i]);
            }
        }
    }
}

multiversion! {
    fn combine(g: &[f32], z: &[f32], statistics: (&[f32], &[f32], &[f32], &[f32]), dz: &mut [f32]) {
        let (mean, mean_g, scale, factor) = statistics;
        let c = mean.len();
        let (mean_g, scale, factor) = (&mean_g[..c], &scale[..c], &factor[..c]);
        for ((dz, g), z) in dz.chunks_exact_mut(c).zip(g.chunks_exact(c)).zip(z.chunks_exact(c)) {
            for i in 0..c {
                dz[i] = scale[i] * (g[i] - mean_g[i]) - factor[i] * (z[i] - mean[i]);
            }
        }
    }
}
