//! Convolutions in integers: inputs as u8, weights as i8 with a scale for each output channel, sums in i32, results in f32. f32
//! values come in and go out; how they become bytes is in [`bytes`], the arithmetic in [`product`].
//!
//! A convolution of single pixels, which the linear layers of a transformer are, takes a scale for each pixel from the pixel's own
//! values: a few tokens have values far beyond those of the others, and one scale for all would leave the others a few bits. Larger
//! kernels see several pixels, and have one scale for all images, which was measured on some. Neither depends on the batch.

mod bytes;
mod dot;
mod kernel;
mod matrix;
mod product;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::ops::Range;

use rayon::prelude::*;

pub(crate) use self::bytes::Scale;
use self::bytes::{pixels_to_bytes, pixels_to_own_bytes};
use self::kernel::Kernel;
use self::matrix::{GROUP, Matrix};
use self::product::{Product, Scales, TILE};
use super::geometry::{Band, Geometry};
use super::product::{Epilogue, Grid, Segment, Strides};
use crate::ops::Activation;
use crate::ops::scratch::{Buffer, Scratch, with_scratch};
use crate::ops::tasks::Tasks;

/// Pixels whose bytes and results lie in cache together.
const PIXELS: usize = 8 * TILE;

/// What is known of a convolution's inputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InputScale<'a> {
    /// A factor for each channel, by which inputs are multiplied and weights divided: it brings the channels to a like size.
    pub(crate) factors: &'a [f32],
    /// The scale of the inputs of all images after the multiplication by the factors. It has no effect where each pixel has its own scale.
    pub(crate) scale: Scale,
}

/// Weights, bias and what follows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filters<'a> {
    /// `[out, in, kh, kw]`.
    pub(crate) weight: &'a [f32],
    /// `[out]`.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Activation,
}

/// A convolution with quantised weights, bias and activation.
#[derive(Debug)]
pub(crate) struct QuantizedConvolution {
    geometry: Geometry,
    segments: Vec<Segment>,
    matrix: Matrix,
    /// Filled up beyond the last channel.
    bias: Option<Vec<f32>>,
    activation: Activation,
    /// The factor that each input channel is multiplied by. Where all images have one scale, it is part of the factors.
    factors: Vec<f32>,
    /// The scale of the inputs of all images; `None` where each pixel has its own scale.
    scale: Option<Scale>,
}

impl QuantizedConvolution {
    /// Whether there is a form in integers.
    pub(crate) fn is_for(geometry: &Geometry) -> bool {
        // The largest sum of as many products is below 2^31.
        const MOST_PRODUCTS: usize = 1 << 16;
        geometry.config.groups == 1 && geometry.patch_len() < MOST_PRODUCTS
    }

    /// Whether each pixel is convolved by itself, and has a scale of its own.
    pub(crate) fn has_own_scales(geometry: &Geometry) -> bool {
        geometry.is_pointwise()
    }

    /// For a geometry that it [`Self::is_for`].
    pub(crate) fn new(geometry: Geometry, filters: Filters<'_>, input: InputScale<'_>) -> Self {
        Self::for_kernel(Kernel::best(), geometry, filters, input)
    }

    fn for_kernel(
        kernel: Kernel,
        geometry: Geometry,
        filters: Filters<'_>,
        input: InputScale<'_>,
    ) -> Self {
        let Filters { weight, bias, activation } = filters;
        let has_own_scales = Self::has_own_scales(&geometry);
        let channels = geometry.channels;
        let segments = match has_own_scales {
            true => vec![Segment { offset: 0, len: channels }],
            false => geometry.segments(),
        };
        let taps = geometry.kernel.0 * geometry.kernel.1;
        let columns: Vec<Vec<f32>> = weight
            .chunks_exact(channels * taps)
            .map(|weight| {
                let values = (0..taps).flat_map(|tap| {
                    (0..channels).map(move |c| weight[c * taps + tap] / input.factors[c])
                });
                values.collect()
            })
            .collect();
        let matrix = Matrix::new(kernel, &segments, &columns);
        let scale = (!has_own_scales).then_some(input.scale);
        let per_step = scale.map_or(1.0, |scale| 1.0 / scale.step);
        let factors = input.factors.iter().map(|factor| factor * per_step).collect();
        let bias = bias.map(|bias| [bias, &[0.0; 64]].concat());
        Self { geometry, segments, matrix, bias, activation, factors, scale }
    }

    /// The sizes.
    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// All of `n` images, in parallel. `y` may end with the last value that is written.
    pub(crate) fn run_batch(&self, x: &[f32], n: usize, y: &mut [f32]) {
        if self.scale.is_none() {
            let (from, to) = (self.geometry.channels, self.geometry.pixel);
            let parts = y.par_chunks_mut(PIXELS * to).zip(x.par_chunks(PIXELS * from));
            return parts.run(|(y, x)| self.pixels(x, y));
        }
        self.geometry.run_in_bands((x, n), 1, y, |x, rows, y| self.run(x, rows, y));
    }

    /// The output rows `rows` of each image in `x`: all of them where there are several images.
    pub(crate) fn run(&self, x: &[f32], rows: Range<usize>, y: &mut [f32]) {
        match self.scale {
            Some(scale) => self.patches(x, scale, rows, y),
            None => {
                let row = self.geometry.width * self.geometry.channels;
                let x = match rows.len() == self.geometry.height {
                    true => x,
                    false => &x[rows.start * row..rows.end * row],
                };
                let parts = y.chunks_mut(PIXELS * self.geometry.pixel);
                let parts = parts.zip(x.chunks(PIXELS * self.geometry.channels));
                parts.for_each(|(y, x)| self.pixels(x, y));
            }
        }
    }

    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue { bias: self.bias.as_deref(), activation: self.activation }
    }

    /// Up to [`PIXELS`] pixels, each with its own scale.
    fn pixels(&self, x: &[f32], y: &mut [f32]) {
        let (channels, pixel) = (self.geometry.channels, self.geometry.pixel);
        let count = x.len() / channels;
        let stride = channels.next_multiple_of(GROUP);
        let mut scales = [Scale::of_range(0.0, 0.0); PIXELS];
        with_scratch(|Scratch { quantized, .. }| {
            let bytes = as_bytes(quantized, count * stride);
            pixels_to_own_bytes(x, &self.factors, stride, bytes, &mut scales[..count]);
            let product = Product {
                grid: Grid { images: 1, rows: 1, columns: count },
                segments: &self.segments,
                matrix: &self.matrix,
                scales: Scales::Each(&scales),
                epilogue: self.epilogue(),
            };
            let from = Strides { image: 0, row: 0, column: stride };
            let to = Strides { image: 0, row: 0, column: pixel };
            product.run((bytes, from), (y, to));
        });
        self.activate(y);
    }

    /// Patches of images with the scale of all.
    fn patches(&self, x: &[f32], scale: Scale, rows: Range<usize>, y: &mut [f32]) {
        let geometry = &self.geometry;
        let row = geometry.out_row();
        let to = Strides { image: rows.len() * row, row, column: geometry.pixel };
        with_scratch(|Scratch { quantized, .. }| {
            let band = Band { images: 0..x.len() / geometry.image(), rows: rows.clone() };
            for piece in geometry.pieces(&band) {
                let (bytes, from) = self.bytes_of(x, scale, &piece, quantized);
                let start = piece.images.start * to.image + (piece.rows.start - rows.start) * row;
                let Band { images, rows } = piece;
                let grid = Grid { images: images.len(), rows: rows.len(), columns: geometry.out.1 };
                let product = Product {
                    grid,
                    segments: &self.segments,
                    matrix: &self.matrix,
                    scales: Scales::One(scale),
                    epilogue: self.epilogue(),
                };
                product.run((bytes, from), (&mut y[start..], to));
            }
        });
        self.activate(y);
    }

    /// The bytes that the patches of a piece see, with the border.
    fn bytes_of<'a>(
        &self,
        x: &[f32],
        scale: Scale,
        piece: &Band,
        to: &'a mut Buffer,
    ) -> (&'a [u8], Strides) {
        let Geometry { height, width, channels, border, config, .. } = self.geometry;
        let columns = self.geometry.padded_width();
        let rows = self.geometry.patch_rows(piece.rows.len());
        let (line, image) = (columns * channels, rows * columns * channels);
        let bytes = as_bytes(to, piece.images.len() * image + GROUP);
        let first = border.1.min(columns);
        let inside = width.min(columns - first);
        let images = x.chunks_exact(self.geometry.image()).skip(piece.images.start);
        for (to, x) in bytes.chunks_exact_mut(image).zip(images) {
            for (row, to) in to.chunks_exact_mut(line).enumerate() {
                let row = (piece.rows.start * config.stride + row).checked_sub(border.0);
                let Some(row) = row.filter(|row| *row < height) else {
                    to.fill(scale.zero_byte());
                    continue;
                };
                let (before, to) = to.split_at_mut(first * channels);
                let (to, behind) = to.split_at_mut(inside * channels);
                before.fill(scale.zero_byte());
                behind.fill(scale.zero_byte());
                let x = &x[row * width * channels..][..inside * channels];
                pixels_to_bytes(x, &self.factors, scale.zero, to);
            }
        }
        let (row, column) = (config.stride * line, config.stride * channels);
        (bytes, Strides { image, row, column })
    }

    fn activate(&self, y: &mut [f32]) {
        if self.activation.needs_input() {
            self.activation.apply_in_place(y);
        }
    }
}

/// `len` bytes of a buffer, whatever they are.
fn as_bytes(buffer: &mut Buffer, len: usize) -> &mut [u8] {
    &mut bytemuck::cast_slice_mut(buffer.resize(len.div_ceil(size_of::<f32>())))[..len]
}

#[cfg(test)]
mod tests;
