//! The difference hash of 64 bits (N. Krawetz, "Kind of Like That", 2013). The picture is scaled to 9 x 8 grey pixels; a bit says whether a
//! pixel is darker than the next one in its row. The hash equals that of the Python package `imagehash`, bit for bit. That package scales as
//! Pillow does: by Lanczos filters in integer arithmetic, rows first. (From version 12 on, Pillow begins with columns where that is cheaper,
//! which changes a bit now and then.)

use std::f64::consts::PI;

use crate::image::Picture;

/// The length of the hash in bits.
pub const DHASH_BITS: usize = 64;

/// Columns and rows of the scaled picture.
const COLUMNS: usize = 9;
const ROWS: usize = 8;
/// Lobes of the filter on each side.
const LOBES: f64 = 3.0;
/// Fractional bits of the weights.
const FRACTION: u32 = 22;

/// The hash as signs of its bits. Packed and in hexadecimal, it is the text that `imagehash` writes. This takes one byte of memory for each
/// pixel.
///
/// ```
/// use dhih_model::{image::Picture, perceptual::dhash};
///
/// // Lighter from left to right.
/// let pixels = (0..3 * 90 * 8).map(|i| (i / 3 % 90) as u8).collect();
/// assert_eq!(dhash(&Picture::new(90, 8, pixels)?), [1.0; 64]);
/// # Ok::<(), dhih_model::Error>(())
/// ```
pub fn dhash(picture: &Picture) -> [f32; DHASH_BITS] {
    Grey::of(picture).hash()
}

/// The hashes of the rotated and mirrored pictures, in the order of [`SYMMETRIES`](super::SYMMETRIES), as signs of their bits. Each of these
/// pictures is hashed anew.
pub fn dhash_symmetries(picture: &Picture) -> [[f32; DHASH_BITS]; 8] {
    let grey = Grey::of(picture);
    // A rotation by 180 degrees is both mirrors; one by 90 degrees is the transpose and one of the mirrors. Rotations are counter-clockwise.
    std::array::from_fn(|symmetry| match symmetry {
        0 => grey.hash(),
        1 => grey.transposed().upside_down().hash(),
        2 => grey.upside_down().mirrored().hash(),
        3 => grey.transposed().mirrored().hash(),
        4 => grey.upside_down().hash(),
        5 => grey.mirrored().hash(),
        6 => grey.transposed().hash(),
        _ => grey.transposed().mirrored().upside_down().hash(),
    })
}

/// A grey picture of 8 bits.
struct Grey {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Grey {
    fn of(picture: &Picture) -> Self {
        let luma = |[r, g, b]: &[u8; 3]| {
            let [r, g, b] = [*r, *g, *b].map(u32::from);
            ((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16) as u8
        };
        let pixels = picture.pixels().as_chunks::<3>().0.iter().map(luma).collect();
        Self { width: picture.width(), height: picture.height(), pixels }
    }

    fn transposed(&self) -> Self {
        let (width, height) = (self.height, self.width);
        let pixel = |at: usize| self.pixels[at % width * self.width + at / width];
        Self { width, height, pixels: (0..self.pixels.len()).map(pixel).collect() }
    }

    fn mirrored(&self) -> Self {
        let mut pixels = self.pixels.clone();
        pixels.chunks_exact_mut(self.width).for_each(<[u8]>::reverse);
        Self { pixels, ..*self }
    }

    fn upside_down(&self) -> Self {
        let rows = self.pixels.chunks_exact(self.width).rev();
        Self { pixels: rows.flatten().copied().collect(), ..*self }
    }

    fn hash(&self) -> [f32; DHASH_BITS] {
        let scaled = self.scaled_rows().scaled_columns();
        // The first bit of a row is the most significant one of its byte.
        std::array::from_fn(|bit| {
            let (row, column) = (bit / 8, 7 - bit % 8);
            let pixel = |column: usize| scaled.pixels[row * COLUMNS + column];
            if pixel(column + 1) > pixel(column) { 1.0 } else { -1.0 }
        })
    }

    /// Scales each row to 9 pixels.
    fn scaled_rows(&self) -> Self {
        if self.width == COLUMNS {
            return Self { pixels: self.pixels.clone(), ..*self };
        }
        let taps = taps(self.width, COLUMNS);
        let rows = self.pixels.chunks_exact(self.width);
        let scaled = rows.flat_map(|row| taps.iter().map(|tap| tap.apply(row[tap.first..].iter())));
        Self { width: COLUMNS, height: self.height, pixels: scaled.collect() }
    }

    /// Scales each column to 8 pixels.
    fn scaled_columns(&self) -> Self {
        if self.height == ROWS {
            return Self { pixels: self.pixels.clone(), ..*self };
        }
        let mut pixels = Vec::with_capacity(ROWS * self.width);
        for tap in taps(self.height, ROWS) {
            for column in 0..self.width {
                let samples = self.pixels[tap.first * self.width + column..].iter();
                pixels.push(tap.apply(samples.step_by(self.width)));
            }
        }
        Self { width: self.width, height: ROWS, pixels }
    }
}

/// The samples that a scaled sample is made of, and their weights.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

impl Tap {
    fn apply<'a>(&self, samples: impl Iterator<Item = &'a u8>) -> u8 {
        let products =
            samples.zip(&self.weights).map(|(sample, weight)| i32::from(*sample) * weight);
        let sum = products.fold(1 << (FRACTION - 1), i32::wrapping_add);
        (sum >> FRACTION).clamp(0, 255) as u8
    }
}

/// The taps for scaling a side from `from` to `to` samples.
fn taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let filter_scale = scale.max(1.0);
    let support = LOBES * filter_scale;
    let tap = |position: usize| {
        let centre = (position as f64 + 0.5) * scale;
        // A negative number becomes 0.
        let first = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let weight = |at: usize| lanczos((at as f64 - centre + 0.5) * (1.0 / filter_scale));
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| {
            let weight = if sum == 0.0 { *weight } else { weight / sum };
            let scaled = weight * f64::from(1 << FRACTION);
            (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
        };
        Tap { first, weights: weights.iter().map(fixed).collect() }
    };
    (0..to).map(tap).collect()
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    if (-LOBES..LOBES).contains(&x) { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symmetries_are_hashes_of_the_turned_picture() {
        let (width, height) = (23, 17);
        let value = |x: usize, y: usize| (x * x * 7 + y * 31 + x * y) as u8;
        let picture = |width: usize, height: usize, value: &dyn Fn(usize, usize) -> u8| {
            let pixels = (0..width * height).flat_map(|i| [value(i % width, i / width); 3]);
            Picture::new(width, height, pixels.collect()).unwrap()
        };
        let all = dhash_symmetries(&picture(width, height, &value));
        let (right, bottom) = (width - 1, height - 1);
        let expected = [
            dhash(&picture(width, height, &value)),
            dhash(&picture(height, width, &|x, y| value(right - y, x))),
            dhash(&picture(width, height, &|x, y| value(right - x, bottom - y))),
            dhash(&picture(height, width, &|x, y| value(y, bottom - x))),
            dhash(&picture(width, height, &|x, y| value(x, bottom - y))),
            dhash(&picture(width, height, &|x, y| value(right - x, y))),
            dhash(&picture(height, width, &|x, y| value(y, x))),
            dhash(&picture(height, width, &|x, y| value(right - y, bottom - x))),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn pictures_of_one_colour_and_of_any_size_have_a_hash() {
        for (width, height) in [(1, 1), (1, 300), (9, 8), (8, 9), (1000, 3)] {
            let picture = Picture::new(width, height, vec![77; 3 * width * height]).unwrap();
            assert_eq!(dhash(&picture), [-1.0; DHASH_BITS]);
        }
    }
}
