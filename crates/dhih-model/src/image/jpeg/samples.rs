//! From the coefficients of a block to its samples at a half, a quarter or an eighth of the sides.
//!
//! A sample of the scaled picture is the mean of the samples that it covers, computed from the low coefficients of the block: the lowest `n`
//! coefficients for `n` samples along a side. This is the inverse transform of the block with its high coefficients set to zero, followed by a
//! mean over boxes, in one step.

use std::sync::LazyLock;

use super::tables::ZIGZAG;

/// The coefficients of a block in its rows and columns, multiplied by their quantisers.
pub(super) type Block = [f32; 64];

/// The weight of each coefficient in the mean over each of `N` parts of a side.
struct Weights<const N: usize>([[f32; N]; N]);

static WEIGHTS: LazyLock<(Weights<2>, Weights<4>, Weights<8>)> =
    LazyLock::new(|| (Weights::new(), Weights::new(), Weights::new()));

impl<const N: usize> Weights<N> {
    /// The mean of `c(u) / 2 cos((2 x + 1) u pi / 16)` over the samples `x` of a part, where `c(0)` is the square root of 1/2 and the others are
    /// 1 (ITU-T T.81, A.3.3).
    fn new() -> Self {
        let wave = |u: usize, x: usize| {
            let constant = if u == 0 { f64::sqrt(0.125) } else { 0.5 };
            constant * (((2 * x + 1) * u) as f64 * std::f64::consts::PI / 16.0).cos()
        };
        let samples = 8 / N;
        let mean = |u: usize, part: usize| {
            let sum: f64 = (samples * part..samples * (part + 1)).map(|x| wave(u, x)).sum();
            (sum / samples as f64) as f32
        };
        Self(std::array::from_fn(|u| std::array::from_fn(|part| mean(u, part))))
    }
}

/// The memory for the samples of a block: the first sample, and the distance to the next row.
pub(super) struct Place<'a> {
    pub(super) samples: &'a mut [f32],
    pub(super) stride: usize,
}

/// How many samples a block becomes, across and down. Along one side there are at most twice as many as along the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Samples {
    pub(super) across: usize,
    pub(super) down: usize,
}

impl Samples {
    /// Whether coefficient number `k` in the order of storage is needed.
    pub(super) fn needs(self, k: usize) -> bool {
        let place = usize::from(ZIGZAG[k]);
        place % 8 < self.across && place / 8 < self.down
    }

    /// The last coefficient that is needed, in the order of storage.
    pub(super) fn last(self) -> usize {
        (0..64).rfind(|k| self.needs(*k)).unwrap_or(0)
    }

    /// Sets the coefficients that are needed to zero.
    #[inline(always)]
    pub(super) fn clear(self, block: &mut Block) {
        if self.across <= 2 && self.down <= 2 {
            [0, 1, 8, 9].into_iter().for_each(|k| block[k] = 0.0);
        } else {
            *block = [0.0; 64];
        }
    }

    /// Writes the samples of a block.
    #[inline(always)]
    pub(super) fn write(self, block: &Block, place: Place<'_>) {
        let (two, four, eight) = &*WEIGHTS;
        match [self.across, self.down] {
            [1 | 2, 1 | 2] => self.write_quarters(block, place),
            [2, 4] => expand(block, two, four, place),
            [4, 2] => expand(block, four, two, place),
            [4, 4] => expand(block, four, four, place),
            [4, 8] => expand(block, four, eight, place),
            [8, 4] => expand(block, eight, four, place),
            _ => expand(block, eight, eight, place),
        }
    }

    /// Writes the means over a block, over its halves or over its quarters.
    #[inline(always)]
    fn write_quarters(self, block: &Block, place: Place<'_>) {
        // The mean of the lowest wave over one half of a block: a quarter of the sum of cos((2 x + 1) pi / 16) for x below 4, times the
        // constants of the transform.
        const ONE: f32 = 0.113_268;
        const TWO: f32 = 0.102_633;
        let [mean, across, down, both] = [0, 1, 8, 9].map(|k| block[k]);
        let sign = |part: usize, parts: usize| match (parts, part) {
            (1, _) => 0.0,
            (_, 0) => 1.0,
            _ => -1.0,
        };
        for (y, row) in place.samples.chunks_mut(place.stride).take(self.down).enumerate() {
            for (x, to) in row.iter_mut().take(self.across).enumerate() {
                let [h, v] = [sign(x, self.across), sign(y, self.down)];
                let value = mean / 8.0 + ONE * (h * across + v * down) + TWO * h * v * both;
                *to = sample(value);
            }
        }
    }
}

/// The transform along columns, and then along rows.
#[inline(always)]
fn expand<const X: usize, const Y: usize>(
    block: &Block,
    across: &Weights<X>,
    down: &Weights<Y>,
    place: Place<'_>,
) {
    let mut columns = [[0f32; X]; Y];
    for (coefficients, weights) in block.as_chunks::<8>().0.iter().zip(&down.0) {
        for (column, weight) in columns.iter_mut().zip(weights) {
            column.iter_mut().zip(coefficients).for_each(|(sum, value)| *sum += value * weight);
        }
    }
    let rows = place.samples.chunks_mut(place.stride).filter_map(|row| row.first_chunk_mut::<X>());
    for (column, row) in columns.iter().zip(rows) {
        let mut sums = [0f32; X];
        for (value, weights) in column.iter().zip(&across.0) {
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += value * weight);
        }
        *row = sums.map(sample);
    }
}

/// The sample at a distance from the middle of the range.
#[inline(always)]
pub(super) fn sample(value: f32) -> f32 {
    (value + 128.0).clamp(0.0, 255.0)
}
