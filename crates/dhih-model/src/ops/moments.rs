//! Mean and variance of each channel, in fixed parts and without cancellation.

use rayon::prelude::*;

use super::Tasks;
use super::multiversion::multiversion;

/// The number of values whose statistics are summed together. It is fixed, so that results do not depend on the machine.
const PART_VALUES: usize = 1 << 16;

/// Mean and biased variance of each channel.
#[derive(Debug, Default, Clone)]
pub(super) struct Moments {
    pub(super) mean: Vec<f32>,
    pub(super) var: Vec<f32>,
}

multiversion! {
    /// The mean and the sum of squared deviations of each channel.
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

/// The number of rows, and the mean and the sum of squared deviations of each channel.
pub(super) struct Part {
    count: f64,
    mean: Vec<f32>,
    squares: Vec<f32>,
}

impl Part {
    /// Two passes over the rows, which should be in cache.
    pub(super) fn measure(rows: &[f32], channels: usize) -> Self {
        let (mut mean, mut squares) = (vec![0f32; channels], vec![0f32; channels]);
        measure_part(rows, &mut mean, &mut squares);
        Self { count: (rows.len() / channels) as f64, mean, squares }
    }
}

impl Moments {
    /// The moments of all rows.
    pub(super) fn measure(x: &[f32], channels: usize) -> Self {
        let rows = (PART_VALUES / channels).max(1);
        let parts = x.par_chunks(rows * channels).run_all(|rows| Part::measure(rows, channels));
        Self::merge(&parts, channels)
    }

    /// Combines all parts in their order (Chan et al., 1979).
    pub(super) fn merge(parts: &[Part], channels: usize) -> Self {
        let (mut count, mut mean) = (0.0, vec![0f64; channels]);
        let mut squares = vec![0f64; channels];
        for part in parts {
            let total = count + part.count;
            for c in 0..channels {
                let delta = f64::from(part.mean[c]) - mean[c];
                mean[c] += delta * part.count / total;
                squares[c] +=
                    f64::from(part.squares[c]) + delta * delta * count * part.count / total;
            }
            count = total;
        }
        Self {
            mean: mean.iter().map(|m| *m as f32).collect(),
            var: squares.iter().map(|s| (s / count) as f32).collect(),
        }
    }
}
