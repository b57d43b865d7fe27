//! f32 values as bytes: `x = step (byte - zero)`, with one scale for a pixel, which follows from its values, or one for all images.

use crate::ops::multiversion::multiversion;

/// What bytes stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    /// From one byte to the next.
    pub(super) step: f32,
    /// The byte of 0, an integer from 0 to 255.
    pub(super) zero: f32,
}

/// The largest byte.
const MOST: f32 = 255.0;

impl Scale {
    /// Of values in a range, to which 0 is added: padding and what is cut off by an activation are exact.
    pub(crate) fn of_range(low: f32, high: f32) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let step = (high - low) / MOST;
        if step.is_normal() {
            Self { step, zero: (-low / step).round() }
        } else {
            Self { step: 1.0, zero: 0.0 }
        }
    }

    /// The byte of 0.
    pub(super) fn zero_byte(self) -> u8 {
        self.zero as u8
    }
}

/// The nearest integer in 0..=255, as a byte; NaN becomes one of them. The lowest bits of the sum are the integer: a conversion with
/// `as` is not vectorised.
#[inline(always)]
fn to_byte(x: f32) -> u8 {
    const TWO_TO_23: f32 = 8_388_608.0;
    let x = if x > 0.0 { x } else { 0.0 };
    let x = if x < MOST { x } else { MOST };
    (x + TWO_TO_23).to_bits() as u8
}

multiversion! {
    /// Pixels by one scale: the byte of `x` is `factor x + zero`, with a factor for each channel.
    pub(super) fn pixels_to_bytes(x: &[f32], factors: &[f32], zero: f32, to: &mut [u8]) {
        let pixels = x.chunks_exact(factors.len()).zip(to.chunks_exact_mut(factors.len()));
        for (x, to) in pixels {
            for ((x, factor), to) in x.iter().zip(factors).zip(to) {
                *to = to_byte(x * factor + zero);
            }
        }
    }
}

/// Values that are compared side by side.
const LANES: usize = 32;

multiversion! {
    /// Pixels of as many values as there are factors, each by a scale of its own, after it has been multiplied by the factors.
    /// `to` has `stride` bytes a pixel; what is behind the values is 0.
    pub(super) fn pixels_to_own_bytes(
        x: &[f32],
        factors: &[f32],
        stride: usize,
        to: &mut [u8],
        scales: &mut [Scale],
    ) {
        let channels = factors.len();
        let pixels = x.chunks_exact(channels).zip(to.chunks_exact_mut(stride));
        for ((x, to), scale) in pixels.zip(scales) {
            let (mut low, mut high) = ([0f32; LANES], [0f32; LANES]);
            let (whole, rest) = x.as_chunks::<LANES>();
            let (whole_factors, rest_factors) = factors.as_chunks::<LANES>();
            for (x, factors) in whole.iter().zip(whole_factors) {
                for i in 0..LANES {
                    let value = x[i] * factors[i];
                    low[i] = if value < low[i] { value } else { low[i] };
                    high[i] = if value > high[i] { value } else { high[i] };
                }
            }
            for (i, (x, factor)) in rest.iter().zip(rest_factors).enumerate() {
                low[i] = low[i].min(x * factor);
                high[i] = high[i].max(x * factor);
            }
            for half in [16, 8, 4, 2, 1] {
                for i in 0..half {
                    low[i] = if low[i + half] < low[i] { low[i + half] } else { low[i] };
                    high[i] = if high[i + half] > high[i] { high[i + half] } else { high[i] };
                }
            }
            *scale = Scale::of_range(low[0], high[0]);
            let (per_step, zero) = (1.0 / scale.step, scale.zero);
            let (values, filling) = to.split_at_mut(channels);
            for ((x, factor), to) in x.iter().zip(factors).zip(values) {
                *to = to_byte(x * factor * per_step + zero);
            }
            filling.fill(0);
        }
    }
}
