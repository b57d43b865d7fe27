//! PDQ, the hash of 256 bits by which platforms recognise pictures (Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing
//! Algorithm", 2019). Two pictures usually count as the same where their hashes differ in at most 31 bits.
//!
//! ```text
//! luma -> two passes of a box filter -> 64 x 64 samples -> 16 x 16 coefficients of the DCT -> greater than their median?
//!                                           \-> quality: how much the samples vary
//! ```
//!
//! Sums run in the order and in the precision of the reference implementation, so that every bit is the same.

use std::f64::consts::PI;

use crate::image::Picture;

/// The length of the hash in bits.
pub const PDQ_BITS: usize = 256;

/// Samples along each side of the picture that is transformed.
const SIDE: usize = 64;
/// Coefficients along each side that are kept, beginning with the second lowest frequency.
const KEPT: usize = 16;
/// Passes of the box filter along each side.
const PASSES: usize = 2;
/// Pictures with a shorter side have a hash of zeros and a quality of 0.
const LEAST_SIDE: usize = 5;

/// The PDQ hash of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Pdq {
    /// The coefficients, `[16, 16]`; `None` where the picture is too small.
    coefficients: Option<[[f32; KEPT]; KEPT]>,
    quality: u32,
}

impl Pdq {
    /// Hashes a picture. This takes 4 bytes of memory for each pixel.
    ///
    /// ```
    /// use dhih_model::{image::Picture, perceptual::Pdq};
    ///
    /// let pixels = (0..3 * 80 * 60).map(|i| (i * i / 977 % 251) as u8).collect();
    /// let pdq = Pdq::of(&Picture::new(80, 60, pixels)?);
    /// assert!(pdq.quality() <= 100);
    /// // As many coefficients are greater than their median as are not.
    /// assert_eq!(pdq.values().iter().sum::<f32>(), 0.0);
    /// # Ok::<(), dhih_model::Error>(())
    /// ```
    pub fn of(picture: &Picture) -> Self {
        let (width, height) = (picture.width(), picture.height());
        if width < LEAST_SIDE || height < LEAST_SIDE {
            return Self { coefficients: None, quality: 0 };
        }
        let mut luma: Vec<f32> = picture.pixels().as_chunks::<3>().0.iter().map(luma).collect();
        // A picture of this size is not scaled.
        if (width, height) != (SIDE, SIDE) {
            blur(&mut luma, width, height);
        }
        let samples = decimate(&luma, width, height);
        Self { coefficients: Some(transform(&samples)), quality: quality(&samples) }
    }

    /// How much detail the picture has, from 0 to 100. Hashes with less than 50 are usually not compared: such pictures have almost a single
    /// colour and are similar by accident.
    pub fn quality(&self) -> u32 {
        self.quality
    }

    /// The hash as signs of its bits. Packed and in hexadecimal, it is the text that PDQ's tools write.
    pub fn values(&self) -> [f32; PDQ_BITS] {
        self.symmetry(0)
    }

    /// The hashes of the rotated and mirrored pictures, in the order of [`SYMMETRIES`](super::SYMMETRIES), as signs of their bits. Their
    /// coefficients are those of the picture with other signs and positions.
    pub fn symmetries(&self) -> [[f32; PDQ_BITS]; 8] {
        std::array::from_fn(|symmetry| self.symmetry(symmetry))
    }

    fn symmetry(&self, symmetry: usize) -> [f32; PDQ_BITS] {
        let Some(from) = &self.coefficients else { return [-1.0; PDQ_BITS] };
        let transposed = matches!(symmetry, 1 | 3 | 6 | 7);
        let moved = std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                let [i, j] = if transposed { [column, row] } else { [row, column] };
                // Row and column 0 have frequency 1, so that rows and columns with an even number are odd functions.
                let negative = match symmetry {
                    1 | 5 => j % 2 == 0,
                    2 | 7 => (i + j) % 2 == 1,
                    3 | 4 => i % 2 == 0,
                    _ => false,
                };
                if negative { -from[i][j] } else { from[i][j] }
            })
        });
        signs(&moved)
    }
}

/// Luma (ITU-R BT.601).
fn luma([r, g, b]: &[u8; 3]) -> f32 {
    (f64::from(*r) * 0.299 + f64::from(*g) * 0.587 + f64::from(*b) * 0.114) as f32
}

/// The width of the box filter along a side of this length: about half of the distance between two samples that are kept.
fn window(side: usize) -> usize {
    side.div_ceil(2 * SIDE)
}

/// The box filter along rows, then along columns, twice.
fn blur(luma: &mut [f32], width: usize, height: usize) {
    let mut filter = BoxFilter::default();
    for _ in 0..PASSES {
        luma.chunks_exact_mut(width).for_each(|row| filter.run(row, 1, window(width)));
        filter.run(luma, width, window(height));
    }
}

/// Replaces samples by the mean of those around them, with sliding sums. Its memory is reused.
#[derive(Default)]
struct BoxFilter {
    sums: Vec<f32>,
    /// The original samples of the window, `[window, lanes]`, as a ring buffer.
    ring: Vec<f32>,
}

impl BoxFilter {
    /// Filters along the first axis of `samples`, `[n, lanes]`. The window is narrower at both ends.
    fn run(&mut self, samples: &mut [f32], lanes: usize, window: usize) {
        let n = samples.len() / lanes;
        let ahead = (window + 2) / 2 - 1;
        self.sums.clear();
        self.sums.resize(lanes, 0.0);
        self.ring.clear();
        self.ring.resize(window * lanes, 0.0);
        for step in 0..n + ahead {
            // The sample that enters the window, and the one that leaves it, whose place in the ring is reused.
            let (enters, leaves) = (step < n, step >= window);
            let slot = (step % window) * lanes;
            for lane in 0..lanes {
                let old = self.ring[slot + lane];
                if enters {
                    let new = samples[step * lanes + lane];
                    self.sums[lane] += new;
                    self.ring[slot + lane] = new;
                }
                if leaves {
                    self.sums[lane] -= old;
                }
            }
            if step >= ahead {
                let first = (step + 1).saturating_sub(window);
                let size = (n.min(step + 1) - first) as f32;
                let out = &mut samples[(step - ahead) * lanes..][..lanes];
                out.iter_mut().zip(&self.sums).for_each(|(out, sum)| *out = sum / size);
            }
        }
    }
}

/// The samples nearest to the centres of 64 x 64 cells.
fn decimate(luma: &[f32], width: usize, height: usize) -> [[f32; SIDE]; SIDE] {
    let centre =
        |part: usize, side: usize| ((part as f64 + 0.5) * side as f64 / SIDE as f64) as usize;
    std::array::from_fn(|row| {
        let row = &luma[centre(row, height) * width..][..width];
        std::array::from_fn(|column| row[centre(column, width)])
    })
}

/// The sum of differences of neighbouring samples, in hundredths of the range.
fn quality(samples: &[[f32; SIDE]; SIDE]) -> u32 {
    let difference = |a: f32, b: f32| (((a - b) * 100.0) / 255.0) as i32;
    let mut sum = 0;
    for i in 0..SIDE {
        for j in 0..SIDE {
            let sample = samples[i][j];
            if i + 1 < SIDE {
                sum += difference(sample, samples[i + 1][j]).unsigned_abs();
            }
            if j + 1 < SIDE {
                sum += difference(sample, samples[i][j + 1]).unsigned_abs();
            }
        }
    }
    (sum / 90).min(100)
}

/// The coefficients of frequencies 1 to 16 of the DCT.
fn transform(samples: &[[f32; SIDE]; SIDE]) -> [[f32; KEPT]; KEPT] {
    let scale = f64::from((2.0 / SIDE as f64).sqrt() as f32);
    let matrix: [[f32; SIDE]; KEPT] = std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            let angle = PI / 2.0 / SIDE as f64 * (i + 1) as f64 * (2 * j + 1) as f64;
            (scale * angle.cos()) as f32
        })
    });
    let half: [[f32; SIDE]; KEPT] = std::array::from_fn(|i| {
        std::array::from_fn(|j| (0..SIDE).fold(0.0, |sum, k| sum + matrix[i][k] * samples[k][j]))
    });
    std::array::from_fn(|i| {
        std::array::from_fn(|j| (0..SIDE).fold(0.0, |sum, k| sum + matrix[j][k] * half[i][k]))
    })
}

/// +1 where a coefficient is greater than the median. Of an even number of values, the median is the lower one of the two in the middle.
fn signs(coefficients: &[[f32; KEPT]; KEPT]) -> [f32; PDQ_BITS] {
    let all = coefficients.as_flattened();
    let mut sorted = all.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let median = sorted[PDQ_BITS / 2 - 1];
    // PDQ writes its bits from the last to the first, eight in a byte.
    std::array::from_fn(|bit| {
        let coefficient = all[PDQ_BITS - 8 - bit / 8 * 8 + bit % 8];
        if coefficient > median { 1.0 } else { -1.0 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of the samples around each sample, by its definition.
    fn means(samples: &[f32], window: usize) -> Vec<f32> {
        let (n, ahead) = (samples.len(), (window + 2) / 2 - 1);
        let mean = |at: usize| {
            let (from, to) = ((at + ahead + 1).saturating_sub(window), n.min(at + ahead + 1));
            samples[from..to].iter().sum::<f32>() / (to - from) as f32
        };
        (0..n).map(mean).collect()
    }

    #[test]
    fn a_box_filter_averages_the_samples_around_each_one() {
        for n in [5, 17, 200] {
            for window in [1, 2, 3, 4, 5] {
                // Sums of integers are exact in any order.
                let samples: Vec<f32> = (0..n).map(|i| ((i * 37) % 256) as f32).collect();
                let mut filtered = samples.clone();
                BoxFilter::default().run(&mut filtered, 1, window);
                assert_eq!(filtered, means(&samples, window), "{n} {window}");
                // Two lanes side by side.
                let mut lanes: Vec<f32> =
                    samples.iter().flat_map(|&sample| [sample, 255.0 - sample]).collect();
                BoxFilter::default().run(&mut lanes, 2, window);
                assert!(lanes.iter().step_by(2).eq(&filtered));
            }
        }
    }

    #[test]
    fn tiny_and_even_pictures_have_no_quality() {
        for (width, height) in [(4, 100), (100, 4), (5, 5), (64, 64), (300, 7)] {
            let pdq = Pdq::of(&Picture::new(width, height, vec![9; 3 * width * height]).unwrap());
            assert_eq!(pdq.quality(), 0);
            assert!(width.min(height) > 4 || pdq.values().iter().all(|value| *value == -1.0));
        }
    }

    #[test]
    fn turned_twice_is_half_a_turn() {
        let pixels = (0..3 * 90 * 70).map(|i: usize| (i * i / 331 % 256) as u8).collect();
        let pdq = Pdq::of(&Picture::new(90, 70, pixels).unwrap());
        let all = pdq.symmetries();
        assert_eq!(all[0], pdq.values());
        // The coefficients of the rotated or mirrored picture, from those of the picture by signs and positions.
        let turned = |from: &Pdq, symmetry: usize| {
            let from = from.coefficients.unwrap();
            let moved = std::array::from_fn(|row| {
                std::array::from_fn(|column| {
                    // The coefficient that belongs here comes from row `column` and column `row`.
                    let negative = [row, column][usize::from(symmetry == 3)] % 2 == 0;
                    if negative { -from[column][row] } else { from[column][row] }
                })
            });
            Pdq { coefficients: Some(moved), quality: 0 }
        };
        let once = turned(&pdq, 1);
        assert_eq!(once.values(), all[1]);
        assert_eq!(once.symmetries()[1], all[2]);
        assert_eq!(once.symmetries()[2], all[3]);
        assert_eq!(once.symmetries()[3], all[0]);
    }
}
