//! 2 x 2 max pooling of one image and its transpose, for pooled convolutions.

use super::multiversion::multiversion;

/// Sizes of one image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

impl Windows {
    /// Rows and columns after pooling.
    pub(super) fn pooled(&self) -> (usize, usize) {
        (self.height / 2, self.width / 2)
    }

    /// Writes the largest value of each window and its position there, in row-major order.
    pub(super) fn pool(self, x: &[f32], y: &mut [f32], winners: &mut [u8]) {
        pool(self, x, y, winners);
    }

    /// Writes values back to the positions that they came from, and zeros elsewhere.
    pub(super) fn scatter(self, y: &[f32], winners: &[u8], x: &mut [f32]) {
        scatter(self, y, winners, x);
    }
}

multiversion! {
    fn pool(sizes: Windows, x: &[f32], y: &mut [f32], winners: &mut [u8]) {
        let Windows { width, channels: c, .. } = sizes;
        let (rows, columns) = sizes.pooled();
        for window in 0..rows * columns {
            let at = (window / columns * 2 * width + window % columns * 2) * c;
            let first = &x[at..][..c];
            let taps = [&x[at + c..][..c], &x[at + width * c..][..c], &x[at + (width + 1) * c..][..c]];
            let (y, winners) = (&mut y[window * c..][..c], &mut winners[window * c..][..c]);
            for i in 0..c {
                let (mut best, mut winner) = (first[i], 0u8);
                for (tap, values) in taps.iter().enumerate() {
                    let candidate = values[i];
                    // NaN counts as the largest value, so that it is not hidden.
                    let better = candidate > best || candidate.is_nan();
                    best = if better { candidate } else { best };
                    winner = if better { tap as u8 + 1 } else { winner };
                }
                y[i] = best;
                winners[i] = winner;
            }
        }
    }
}

multiversion! {
    fn scatter(sizes: Windows, y: &[f32], winners: &[u8], x: &mut [f32]) {
        let Windows { height, width, channels: c } = sizes;
        let (rows, columns) = sizes.pooled();
        for row in 0..height {
            for column in 0..width {
                let to = &mut x[(row * width + column) * c..][..c];
                if row / 2 >= rows || column / 2 >= columns {
                    to.fill(0.0);
                    continue;
                }
                let window = (row / 2 * columns + column / 2) * c;
                let (y, winners) = (&y[window..][..c], &winners[window..][..c]);
                let place = (row % 2 * 2 + column % 2) as u8;
                for i in 0..c {
                    to[i] = if winners[i] == place { y[i] } else { 0.0 };
                }
            }
        }
    }
}
