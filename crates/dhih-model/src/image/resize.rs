//! Scaling by linear (triangle filter) or cubic interpolation with antialiasing, a row at a time. Linear interpolation gives the same result as
//! `image::imageops::resize` to the last bit, because sums run in the same order. It is many times as fast and takes two rows of memory, because
//! rows are plain slices.

use std::ops::Range;

use super::fit::Interpolation;

/// A part of a picture, RGB of 8 bits a channel, and the size that it is scaled to.
pub(super) struct Resize<'a> {
    /// The rows of the whole picture.
    pub(super) pixels: &'a [u8],
    /// The columns of the whole picture.
    pub(super) stride: usize,
    /// The first column and row of the part.
    pub(super) origin: [usize; 2],
    /// Columns and rows of the part, at least 1 each.
    pub(super) from: [usize; 2],
    /// Columns and rows to which the part is scaled, at least 1 each.
    pub(super) scaled: [usize; 2],
    /// The first column and row of the scaled part that is wanted, and the number of columns and rows.
    pub(super) first: [usize; 2],
    pub(super) to: [usize; 2],
    pub(super) interpolation: Interpolation,
}

/// The source positions of an output position, and their weights.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

impl Resize<'_> {
    /// Computes the wanted region of the scaled part, `to[1] * to[0] * 3` bytes.
    pub(super) fn run(&self) -> Vec<u8> {
        let [left, top] = self.origin;
        let [width, _] = self.from;
        let row = |y: usize| &self.pixels[3 * ((top + y) * self.stride + left)..][..3 * width];
        let columns = self.taps(0);
        let mut scaled = vec![0; 3 * self.to[0] * self.to[1]];
        // One more value, so that each pixel can be read as four values.
        let mut sums = vec![0f32; 3 * width + 1];
        let rows = scaled.chunks_exact_mut(3 * self.to[0]);
        for (scaled, Taps { first, weights }) in rows.zip(self.taps(1)) {
            sums.fill(0.0);
            for (y, weight) in (first..).zip(weights) {
                let samples = sums.iter_mut().zip(row(y));
                samples.for_each(|(sum, sample)| *sum += f32::from(*sample) * weight);
            }
            let scaled = scaled.as_chunks_mut::<3>().0.iter_mut();
            for (to, Taps { first, weights }) in scaled.zip(&columns) {
                let mut pixel = [0f32; 4];
                let sums = sums[3 * first..].windows(4).step_by(3);
                for (sums, weight) in sums.zip(weights) {
                    pixel.iter_mut().zip(sums).for_each(|(sum, value)| *sum += value * weight);
                }
                let [r, g, b, _] = pixel.map(rounded);
                *to = [r, g, b];
            }
        }
        scaled
    }

    /// The taps of each wanted position along columns (0) or rows (1).
    fn taps(&self, side: usize) -> Vec<Taps> {
        let wanted = self.first[side]..self.first[side] + self.to[side];
        taps(self.from[side], self.scaled[side], wanted, self.interpolation)
    }
}

/// A sample rounded to the nearest byte, halves up, as `round` does. It uses operations that every processor has as vector instructions.
#[inline(always)]
pub(super) fn rounded(sample: f32) -> u8 {
    // Numbers from 2^23 to 2^24 are integers, so the addition rounds the sample, halves to even.
    const WHOLE: f32 = 8_388_608.0;
    let sample = sample.clamp(0.0, 255.0);
    let whole = sample + WHOLE;
    let is_half_below = sample - (whole - WHOLE) == 0.5;
    (whole.to_bits() + u32::from(is_half_below)) as u8
}

/// The taps of the output positions `wanted` along a side of `from` pixels that is scaled to `to`.
fn taps(from: usize, to: usize, wanted: Range<usize>, by: Interpolation) -> Vec<Taps> {
    let ratio = from as f32 / to as f32;
    // The reach of the filter is a multiple of what one output position covers.
    let covers = ratio.max(1.0);
    let scale = match by {
        Interpolation::Linear => covers,
        Interpolation::Bicubic => 2.0 * covers,
    };
    let taps = |position: usize| {
        let centre = (position as f32 + 0.5) * ratio;
        let first = ((centre - scale).floor() as i64).clamp(0, from as i64 - 1) as usize;
        let end = ((centre + scale).ceil() as i64).clamp(first as i64 + 1, from as i64) as usize;
        let centre = centre - 0.5;
        let weight = |at: usize| {
            let distance = ((at as f32 - centre) / covers).abs();
            match by {
                Interpolation::Linear if distance < 1.0 => 1.0 - distance,
                Interpolation::Linear => 0.0,
                Interpolation::Bicubic => cubic(distance),
            }
        };
        let mut weights: Vec<f32> = (first..end).map(weight).collect();
        let sum = weights.iter().fold(0.0, |sum, weight| sum + weight);
        weights.iter_mut().for_each(|weight| *weight /= sum);
        Taps { first, weights }
    };
    wanted.map(taps).collect()
}

/// The weight of a pixel at distance `x`, 0 or more, in cubic convolution with a = -0.5.
fn cubic(x: f32) -> f32 {
    match x {
        ..1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        1.0..2.0 => -0.5 * (((x - 5.0) * x + 8.0) * x - 4.0),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use image::imageops::{self, FilterType};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_are_rounded_as_round_does() {
        let near = |k: f32| [k, k.next_up(), k.next_down()];
        let halves = (0..=520).map(|k| k as f32 / 2.0 - 2.0).flat_map(near);
        let finer = (0..100_000).map(|k| k as f32 / 377.0 - 4.0);
        for sample in halves.chain(finer) {
            assert_eq!(rounded(sample), sample.round() as u8, "{sample:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn it_is_that_of_the_crate_image_to_the_last_bit(
            from in [1usize..70, 1usize..70],
            to in [1usize..50, 1usize..50],
            seed in any::<u32>(),
        ) {
            let [width, height] = [from[0] + 3, from[1] + 2];
            let noise = |i: usize| (i as u32 ^ seed).wrapping_mul(2_654_435_761).rotate_left(9) as u8;
            let pixels: Vec<u8> = (0..3 * width * height).map(noise).collect();
            let (first, interpolation) = ([0, 0], Interpolation::Linear);
            let (pixels, origin, stride) = (&pixels[..], [2, 1], width);
            let resize = Resize { pixels, stride, origin, from, scaled: to, first, to, interpolation };
            let whole = RgbImage::from_raw(width as u32, height as u32, pixels.to_vec()).unwrap();
            let part = imageops::crop_imm(&whole, 2, 1, from[0] as u32, from[1] as u32);
            let [columns, rows] = to.map(|side| side as u32);
            let expected = imageops::resize(&*part, columns, rows, FilterType::Triangle);
            prop_assert_eq!(resize.run(), expected.into_raw());
        }
    }
}
