//! 3 x 3 convolution by Winograd's F(4 x 4, 3 x 3), with a quarter of the multiplications. Tiles of 6 x 6 pixels are transformed, multiplied
//! position by position, and transformed back. [`transform`] has the transforms.
#![allow(unsafe_code)]

mod transform;

use std::ops::Range;

use self::transform::{
    INPUT, OUTPUT, POSITIONS, gather_weights, gradient_tile, input_tile, output_tile,
    transform_weights,
};
use rayon::prelude::*;

use super::geometry::Geometry;
use super::outer::Outer;
use super::packed::{Packed, blocks};
use super::product::{Epilogue, Grid, Product, Segment, Strides};
use crate::ops::Tasks;
use crate::ops::scratch::{Buffer, Scratch, with_scratch};
use crate::ops::shared::Shared;
use crate::ops::simd::isa;
use crate::ops::tasks::threads;

/// The tiles of an image.
#[derive(Debug, Clone, Copy)]
struct Tiles {
    geometry: Geometry,
    /// The numbers of rows and columns of tiles.
    size: (usize, usize),
}

/// A tile: its image, and its row and column among the tiles.
type Tile = (usize, usize, usize);

impl Tiles {
    fn new(geometry: Geometry) -> Self {
        let size = (geometry.out.0.div_ceil(OUTPUT), geometry.out.1.div_ceil(OUTPUT));
        Self { geometry, size }
    }

    /// Whether this algorithm is used. It does not depend on the number of images, so that one image and many give the same bits.
    fn fit(geometry: &Geometry) -> bool {
        const LARGEST: usize = 1 << 18;
        let config = geometry.config;
        let most_of_a_vector = |channels: usize| channels >= isa().lanes();
        geometry.kernel == (3, 3)
            && geometry.border == (1, 1)
            && geometry.out == (geometry.height, geometry.width)
            && (config.stride, config.dilation, config.groups) == (1, 1, 1)
            && most_of_a_vector(geometry.channels)
            && most_of_a_vector(geometry.out_channels)
            && geometry.out.0.min(geometry.out.1) >= 3
            && geometry.channels * geometry.out_channels <= LARGEST
    }

    /// The number of tiles that are transformed together, such that their planes fit into the cache and the weights are read rarely.
    fn group(&self) -> usize {
        const VALUES: usize = 1 << 18;
        let Geometry { channels, out_channels, .. } = self.geometry;
        let channels_of_both = channels + out_channels;
        let in_cache = VALUES / (POSITIONS * channels_of_both);
        // So many tiles have as many values as the weights.
        let balanced = channels * out_channels / channels_of_both;
        in_cache.max(balanced).clamp(36, 192).next_multiple_of(6)
    }

    /// The tiles of `images` images that produce the output rows `rows`.
    fn all(&self, images: usize, rows: Range<usize>) -> impl Iterator<Item = Tile> + use<> {
        let columns = self.size.1;
        let lines = rows.start / OUTPUT..rows.end.div_ceil(OUTPUT);
        (0..images).flat_map(move |image| {
            let lines = lines.clone();
            lines.flat_map(move |row| (0..columns).map(move |column| (image, row, column)))
        })
    }

    /// As [`Self::all`], in groups.
    fn groups(&self, images: usize, rows: Range<usize>) -> impl Iterator<Item = Vec<Tile>> + use<> {
        let group = self.group();
        let mut tiles = self.all(images, rows).peekable();
        std::iter::from_fn(move || {
            tiles.peek()?;
            Some(tiles.by_ref().take(group).collect())
        })
    }

    /// Transforms input tiles to `planes`, in which they have the places from 0 on: `[positions, tiles, channels]`, with planes of `plane`
    /// values and channels filled up to complete vectors.
    ///
    /// # Safety
    /// While this runs, no one else accesses the places of these tiles.
    unsafe fn transform_inputs(&self, x: &[f32], tiles: &[Tile], planes: Shared<'_>, plane: usize) {
        let Geometry { height, width, channels, .. } = self.geometry;
        let (zeros, tile) = (vec![0f32; channels], filled(channels));
        let end = (POSITIONS - 1) * plane + tiles.len() * tile;
        assert!(plane >= tiles.len() * tile && planes.len() >= end, "planes too short");
        for (at, &(image, row, column)) in tiles.iter().enumerate() {
            let image = &x[image * height * width * channels..][..height * width * channels];
            let pixels: [*const f32; POSITIONS] = std::array::from_fn(|i| {
                let y = (row * OUTPUT + i / INPUT).wrapping_sub(1);
                let x = (column * OUTPUT + i % INPUT).wrapping_sub(1);
                let inside = y < height && x < width;
                if inside { image[(y * width + x) * channels..].as_ptr() } else { zeros.as_ptr() }
            });
            // SAFETY: each pixel points to `channels` values, of the image or of `zeros`; the assertion covers the planes.
            unsafe { input_tile(&pixels, channels, planes.from(at * tile).as_mut_ptr(), plane) }
        }
    }

    /// As [`Self::transform_inputs`], for some channels of the output's gradients.
    fn transform_gradients(
        &self,
        dy: &[f32],
        columns: &Range<usize>,
        tiles: &[Tile],
        planes: &mut [f32],
        plane: usize,
    ) {
        let Geometry { out: (height, width), out_channels: channels, .. } = self.geometry;
        let count = columns.len();
        let zeros = vec![0f32; count];
        assert!(plane >= tiles.len() * count && planes.len() >= POSITIONS * plane);
        for (at, &(image, row, column)) in tiles.iter().enumerate() {
            let image = &dy[image * height * width * channels..][..height * width * channels];
            let pixels: [*const f32; OUTPUT * OUTPUT] = std::array::from_fn(|i| {
                let (y, x) = (row * OUTPUT + i / OUTPUT, column * OUTPUT + i % OUTPUT);
                let inside = y < height && x < width;
                let pixel = (y * width + x) * channels;
                if !inside {
                    return zeros.as_ptr();
                }
                image[pixel + columns.start..pixel + columns.end].as_ptr()
            });
            // SAFETY: each pixel points to `count` values; the assertion covers the planes.
            unsafe { gradient_tile(&pixels, count, planes[at * count..].as_mut_ptr(), plane) }
        }
    }
}

/// Tiles as a grid of one row.
fn line(count: usize) -> Grid {
    Grid { images: 1, rows: 1, columns: count }
}

/// The strides of tiles with `column` channels, one after the other.
fn strides(column: usize) -> Strides {
    Strides { image: 0, row: 0, column }
}

/// The channels of a plane: complete vectors.
fn filled(channels: usize) -> usize {
    channels.next_multiple_of(isa().lanes())
}

/// The distance from one plane to the next, in values. It is not a power of two, since all planes would then compete for the same cache lines.
fn plane_len(tiles: usize, channels: usize) -> usize {
    (tiles * filled(channels)).next_multiple_of(1024) + 16
}

/// A convolution with transformed weights.
#[derive(Debug)]
pub(super) struct Winograd {
    tiles: Tiles,
    positions: Vec<Packed>,
}

impl Winograd {
    /// `weight`: `[out, in, 3, 3]`. `None` where this algorithm is not used.
    pub(super) fn new(geometry: Geometry, weight: &[f32]) -> Option<Self> {
        let channels = geometry.channels;
        let at = |c: usize, o: usize, tap: usize| (o * channels + c) * 9 + tap;
        Tiles::fit(&geometry).then(|| Self::pack(geometry, |c, o, tap| weight[at(c, o, tap)]))
    }

    /// The convolution that computes the gradient of the input of `geometry`: with the weights rotated by 180 degrees and transposed. `None`
    /// where this algorithm is not used.
    pub(super) fn of_gradient(geometry: Geometry, weight: &[f32]) -> Option<Self> {
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
    pub(super) fn run(&self, x: &[f32], rows: Range<usize>, y: &mut [f32], epilogue: Epilogue<'_>) {
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
    pub(super) fn has_few_tiles(&self, n: usize) -> bool {
        let Geometry { channels, out_channels, .. } = self.tiles.geometry;
        n * self.tiles.size.0 * self.tiles.size.1 * (channels + out_channels)
            < channels * out_channels
    }

    /// Computes `n` images, all tiles at once, on all threads.
    pub(super) fn run_together(&self, x: &[f32], n: usize, y: &mut [f32], epilogue: Epilogue<'_>) {
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

/// The sizes of the sum of weight gradients, in the transformed domain.
#[derive(Debug)]
pub(super) struct WinogradWeights {
    tiles: Tiles,
}

impl WinogradWeights {
    /// `None` where this algorithm is not used.
    pub(super) fn new(geometry: Geometry) -> Option<Self> {
        const SMALLEST: usize = 8_192;
        let whole = |channels: usize| channels == filled(channels);
        let fits = geometry.channels * geometry.out_channels >= SMALLEST
            && whole(geometry.channels)
            && whole(geometry.out_channels)
            && Tiles::fit(&geometry);
        fits.then(|| Self { tiles: Tiles::new(geometry) })
    }

    /// All output channels.
    pub(super) fn all_columns(&self) -> Range<usize> {
        0..self.tiles.geometry.out_channels
    }

    /// The number of values of the sum that [`Self::add`] adds to.
    pub(super) fn sum_len(&self, columns: &Range<usize>) -> usize {
        POSITIONS * self.tiles.geometry.channels * columns.len()
    }

    /// Adds what some images contribute to the sum of some columns, which are complete vectors.
    pub(super) fn add(&self, x: &[f32], dy: &[f32], columns: &Range<usize>, sum: &mut [f32]) {
        let (channels, width) = (self.tiles.geometry.channels, columns.len());
        let images = x.len() / self.tiles.geometry.image();
        let segments = [Segment { offset: 0, len: channels }];
        for tiles in self.tiles.groups(images, 0..self.tiles.geometry.out.0) {
            let count = tiles.len();
            let (x_plane, dy_plane) = (plane_len(count, channels), plane_len(count, width));
            with_scratch(|Scratch { inputs, outputs, .. }| {
                let inputs = inputs.resize(POSITIONS * x_plane);
                let outputs = outputs.resize(POSITIONS * dy_plane);
                // SAFETY: the planes are borrowed by this call alone.
                unsafe { self.tiles.transform_inputs(x, &tiles, Shared::new(inputs), x_plane) }
                self.tiles.transform_gradients(dy, columns, &tiles, outputs, dy_plane);
                let planes = inputs.chunks_exact(x_plane).zip(outputs.chunks_exact(dy_plane));
                for ((x, dy), sum) in planes.zip(sum.chunks_exact_mut(channels * width)) {
                    let job = Outer { grid: line(count), segments: &segments[..], width };
                    job.run((x, strides(channels)), (dy, strides(width)), sum);
                }
            });
        }
    }

    /// The sum in the order of the weights.
    pub(super) fn finish(&self, columns: &Range<usize>, sum: &[f32]) -> Vec<f32> {
        const BLOCK: usize = 16;
        let (channels, out) = (self.tiles.geometry.channels, columns.len());
        let mut weight = vec![0.0; 9 * channels * out];
        weight.par_chunks_mut(BLOCK * channels * 9).enumerate().run(|(block, weight)| {
            let (first, width) = (block * BLOCK, weight.len() / (channels * 9));
            let mut taps = [0.0; 9 * BLOCK];
            for c in 0..channels {
                let taps = &mut taps[..9 * width];
                let at = |position: usize| (position * channels + c) * out + first;
                gather_weights(std::array::from_fn(|p| &sum[at(p)..][..width]), taps);
                for (o, weight) in weight.chunks_exact_mut(channels * 9).enumerate() {
                    (0..9).for_each(|tap| weight[c * 9 + tap] = taps[tap * width + o]);
                }
            }
        });
        weight
    }
}
