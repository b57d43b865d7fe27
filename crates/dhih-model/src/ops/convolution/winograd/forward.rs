//! The forward pass, which is also the gradient of the input with other weights.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use super::transform::{OUTPUT, POSITIONS, output_tile, transform_weights};
use super::{Tile, Tiles, filled, line, plane_len, strides};
use crate::ops::Tasks;
use crate::ops::convolution::geometry::Geometry;
use crate::ops::convolution::packed::{Packed, blocks};
use crate::ops::convolution::product::{Epilogue, Product, Segment};
use crate::ops::scratch::{Buffer, Scratch, with_scratch};
use crate::ops::shared::Shared;
use crate::ops::simd::isa;
use crate::ops::tasks::threads;

/// A convolution with transformed weights.
#[derive(Debug)]
pub(in crate::ops::convolution) struct Winograd {
    tiles: Tiles,
    positions: Vec<Packed>,
}

impl Winograd {
    /// `weight`: `[out, in, 3, 3]`. `None` where this algorithm is not used.
    pub(in crate::ops::convolution) fn new(geometry: Geometry, weight: &[f32]) -> Option<Self> {
        let channels = geometry.channels;
        let at = |c: usize, o: usize, tap: usize| (o * channels + c) * 9 + tap;
        Tiles::fit(&geometry).then(|| Self::pack(geometry, |c, o, tap| weight[at(c, o, tap)]))
    }

    /// The convolution that computes the gradient of the input of `geometry`: with the weights rotated by 180 degrees and transposed. `None`
    /// where this algorithm is not used.
    pub(in crate::ops::convolution) fn of_gradient(
        geometry: Geometry,
        weight: &[f32],
    ) -> Option<Self> {
        let Geometry { channels, out_channels, .. } = geometry;
        let turned = Geometry {
            channels: out_channels,
            out_channels: channels,
            pixel: channels,
            ..geometry
        };
        let at = |o: usize, c: usize, tap: usize| (o * channels + c) * 9 + 8 - tap;
        Tiles::fit(&geometry).then(|| Self::pack(turned, |o, c, tap| weight[at(o, c, tap)]))
    }

    /// Transforms the weights `at(in, out, tap)` to one packed matrix `[in, out]` for each position.
    fn pack(geometry: Geometry, at: impl Fn(usize, usize, usize) -> f32 + Sync) -> Self {
        let Geometry { channels, out_channels, .. } = geometry;
        let blocks = blocks(out_channels, isa()).into_par_iter().run_all(|block| {
            let width = block.width();
            let mut taps = vec![0.0; 9 * width];
            let mut positions: Vec<Buffer> =
                (0..POSITIONS).map(|_| Buffer::zeros(channels * width)).collect();
            for c in 0..channels {
                for (column, o) in block.range(out_channels).enumerate() {
                    (0..9).for_each(|tap| taps[tap * width + column] = at(c, o, tap));
                }
                let mut rows = positions.iter_mut().map(|rows| &mut rows[c * width..][..width]);
                let rows = std::array::from_fn(|_| rows.next().unwrap_or_default());
                transform_weights(&taps, rows);
            }
            (block, positions)
        });
        let mut positions: Vec<Vec<_>> = (0..POSITIONS).map(|_| Vec::new()).collect();
        for (block, values) in blocks {
            for (blocks, values) in positions.iter_mut().zip(values) {
                blocks.push((block, values));
            }
        }
        let pack = |blocks| Packed::of_blocks(channels, out_channels, blocks);
        Self { tiles: Tiles::new(geometry), positions: positions.into_iter().map(pack).collect() }
    }

    /// Computes the output rows `rows` of each image, which begin at a multiple of four.
    pub(in crate::ops::convolution) fn run(
        &self,
        x: &[f32],
        rows: Range<usize>,
        y: &mut [f32],
        epilogue: Epilogue<'_>,
    ) {
        let Geometry { out, .. } = self.tiles.geometry;
        let images = x.len() / self.tiles.geometry.image();
        assert!(rows.start.is_multiple_of(OUTPUT) && rows.end <= out.0, "rows of whole tiles");
        let y = Shared::new(y);
        for tiles in self.tiles.groups(images, rows.clone()) {
            with_scratch(|Scratch { inputs, outputs, .. }| {
                let mut planes = self.planes(tiles.len(), inputs, outputs);
                // SAFETY: planes and output are borrowed by this call alone.
                unsafe {
                    let inputs = Shared::new(planes.inputs.0);
                    self.tiles.transform_inputs(x, &tiles, inputs, planes.inputs.1);
                    planes.pairs().for_each(|pair| self.multiply(pair, tiles.len()));
                    self.transform_outputs(&planes, 0, &tiles, &rows, y, epilogue);
                }
            });
        }
    }

    /// Whether the tiles of `n` images have fewer values than the weights. Then all threads compute them together, position by position, and
    /// each weight is read once.
    pub(in crate::ops::convolution) fn has_few_tiles(&self, n: usize) -> bool {
        let Geometry { channels, out_channels, .. } = self.tiles.geometry;
        n * self.tiles.size.0 * self.tiles.size.1 * (channels + out_channels)
            < channels * out_channels
    }

    /// Computes `n` images, all tiles at once, on all threads.
    pub(in crate::ops::convolution) fn run_together(
        &self,
        x: &[f32],
        n: usize,
        y: &mut [f32],
        epilogue: Epilogue<'_>,
    ) {
        let rows = 0..self.tiles.geometry.out.0;
        let (from_width, y) = (filled(self.tiles.geometry.channels), Shared::new(y));
        let tiles: Vec<Tile> = self.tiles.all(n, rows.clone()).collect();
        let part = tiles.len().div_ceil(4 * threads()).max(1);
        with_scratch(|Scratch { inputs, outputs, .. }| {
            let mut planes = self.planes(tiles.len(), inputs, outputs);
            let (inputs, plane) = (Shared::new(planes.inputs.0), planes.inputs.1);
            tiles.par_chunks(part).enumerate().run(|(number, tiles)| {
                let inputs = inputs.from(number * part * from_width);
                // SAFETY: each task has other tiles.
                unsafe { self.tiles.transform_inputs(x, tiles, inputs, plane) }
            });
            let pairs: Vec<_> = planes.pairs().collect();
            pairs.into_par_iter().run(|pair| self.multiply(pair, tiles.len()));
            tiles.par_chunks(part).enumerate().run(|(number, tiles)| {
                // SAFETY: each task has other tiles, and with them other pixels.
                unsafe { self.transform_outputs(&planes, number * part, tiles, &rows, y, epilogue) }
            });
        });
    }

    fn planes<'a>(
        &self,
        tiles: usize,
        inputs: &'a mut Buffer,
        outputs: &'a mut Buffer,
    ) -> Planes<'a> {
        let Geometry { channels, out_channels, .. } = self.tiles.geometry;
        let (from, to) = (plane_len(tiles, channels), plane_len(tiles, out_channels));
        Planes {
            inputs: (inputs.resize(POSITIONS * from), from),
            outputs: (outputs.resize(POSITIONS * to), to),
        }
    }

    /// The products of `count` tiles at one position.
    fn multiply(&self, (position, from, to): (usize, &[f32], &mut [f32]), count: usize) {
        let Geometry { channels, out_channels, .. } = self.tiles.geometry;
        let segments = &[Segment { offset: 0, len: channels }];
        let (matrix, epilogue) = (&self.positions[position], Epilogue::NONE);
        let job = Product { grid: line(count), segments, matrix, epilogue };
        job.run((from, strides(filled(channels))), (to, strides(filled(out_channels))));
    }

    /// Transforms products back, of tiles from number `first` on, to the output rows `rows` of each image.
    ///
    /// # Safety
    /// While this runs, no one else accesses the pixels of these tiles in `y`.
    unsafe fn transform_outputs(
        &self,
        planes: &Planes<'_>,
        first: usize,
        tiles: &[Tile],
        rows: &Range<usize>,
        y: Shared<'_>,
        epilogue: Epilogue<'_>,
    ) {
        let Geometry { out_channels, out, pixel: pixel_len, .. } = self.tiles.geometry;
        let (width, (outputs, plane)) = (filled(out_channels), &planes.outputs);
        let image_len = rows.len() * out.1 * pixel_len;
        assert!(epilogue.bias.is_none_or(|bias| bias.len() >= width), "bias too short");
        assert!(outputs.len() >= (POSITIONS - 1) * plane + (first + tiles.len()) * width);
        let bias = epilogue.bias.map(<[f32]>::as_ptr);
        for (at, &(image, row, column)) in tiles.iter().enumerate() {
            let pixels: [*mut f32; OUTPUT * OUTPUT] = std::array::from_fn(|i| {
                let (py, px) = (row * OUTPUT + i / OUTPUT, column * OUTPUT + i % OUTPUT);
                if py >= rows.end || px >= out.1 {
                    return std::ptr::null_mut();
                }
                let pixel = (py - rows.start) * out.1 + px;
                let to = y.from(image * image_len + pixel * pixel_len);
                assert!(to.len() >= out_channels, "an output too short");
                to.as_mut_ptr()
            });
            let from = outputs[(first + at) * width..].as_ptr();
            // SAFETY: planes hold a value for each output channel of each tile, and each pixel that is not null has room for as many. The
            // caller promises that no one else accesses them.
            unsafe {
                let clamps = (bias, epilogue.activation.range());
                output_tile(from, *plane, out_channels, clamps, &pixels);
                if epilogue.activation.needs_input() {
                    for pixel in pixels.into_iter().filter(|pixel| !pixel.is_null()) {
                        let values = std::slice::from_raw_parts_mut(pixel, out_channels);
                        epilogue.activation.apply_in_place(values);
                    }
                }
            }
        }
    }
}

/// Tiles in the transformed domain, position by position, each with the distance from one position to the next.
struct Planes<'a> {
    inputs: (&'a mut [f32], usize),
    outputs: (&'a mut [f32], usize),
}

impl Planes<'_> {
    /// The planes of each position.
    fn pairs(&mut self) -> impl Iterator<Item = (usize, &[f32], &mut [f32])> {
        let (inputs, outputs) = (&self.inputs, &mut self.outputs);
        let pairs = inputs.0.chunks_exact(inputs.1).zip(outputs.0.chunks_exact_mut(outputs.1));
        pairs.enumerate().map(|(position, (from, to))| (position, from, to))
    }
}
