//! The canvas on which an image is painted, and its colours. `scene` and `shapes` decide what is painted, and where.
//!
//! Colours are mixed in OKLab, where equal steps look equal and mixtures stay clean, and are converted to sRGB bytes at the end.

use super::SIDE;
use super::dice::{Dice, sin_cos};
use super::geometry::{P, p};

/// A colour in OKLab: lightness, green to red, blue to yellow.
#[derive(Clone, Copy)]
pub(super) struct Colour(pub(super) [f32; 3]);

impl Colour {
    /// From lightness (0 to 1), chroma (0 to about 0.3) and hue in turns.
    pub(super) fn lch(lightness: f32, chroma: f32, hue: f32) -> Self {
        let (sin, cos) = sin_cos(hue);
        Self([lightness, chroma * cos, chroma * sin])
    }

    /// `self` at weight 0, `other` at weight 1.
    pub(super) fn mix(self, other: Self, weight: f32) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + (other.0[i] - self.0[i]) * weight))
    }

    pub(super) fn lighter(self, by: f32) -> Self {
        Self([self.0[0] + by, self.0[1], self.0[2]])
    }

    /// sRGB, 0 to 1 inside the gamut and clipped outside.
    fn srgb(self) -> [f32; 3] {
        let [l, a, b] = self.0;
        let cube = |v: f32| v * v * v;
        let long = cube(l + 0.396_337_78 * a + 0.215_803_76 * b);
        let medium = cube(l - 0.105_561_346 * a - 0.063_854_17 * b);
        let short = cube(l - 0.089_484_18 * a - 1.291_485_5 * b);
        [
            gamma(4.076_741_7 * long - 3.307_711_6 * medium + 0.230_969_94 * short),
            gamma(-1.268_438 * long + 2.609_757_4 * medium - 0.341_319_38 * short),
            gamma(-0.004_196_086 * long - 0.703_418_6 * medium + 1.707_614_7 * short),
        ]
    }
}

/// The sRGB transfer curve, fitted by square roots (within 0.004): IEEE fixes `sqrt`, not `powf`.
fn gamma(linear: f32) -> f32 {
    let half = linear.clamp(0.0, 1.0).sqrt();
    let quarter = half.sqrt();
    (0.585_122_4 * half + 0.783_140_36 * quarter - 0.368_262_74 * quarter.sqrt()).clamp(0.0, 1.0)
}

/// `SIDE` x `SIDE` pixels. Positions are in pixels, x to the right and y down.
pub(super) struct Canvas(Vec<Colour>);

impl Canvas {
    pub(super) fn new() -> Self {
        Self(vec![Colour([0.0; 3]); SIDE * SIDE])
    }

    /// Recolours every pixel, given its position and its colour so far.
    pub(super) fn wash(&mut self, brush: impl Fn(P, Colour) -> Colour) {
        self.stamp(p(0.0, 0.0), 2.0 * SIDE as f32, brush);
    }

    /// Recolours the pixels of the square `reach` around `centre`, as far as it lies on the sheet.
    pub(super) fn stamp(&mut self, centre: P, reach: f32, brush: impl Fn(P, Colour) -> Colour) {
        let span = |c: f32| {
            let edge = |v: f32| v.clamp(0.0, SIDE as f32) as usize;
            edge(c - reach)..edge(c + reach + 1.0)
        };
        for y in span(centre.y) {
            for x in span(centre.x) {
                let pixel = &mut self.0[y * SIDE + x];
                *pixel = brush(p(x as f32 + 0.5, y as f32 + 0.5), *pixel);
            }
        }
    }

    /// sRGB bytes, with sensor noise of about `grain` levels drawn for each pixel.
    pub(super) fn develop(&self, dice: &mut Dice, grain: f32) -> [u8; SIDE * SIDE * 3] {
        let mut bytes = [0; SIDE * SIDE * 3];
        for (pixel, colour) in bytes.chunks_exact_mut(3).zip(&self.0) {
            // Three uncorrelated deviates from the four bytes of one word: sums of uniforms are near
            // enough to normal, and 128 is near enough to their standard deviation.
            let [a, b, c, d] = dice.word().to_le_bytes().map(|byte| f32::from(byte) / 128.0);
            let (luma, warm, green) = (a + b - c - d, (a - b) * 0.5, (c - d) * 0.5);
            let noise = [luma + warm, luma + green, luma - warm];
            for ((byte, level), noise) in pixel.iter_mut().zip(colour.srgb()).zip(noise) {
                *byte = (level * 255.0 + noise * grain + 0.5).clamp(0.0, 255.0) as u8;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours_come_out_right() {
        // The OKLab coordinates of sRGB white, black, red and blue, as published.
        let cases = [
            ([1.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
            ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
            ([0.627_96, 0.224_86, 0.125_85], [1.0, 0.0, 0.0]),
            ([0.452_01, -0.032_46, -0.311_53], [0.0, 0.0, 1.0]),
        ];
        for (lab, want) in cases {
            let got = Colour(lab).srgb();
            for (g, w) in got.iter().zip(want) {
                assert!((g - w).abs() < 0.03, "{lab:?} gave {got:?}, not {want:?}");
            }
        }
    }
}
