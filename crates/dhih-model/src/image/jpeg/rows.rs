//! The samples of one row of units, and the pixels that are made of them.

use super::samples::{Place, Samples};
use super::scaled::Scaled;
use super::tables::Frame;

/// Pixels that are converted at once.
const CHUNK: usize = 16;

/// The samples of a row of units: of luma and of two chromas, with as many of these as of luma.
pub(super) struct Rows {
    /// Of each component, `height * stride` samples.
    samples: Vec<Vec<f32>>,
    /// Columns and rows.
    stride: usize,
    height: usize,
    /// Samples of a block of each component.
    blocks: Vec<Samples>,
    /// Units across.
    units: usize,
    scaled: Scaled,
}

impl Rows {
    /// For a picture at `1 / scale` of its sides.
    pub(super) fn new(frame: &Frame, scale: usize) -> Self {
        let [across, down] = frame.most_blocks();
        let units = frame.grid()[0];
        let side = 8 / scale;
        let (stride, height) = (units * across * side, down * side);
        let blocks = frame.components.iter().map(|component| Samples {
            across: side * across / component.sampling[0],
            down: side * down / component.sampling[1],
        });
        let [width, rows] = frame.size.map(|length| length.div_ceil(scale));
        let samples = vec![vec![0.0; stride * height]; frame.components.len()];
        let pixels = Vec::with_capacity(3 * width * rows);
        let scaled = Scaled { width, height: rows, pixels };
        Self { samples, stride, height, blocks: blocks.collect(), units, scaled }
    }

    /// How many samples a block of each component becomes.
    pub(super) fn blocks(&self) -> &[Samples] {
        &self.blocks
    }

    /// Where the samples of a block go. `unit` is counted in the row, the block by its column and row in the component.
    #[inline(always)]
    pub(super) fn place(&mut self, component: usize, column: usize, row: usize) -> Place<'_> {
        let Samples { across, down } = self.blocks[component];
        let from = row * down * self.stride + column * across;
        Place { samples: &mut self.samples[component][from..], stride: self.stride }
    }

    /// Makes pixels of the samples, once all units of the row are there.
    pub(super) fn finish(&mut self) {
        let Scaled { width, height, pixels } = &mut self.scaled;
        let made = pixels.len() / (3 * *width);
        for row in 0..self.height.min(*height - made) {
            let row = |samples: &'_ Vec<f32>| row * self.stride..row * self.stride + *width;
            match &self.samples[..] {
                [luma, blue, red] => {
                    let [luma, blue, red] = [luma, blue, red].map(|plane| &plane[row(plane)]);
                    write_colours(luma, blue, red, pixels);
                }
                planes => {
                    let grey = planes.iter().flat_map(|plane| &plane[row(plane)]);
                    pixels.extend(grey.flat_map(|luma| [rounded(*luma) as u8; 3]));
                }
            }
        }
    }

    /// The picture.
    pub(super) fn into_scaled(self) -> Scaled {
        self.scaled
    }

    /// Units across.
    pub(super) fn units(&self) -> usize {
        self.units
    }
}

/// JFIF's colours: luma and two chromas, each around 128.
fn write_colours(luma: &[f32], blue: &[f32], red: &[f32], pixels: &mut Vec<u8>) {
    let chunks = luma.chunks(CHUNK).zip(blue.chunks(CHUNK)).zip(red.chunks(CHUNK));
    for ((luma, blue), red) in chunks {
        let mut channels = [[0u8; CHUNK]; 3];
        let samples = luma.iter().zip(blue).zip(red);
        let [r, g, b] = &mut channels;
        let to = r.iter_mut().zip(g).zip(b);
        for ((((y, cb), cr)), ((r, g), b)) in samples.zip(to) {
            let (cb, cr) = (cb - 128.0, cr - 128.0);
            *r = rounded(y + 1.402 * cr) as u8;
            *g = rounded(y - 0.344_136 * cb - 0.714_136 * cr) as u8;
            *b = rounded(y + 1.772 * cb) as u8;
        }
        let [r, g, b] = &channels;
        let interleaved = r.iter().zip(g).zip(b).take(luma.len());
        pixels.extend(interleaved.flat_map(|((r, g), b)| [*r, *g, *b]));
    }
}

/// A sample as the nearest whole number of a byte, halves up: what `round` gives, by operations that every processor has for several samples
/// at once.
#[inline(always)]
fn rounded(sample: f32) -> u32 {
    // In [2^23, 2^24) numbers are whole, so that the sum is rounded, halves to even.
    const WHOLE: f32 = 8_388_608.0;
    let sample = sample.clamp(0.0, 255.0);
    let whole = sample + WHOLE;
    let is_half_below = sample - (whole - WHOLE) == 0.5;
    (whole.to_bits() & 0x1ff) + u32::from(is_half_below)
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn samples_are_rounded_as_round_does() {
        let near = |k: f32| [k, k.next_up(), k.next_down()];
        let halves = (0..=520).map(|k| k as f32 / 2.0 - 2.0).flat_map(near);
        let finer = (0..100_000).map(|k| k as f32 / 377.0 - 4.0);
        for sample in halves.chain(finer) {
            assert_eq!(rounded(sample), u32::from(sample.round() as u8), "{sample:?}");
        }
    }
}
