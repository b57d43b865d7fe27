//! Random numbers and trigonometry with the same result on every machine.
//!
//! Everything is +, -, *, / or an integer step, which IEEE 754 rounds one way only; the standard
//! library's `sin` or `powf`, and the distributions of `rand`, may change with platform or release.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The random numbers of one image: ChaCha8 with the set's seed as key and the image as stream.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64, index: usize) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(index as u64);
        Self(rng)
    }

    /// 32 random bits.
    pub(super) fn word(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in [0, 1), from the 24 high bits: exactly the integers an `f32` holds.
    pub(super) fn unit(&mut self) -> f32 {
        (self.word() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in [low, high).
    pub(super) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in [-reach, reach).
    pub(super) fn around(&mut self, reach: f32) -> f32 {
        self.range(-reach, reach)
    }

    /// Uniform in 0..sides.
    pub(super) fn below(&mut self, sides: u32) -> u32 {
        ((u64::from(self.word()) * u64::from(sides)) >> 32) as u32
    }

    /// True with the given probability.
    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }
}

/// Sine and cosine of an angle in turns (1.0 is the full circle), to about 4e-6.
pub(super) fn sin_cos(turns: f32) -> (f32, f32) {
    (sine(turns), sine(turns + 0.25))
}

fn sine(turns: f32) -> f32 {
    // Fold into a quarter turn on either side of zero, where five Taylor terms suffice.
    let x = turns - (turns + 0.5).floor();
    let x = if x > 0.25 {
        0.5 - x
    } else if x < -0.25 {
        -0.5 - x
    } else {
        x
    };
    let s = x * x;
    x * (6.283_185_5 + s * (-41.341_7 + s * (81.605_25 + s * (-76.705_86 + s * 42.058_693))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_and_cosine_follow_the_standard_library() {
        for step in -300..300 {
            let turns = step as f32 / 97.0;
            let (sin, cos) = sin_cos(turns);
            let (s, c) = (f64::from(turns) * std::f64::consts::TAU).sin_cos();
            assert!((f64::from(sin) - s).abs() < 1e-5, "sin of {turns} turns: {sin}, not {s}");
            assert!((f64::from(cos) - c).abs() < 1e-5, "cos of {turns} turns: {cos}, not {c}");
        }
    }

    #[test]
    fn draws_keep_to_their_ranges_and_fill_them() {
        let mut dice = Dice::new(5, 9);
        let draws: Vec<f32> = (0..4000).map(|_| dice.range(-2.0, 6.0)).collect();
        assert!(draws.iter().all(|d| (-2.0..6.0).contains(d)));
        let mean = draws.iter().sum::<f32>() / 4000.0;
        assert!((mean - 2.0).abs() < 0.2, "mean {mean}");
        let mut seen = [0; 6];
        (0..600).for_each(|_| seen[dice.below(6) as usize] += 1);
        assert!(seen.iter().all(|&n| n > 60), "{seen:?}");
    }
}
