//! The samples of one row of MCUs, and the pixels that are made of them.

use super::super::resize::rounded;
use super::samples::{Place, Samples};
use super::tables::Frame;

/// The number of pixels that are converted at once.
const CHUNK: usize = 16;

/// A scaled picture: RGB of 8 bits a channel. Its sides are those of the whole picture divided by the scale, rounded up.
pub(in crate::image) struct Scaled {
    pub(in crate::image) width: usize,
    pub(in crate::image) height: usize,
    pub(in crate::image) pixels: Vec<u8>,
}

/// The samples of a row of MCUs: luma and two chroma planes, the latter upsampled to as many samples as luma.
pub(super) struct Rows {
    /// The samples of each component, `height * stride`.
    samples: Vec<Vec<f32>>,
    /// Columns, rounded up to whole chunks, and rows.
    stride: usize,
    height: usize,
    /// The number of samples of a block of each component.
    blocks: Vec<Samples>,
    scaled: Scaled,
    /// The number of rows of pixels that are done.
    done: usize,
}

impl Rows {
    /// The rows of a picture at `1 / scale` of its sides.
    pub(super) fn new(frame: &Frame, scale: usize) -> Self {
        let [across, down] = frame.most_blocks();
        let side = 8 / scale;
        let stride = (frame.grid()[0] * across * side).next_multiple_of(CHUNK);
        let height = down * side;
        let blocks = frame.components.iter().map(|component| Samples {
            across: side * across / component.sampling[0],
            down: side * down / component.sampling[1],
        });
        let [width, rows] = frame.size.map(|length| length.div_ceil(scale));
        let samples = vec![vec![0.0; stride * height]; frame.components.len()];
        let scaled = Scaled { width, height: rows, pixels: vec![0; 3 * width * rows] };
        Self { samples, stride, height, blocks: blocks.collect(), scaled, done: 0 }
    }

    /// How many samples a block of each component becomes.
    pub(super) fn blocks(&self) -> &[Samples] {
        &self.blocks
    }

    /// The memory for the samples of a block. `column` and `row` are those of the block in its component, within the row of MCUs.
    #[inline(always)]
    pub(super) fn place(&mut self, component: usize, column: usize, row: usize) -> Place<'_> {
        let Samples { across, down } = self.blocks[component];
        let from = row * down * self.stride + column * across;
        Place { samples: &mut self.samples[component][from..], stride: self.stride }
    }

    /// Converts the samples to pixels, once all MCUs of the row are there.
    pub(super) fn finish(&mut self) {
        let Scaled { width, pixels, .. } = &mut self.scaled;
        let rows = pixels.chunks_exact_mut(3 * *width).skip(self.done);
        for (row, pixels) in rows.take(self.height).enumerate() {
            let row = row * self.stride..(row + 1) * self.stride;
            match &self.samples[..] {
                [luma, blue, red] => {
                    write_colours([luma, blue, red].map(|plane| &plane[row.clone()]), pixels);
                }
                planes => {
                    let grey = planes.iter().flat_map(|plane| &plane[row.clone()]);
                    let pixels = pixels.as_chunks_mut::<3>().0.iter_mut();
                    pixels.zip(grey).for_each(|(pixel, luma)| *pixel = [rounded(*luma); 3]);
                }
            }
        }
        self.done += self.height;
    }

    /// The picture.
    pub(super) fn into_scaled(self) -> Scaled {
        self.scaled
    }
}

/// Converts the colours of JFIF: luma and two chromas, each centred at 128. All are padded to whole chunks of pixels.
fn write_colours([luma, blue, red]: [&[f32]; 3], pixels: &mut [u8]) {
    let samples = [luma, blue, red].map(|plane| plane.as_chunks::<CHUNK>().0.iter());
    let [luma, blue, red] = samples;
    for (((luma, blue), red), pixels) in luma.zip(blue).zip(red).zip(pixels.chunks_mut(3 * CHUNK)) {
        let mut channels = [[0u8; CHUNK]; 3];
        for k in 0..CHUNK {
            let (y, cb, cr) = (luma[k], blue[k] - 128.0, red[k] - 128.0);
            channels[0][k] = rounded(y + 1.402 * cr);
            channels[1][k] = rounded(y - 0.344_136 * cb - 0.714_136 * cr);
            channels[2][k] = rounded(y + 1.772 * cb);
        }
        for (k, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            *pixel = channels.map(|channel| channel[k]);
        }
    }
}
