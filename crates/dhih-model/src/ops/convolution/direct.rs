//! Convolution of any kind as products of patches with the weights, without unrolling: images get their border of zeros in
//! scratch, the kernels read patches from there.

use std::ops::Range;

use super::geometry::{Geometry, by_channel, by_patch};
use super::outer::Outer;
use super::packed::Packed;
use super::product::{Epilogue, Product, Segment, Strides};
use crate::ops::scratch::{Buffer, Scratch, with_scratch};
use crate::ops::simd::isa;

/// A convolution with packed weights.
#[derive(Debug)]
pub(super) struct Direct {
    geometry: Geometry,
    segments: Vec<Segment>,
    /// One matrix a group.
    groups: Vec<Packed>,
}

/// Calls `f(group's number, group's weights)`.
fn for_each_group(geometry: &Geometry, weight: &[f32], mut f: impl FnMut(usize, &[f32])) {
    let len = weight.len() / geometry.config.groups;
    weight.chunks_exact(len).enumerate().for_each(|(group, weight)| f(group, weight));
}

impl Direct {
    /// `weight`: `[out, in / groups, kh, kw]`.
    pub(super) fn new(geometry: Geometry, weight: &[f32]) -> Self {
        let taps = geometry.kernel.0 * geometry.kernel.1;
        let (_, out) = geometry.group();
        let mut groups = Vec::with_capacity(geometry.config.groups);
        for_each_group(&geometry, weight, |_, weight| {
            groups.push(Packed::new(&by_patch(weight, taps, out), geometry.patch_len(), out));
        });
        Self { geometry, segments: geometry.segments(), groups }
    }

    /// The output rows `rows` of one image.
    pub(super) fn run(&self, x: &[f32], rows: Range<usize>, y: &mut [f32], epilogue: Epilogue<'_>) {
        let geometry = &self.geometry;
        let (channels, out) = geometry.group();
        let to = Strides { row: geometry.out_row(), column: geometry.out_channels };
        with_scratch(|Scratch { padded, .. }| {
            let step = geometry.rows_in_cache();
            for start in rows.clone().step_by(step) {
                let band = start..rows.end.min(start + step);
                let (x, from) = patches(geometry, x, band.clone(), padded);
                let y = &mut y[(start - rows.start) * to.row..];
                for (group, matrix) in self.groups.iter().enumerate() {
                    let bias = epilogue.bias.map(|bias| &bias[group * out..]);
                    Product {
                        rows: band.len(),
                        columns: geometry.out.1,
                        segments: &self.segments,
                        matrix,
                        epilogue: Epilogue { bias, ..epilogue },
                    }
                    .run((&x[group * channels..], from), (&mut y[group * out..], to));
                }
            }
        });
    }
}

/// The part of an image that the output rows `rows` see, with its border.
fn patches<'a>(
    geometry: &Geometry,
    image: &'a [f32],
    rows: Range<usize>,
    scratch: &'a mut Buffer,
) -> (&'a [f32], Strides) {
    let config = geometry.config;
    let (width, channels) = (geometry.padded_width(), geometry.channels);
    let strides =
        Strides { row: config.stride * width * channels, column: config.stride * channels };
    if config.padding == 0 {
        return (&image[rows.start * strides.row..], strides);
    }
    let seen = (rows.len() - 1) * config.stride + (geometry.kernel.0 - 1) * config.dilation + 1;
    let border = Border {
        top: config.padding as isize - (rows.start * config.stride) as isize,
        left: config.padding as isize,
        rows: seen,
        columns: width,
    };
    border.copy(image, (geometry.height, geometry.width, channels), scratch);
    (&*scratch, strides)
}

/// A window of an image that may reach beyond it.
struct Border {
    /// Rows above the image, negative where the window begins inside.
    top: isize,
    left: isize,
    rows: usize,
    columns: usize,
}

impl Border {
    /// Copies what the window shows, zeros outside.
    fn copy(
        &self,
        image: &[f32],
        (height, width, channels): (usize, usize, usize),
        to: &mut Buffer,
    ) {
        let to = to.resize(self.rows * self.columns * channels);
        let first = self.left.max(0) as usize;
        let skipped = (-self.left).max(0) as usize;
        let inside = width.saturating_sub(skipped).min(self.columns.saturating_sub(first));
        for (row, to) in to.chunks_exact_mut(self.columns * channels).enumerate() {
            match usize::try_from(row as isize - self.top) {
                Ok(y) if y < height && inside > 0 => {
                    let start = (y * width + skipped) * channels;
                    to[..first * channels].fill(0.0);
                    to[first * channels..][..inside * channels]
                        .copy_from_slice(&image[start..][..inside * channels]);
                    to[(first + inside) * channels..].fill(0.0);
                }
                _ => to.fill(0.0),
            }
        }
    }
}

/// The gradient of the input. The pixels of one phase of the stride see the same taps of the kernel: each phase is a
/// convolution of the output's gradient.
#[derive(Debug)]
pub(super) struct Phases {
    geometry: Geometry,
    border: (isize, isize, usize, usize),
    phases: Vec<Phase>,
}

#[derive(Debug)]
struct Phase {
    /// The first pixel, row and column.
    first: (usize, usize),
    segments: Vec<Segment>,
    groups: Vec<Packed>,
}

/// The taps that pixels `first, first + stride, ..` see, each with the position of its output relative to the pixel's
/// number in the phase.
fn taps_of_phase(first: usize, kernel: usize, geometry: &Geometry) -> Vec<(usize, isize)> {
    let config = geometry.config;
    let (stride, padding) = (config.stride as isize, config.padding as isize);
    let offset = |tap: usize| first as isize + padding - (tap * config.dilation) as isize;
    let taps = (0..kernel).filter(|tap| offset(*tap).rem_euclid(stride) == 0);
    taps.map(|tap| (tap, offset(tap).div_euclid(stride))).collect()
}

impl Phases {
    /// `weight`: `[out, in / groups, kh, kw]`.
    pub(super) fn new(geometry: Geometry, weight: &[f32]) -> Self {
        let stride = geometry.config.stride;
        let (kh, kw) = geometry.kernel;
        let along = |size: usize, kernel: usize| {
            let firsts = 0..stride.min(size);
            firsts.map(|f| (f, taps_of_phase(f, kernel, &geometry))).collect::<Vec<_>>()
        };
        let (vertical, horizontal) = (along(geometry.height, kh), along(geometry.width, kw));
        // How far the phases reach over the output's border.
        let reach = |phases: &[(usize, Vec<(usize, isize)>)], size: usize| {
            let offsets = phases.iter().flat_map(|(_, taps)| taps.iter().map(|tap| tap.1));
            let least = offsets.clone().min().unwrap_or(0).min(0);
            let most = offsets.max().unwrap_or(0).max(0);
            (-least, size.div_ceil(stride) + most as usize + (-least) as usize)
        };
        let (top, rows) = reach(&vertical, geometry.height);
        let (left, columns) = reach(&horizontal, geometry.width);
        let mut phases = Vec::new();
        for (first_row, rows) in &vertical {
            for (first_column, taps) in &horizontal {
                let taps: Vec<_> =
                    rows.iter().flat_map(|r| taps.iter().map(move |c| (*r, *c))).collect();
                let at = |offset: (isize, isize)| {
                    let pixel = (offset.0 + top) as usize * columns + (offset.1 + left) as usize;
                    pixel * geometry.out_channels
                };
                let len = geometry.group().1;
                let segment = |&((_, r), (_, c)): &((usize, isize), (usize, isize))| Segment {
                    offset: at((r, c)),
                    len,
                };
                let segments = taps.iter().map(segment).collect();
                let taps: Vec<usize> = taps.iter().map(|((r, _), (c, _))| r * kw + c).collect();
                let groups = pack_transposed(&geometry, weight, &taps);
                phases.push(Phase { first: (*first_row, *first_column), segments, groups });
            }
        }
        Self { geometry, border: (top, left, rows, columns), phases }
    }

    /// Writes the gradient of one image.
    pub(super) fn run(&self, dy: &[f32], dx: &mut [f32]) {
        let geometry = &self.geometry;
        let (stride, channels) = (geometry.config.stride, geometry.channels);
        let (group_channels, group_out) = geometry.group();
        let (top, left, rows, columns) = self.border;
        with_scratch(|Scratch { padded, .. }| {
            let shape = (geometry.out.0, geometry.out.1, geometry.out_channels);
            Border { top, left, rows, columns }.copy(dy, shape, padded);
            let column = geometry.out_channels;
            let from = Strides { row: columns * column, column };
            let to = Strides { row: stride * geometry.width * channels, column: stride * channels };
            for Phase { first, segments, groups } in &self.phases {
                let start = (first.0 * geometry.width + first.1) * channels;
                for (group, matrix) in groups.iter().enumerate() {
                    let product = Product {
                        rows: (geometry.height - first.0).div_ceil(stride),
                        columns: (geometry.width - first.1).div_ceil(stride),
                        segments,
                        matrix,
                        epilogue: Epilogue::NONE,
                    };
                    let dx = &mut dx[start + group * group_channels..];
                    product.run((&padded[group * group_out..], from), (dx, to));
                }
            }
        });
    }
}

/// For each group the chosen taps' weights as `[taps * out, in]`.
fn pack_transposed(geometry: &Geometry, weight: &[f32], taps: &[usize]) -> Vec<Packed> {
    let all = geometry.kernel.0 * geometry.kernel.1;
    let (channels, out) = geometry.group();
    let mut groups = Vec::new();
    let mut row = vec![0.0; channels];
    for_each_group(geometry, weight, |_, weight| {
        let mut packed = Packed::zeros(taps.len() * out, channels);
        for (i, tap) in taps.iter().enumerate() {
            for o in 0..out {
                let from = weight[o * channels * all..].iter().skip(*tap).step_by(all);
                row.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                packed.set_row(i * out + o, &row);
            }
        }
        groups.push(packed);
    });
    groups
}

/// The gradient of the weights.
#[derive(Debug)]
pub(super) struct DirectWeights {
    geometry: Geometry,
    segments: Vec<Segment>,
    /// Output channels of a group, filled up to whole vectors.
    width: usize,
}

impl DirectWeights {
    pub(super) fn new(geometry: Geometry) -> Self {
        let width = geometry.group().1.next_multiple_of(isa().lanes());
        Self { geometry, segments: geometry.segments(), width }
    }

    /// Values of the sum that [`Self::add`] adds to.
    pub(super) fn sum_len(&self) -> usize {
        self.geometry.config.groups * self.geometry.patch_len() * self.width
    }

    /// Adds one image's part.
    pub(super) fn add(&self, x: &[f32], dy: &[f32], sum: &mut [f32]) {
        let geometry = &self.geometry;
        let (channels, out) = geometry.group();
        let (columns, out_channels) = (geometry.out.1, geometry.out_channels);
        let part = geometry.patch_len() * self.width;
        with_scratch(|Scratch { padded, widened, .. }| {
            let step = geometry.rows_in_cache();
            for start in (0..geometry.out.0).step_by(step) {
                let rows = start..geometry.out.0.min(start + step);
                let (x, xs) = patches(geometry, x, rows.clone(), padded);
                let dy = &dy[start * geometry.out_row()..rows.end * geometry.out_row()];
                for (group, sum) in sum.chunks_exact_mut(part).enumerate() {
                    let segments = &self.segments[..];
                    let job =
                        Outer { rows: rows.len(), columns, segments, width: self.width };
                    let x = &x[group * channels..];
                    let (dy, channels) = match self.width == out {
                        true => (&dy[group * out..], out_channels),
                        false => (widen(dy, (group * out, out), out_channels, self.width, widened), self.width),
                    };
                    let strides = Strides { row: columns * channels, column: channels };
                    job.run((x, xs), (dy, strides), sum);
                }
            }
        });
    }

    /// The sum in the order of the weights.
    pub(super) fn finish(&self, sum: &[f32]) -> Vec<f32> {
        let taps = self.geometry.kernel.0 * self.geometry.kernel.1;
        let out = self.geometry.group().1;
        let groups = sum.chunks_exact(self.geometry.patch_len() * self.width);
        groups.flat_map(|sum| by_channel(sum, taps, out, self.width)).collect()
    }
}

/// The `count` channels from `first` on of every pixel, filled up with zeros to `width`.
fn widen<'a>(
    dy: &[f32],
    (first, count): (usize, usize),
    channels: usize,
    width: usize,
    to: &'a mut Buffer,
) -> &'a [f32] {
    let to = to.resize(dy.len() / channels * width);
    for (to, from) in to.chunks_exact_mut(width).zip(dy.chunks_exact(channels)) {
        to[..count].copy_from_slice(&from[first..first + count]);
        to[count..].fill(0.0);
    }
    to
}
