//! Which values dropout sets to 0, as a function of a seed: the operators of this crate and their portable forms share it.

use candle_core::{Result, bail};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::fresh::fill_parts;
use super::multiversion::multiversion;

/// The number of values whose mask is drawn from one stream.
const PART_VALUES: usize = 1 << 13;

/// The mask of a dropout: 0 where a value is dropped and `1 / (1 - p)` elsewhere. It is drawn again whenever it is applied, and never kept.
pub(super) struct Mask {
    p: f64,
    seed: u64,
}

impl Mask {
    /// # Errors
    /// When `p` is not in 0..1.
    pub(super) fn new(p: f64, seed: u64) -> Result<Self> {
        if !(0.0..1.0).contains(&p) {
            bail!("dropout takes a probability in 0..1, got {p}");
        }
        Ok(Self { p, seed })
    }

    /// The products of values with the mask.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let below = (self.p * (1u64 << 32) as f64) as u32;
        let scale = (1.0 / (1.0 - self.p)) as f32;
        let rng = ChaCha8Rng::seed_from_u64(self.seed);
        let parts = x.par_chunks(PART_VALUES).enumerate();
        let (y, _) = fill_parts(x.len(), PART_VALUES, parts, |y, (part, x)| {
            let mut rng = rng.clone();
            rng.set_stream(part as u64);
            let mut draws = [0u32; PART_VALUES];
            rng.fill(&mut draws[..x.len()]);
            drop_values(&draws, below, scale, x, y);
        });
        y
    }
}

multiversion! {
    fn drop_values(draws: &[u32], below: u32, scale: f32, x: &[f32], y: &mut [f32]) {
        for ((y, x), draw) in y.iter_mut().zip(x).zip(draws) {
            // A product passes NaN on, so that it is not hidden.
            *y = x * if *draw < below { 0.0 } else { scale };
        }
    }
}

/// The first `count` values of a mask.
///
/// # Errors
/// When `p` is not in 0..1.
pub(super) fn mask(count: usize, p: f64, seed: u64) -> Result<Vec<f32>> {
    Ok(Mask::new(p, seed)?.apply(&vec![1.0; count]))
}
