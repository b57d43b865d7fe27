//! Mean and variance of each channel, in fixed parts and without cancellation.

use rayon::prelude::*;

use super::multiversion::multiversion;

/// Values of a part whose statistics are summed on their own: fixed, so that results do not depend on the machine.
const PART_VALUES: usize = 1 << 16;

/// Mean and biased variance of each channel.
#[derive(Debug, Default, Clone)]
pub(super) struct Moments {
    pub(super) mean: Vec<f32>,
    pub(super) var: Vec<f32>,
}

/// Rows of `channels` values that are summed on their own.
pub(super) fn rows_per_part(channels: usize) -> usize {
    (PART_VALUES / channels).max(1)
}

multiversion! {
    /// Mean and sum of squared deviations of each channel.
    fn measure_part(rows: &[f32], mean: &mut [f32], squares: &mut [f32]) {
        let channels = mean.len();
        for row in rows.chunks_exact(channels) {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += x);
        }
        let count = (rows.len() / channels) as f32;
        mean.iter_mut().for_each(|m| *m /= count);
        for row in rows.chunks_exact(channels) {
            for i in 0..channels {
                let deviation = row[i] - mean[i];
                squares[i] += deviation * deviation;
            }
        }
    }
}

impl Moments {
    /// Two passes over each part while it is in cache, then the parts are merged in order (Chan et al., 1979).
    pub(super) fn measure(x: &[f32], channels: usize) -> Self {
        let part = |rows: &[f32]| {
            let (mut mean, mut squares) = (vec![0f32; channels], vec![0f32; channels]);
            measure_part(rows, &mut mean, &mut squares);
            ((rows.len() / channels) as f64, mean, squares)
        };
        let parts: Vec<_> = x.par_chunks(rows_per_part(channels) * channels).map(part).collect();
        let (mut count, mut mean) = (0.0, vec![0f64; channels]);
        let mut squares = vec![0f64; channels];
        for (n, part_mean, part_squares) in parts {
            let total = count + n;
            for c in 0..channels {
                let delta = f64::from(part_mean[c]) - mean[c];
                mean[c] += delta * n / total;
                squares[c] += f64::from(part_squares[c]) + delta * delta * count * n / total;
            }
            count = total;
        }
        Self {
            mean: mean.iter().map(|m| *m as f32).collect(),
            var: squares.iter().map(|s| (s / count) as f32).collect(),
        }
    }
}
