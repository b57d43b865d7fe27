//! Convolution of any kind as products of patches with the weights, without unrolling: images get their border of zeros in
//! scratch, the kernels read patches from there.

use std::ops::Range;

use super::geometry::{Band, Geometry, by_channel, by_patch};
use super::outer::Outer;
use super::packed::Packed;
use super::product::{Epilogue, Grid, Product, Segment, Strides};
use crate::ops::Conv2dConfig;
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
            groups.push(Packed::new(geometry.patch_len(), out, |outs, width, to| {
                by_patch(weight, taps, outs, width, to);
            }));
        });
        Self { geometry, segments: geometry.segments(), groups }
    }

    /// The output rows `rows` of each image.
    pub(super) fn run(&self, x: &[f32], rows: Range<usize>, y: &mut [f32], epilogue: Epilogue<'_>) {
        let geometry = &self.geometry;
        let (channels, out) = geometry.group();
        let row = geometry.out_row();
        let to = Strides { image: rows.len() * row, row, column: geometry.pixel };
        with_scratch(|Scratch { padded, .. }| {
            for piece in geometry.pieces(x.len() / geometry.image(), rows.clone()) {
                let (x, from) = patches(geometry, x, &piece, padded);
                let start = piece.images.start * to.image + (piece.rows.start - rows.start) * row;
                let y = &mut y[start..];
                for (group, matrix) in self.groups.iter().enumerate() {
                    let bias = epilogue.bias.map(|bias| &bias[group * out..]);
                    Product {
                        grid: grid(geometry, &piece),
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

fn grid(geometry: &Geometry, piece: &Band) -> Grid {
    Grid { images: piece.images.len(), rows: piece.rows.len(), columns: geometry.out.1 }
}

/// What a piece sees of its images, with their borders.
fn patches<'a>(
    geometry: &Geometry,
    x: &'a [f32],
    piece: &Band,
    scratch: &'a mut Buffer,
) -> (&'a [f32], Strides) {
    let (config, first) = (geometry.config, piece.rows.start);
    let (width, channels) = (geometry.padded_width(), geometry.channels);
    let (row, column) = (config.stride * width * channels, config.stride * channels);
    if !geometry.has_border() {
        let image = geometry.image();
        return (&x[piece.images.start * image + first * row..], Strides { image, row, column });
    }
    let border = Border {
        top: geometry.border.0 as isize - (first * config.stride) as isize,
        left: geometry.border.1 as isize,
        rows: geometry.patch_rows(piece.rows.len()),
        columns: width,
    };
    let image = border.rows * width * channels;
    let to = scratch.resize(piece.images.len() * image);
    let images = x.chunks_exact(geometry.image()).skip(piece.images.start);
    for (to, x) in to.chunks_exact_mut(image).zip(images) {
        border.copy(x, (geometry.height, geometry.width, channels), to);
    }
    (&*scratch, Strides { image, row, column })
}

/// A window of an image that may reach beyond it.
#[derive(Debug)]
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
        to: &mut [f32],
    ) {
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
    border: Border,
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
fn taps_of_phase(
    first: usize,
    (kernel, border): (usize, usize),
    config: Conv2dConfig,
) -> Vec<(usize, isize)> {
    let stride = config.stride as isize;
    let offset = |tap: usize| (first + border) as isize - (tap * config.dilation) as isize;
    let taps = (0..kernel).filter(|tap| offset(*tap).rem_euclid(stride) == 0);
    taps.map(|tap| (tap, offset(tap).div_euclid(stride))).collect()
}

impl Phases {
    /// `weight`: `[out, in / groups, kh, kw]`.
    pub(super) fn new(geometry: Geometry, weight: &[f32]) -> Self {
        let stride = geometry.config.stride;
        let ((kh, kw), border) = (geometry.kernel, geometry.border);
        let along = |size: usize, kernel_and_border| {
            let firsts = 0..stride.min(size);
            let taps = |first| (first, taps_of_phase(first, kernel_and_border, geometry.config));
            firsts.map(taps).collect::<Vec<_>>()
        };
        let vertical = along(geometry.height, (kh, border.0));
        let horizontal = along(geometry.width, (kw, border.1));
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
        Self { geometry, border: Border { top, left, rows, columns }, phases }
    }

    /// Writes the gradients of some images.
    pub(super) fn run(&self, dy: &[f32], dx: &mut [f32]) {
        const VALUES: usize = 64 * 1024;
        let geometry = &self.geometry;
        let border = &self.border;
        let image = border.rows * border.columns * geometry.out_channels;
        let together = (VALUES / (image + geometry.image())).max(1);
        let images = dx.chunks_mut(together * geometry.image());
        with_scratch(|Scratch { padded, .. }| {
            for (dx, dy) in images.zip(dy.chunks(together * geometry.output())) {
                let to = padded.resize(dx.len() / geometry.image() * image);
                let shape = (geometry.out.0, geometry.out.1, geometry.out_channels);
                let images = to.chunks_exact_mut(image).zip(dy.chunks_exact(geometry.output()));
                images.for_each(|(to, dy)| border.copy(dy, shape, to));
                self.phases.iter().for_each(|phase| self.one_phase(phase, padded, dx));
            }
        });
    }

    fn one_phase(&self, phase: &Phase, dy: &[f32], dx: &mut [f32]) {
        let Geometry { height, width, channels, out_channels, config, .. } = self.geometry;
        let (stride, images) = (config.stride, dx.len() / self.geometry.image());
        let (group_channels, group_out) = self.geometry.group();
        let row = self.border.columns * out_channels;
        let from = Strides { image: self.border.rows * row, row, column: out_channels };
        let row = stride * width * channels;
        let to = Strides { image: self.geometry.image(), row, column: stride * channels };
        let rows = (height - phase.first.0).div_ceil(stride);
        let columns = (width - phase.first.1).div_ceil(stride);
        let start = (phase.first.0 * width + phase.first.1) * channels;
        for (group, matrix) in phase.groups.iter().enumerate() {
            let grid = Grid { images, rows, columns };
            let (segments, epilogue) = (&phase.segments[..], Epilogue::NONE);
            let dx = &mut dx[start + group * group_channels..];
            Product { grid, segments, matrix, epilogue }
                .run((&dy[group * group_out..], from), (dx, to));
        }
    }
}

/// For each group the chosen taps' weights as `[taps * out, in]`.
fn pack_transposed(geometry: &Geometry, weight: &[f32], taps: &[usize]) -> Vec<Packed> {
    let all = geometry.kernel.0 * geometry.kernel.1;
    let (channels, out) = geometry.group();
    let mut groups = Vec::new();
    for_each_group(geometry, weight, |_, weight| {
        groups.push(Packed::new(taps.len() * out, channels, |columns, width, to| {
            for (row, to) in to.chunks_exact_mut(width).enumerate() {
                let weight = &weight[row % out * channels * all + taps[row / out]..];
                for (to, c) in to.iter_mut().zip(columns.clone()) {
                    *to = weight[c * all];
                }
            }
        }));
    });
    groups
}

/// The gradient of the weights.
#[derive(Debug)]
pub(super) struct DirectWeights {
    geometry: Geometry,
    segments: Vec<Segment>,
}

impl DirectWeights {
    pub(super) fn new(geometry: Geometry) -> Self {
        Self { geometry, segments: geometry.segments() }
    }

    /// Output channels of a group.
    pub(super) fn all_columns(&self) -> Range<usize> {
        0..self.geometry.group().1
    }

    /// Columns, filled up to whole vectors.
    fn width(columns: &Range<usize>) -> usize {
        columns.len().next_multiple_of(isa().lanes())
    }

    /// Values of the sum that [`Self::add`] adds to.
    pub(super) fn sum_len(&self, columns: &Range<usize>) -> usize {
        self.geometry.config.groups * self.geometry.patch_len() * Self::width(columns)
    }

    /// Adds the part of some images to the sum of some columns of each group.
    pub(super) fn add(&self, x: &[f32], dy: &[f32], columns: &Range<usize>, sum: &mut [f32]) {
        let geometry = &self.geometry;
        let (channels, out) = geometry.group();
        let (count, width) = (columns.len(), Self::width(columns));
        let part = geometry.patch_len() * width;
        with_scratch(|Scratch { padded, widened, .. }| {
            for piece in geometry.pieces(x.len() / geometry.image(), 0..geometry.out.0) {
                let (x, xs) = patches(geometry, x, &piece, padded);
                let first =
                    piece.images.start * geometry.output() + piece.rows.start * geometry.out_row();
                let end = (piece.images.end - 1) * geometry.output()
                    + piece.rows.end * geometry.out_row();
                let (dy, grid) = (&dy[first..end], grid(geometry, &piece));
                for (group, sum) in sum.chunks_exact_mut(part).enumerate() {
                    let first = group * out + columns.start;
                    let (dy, column) = match width == count {
                        true => (&dy[first..], geometry.out_channels),
                        false => {
                            let channels = geometry.out_channels;
                            (widen(dy, (first, count), channels, width, widened), width)
                        }
                    };
                    let (image, row) =
                        (geometry.out.0 * geometry.out.1 * column, geometry.out.1 * column);
                    let strides = Strides { image, row, column };
                    let job = Outer { grid, segments: &self.segments, width };
                    job.run((&x[group * channels..], xs), (dy, strides), sum);
                }
            }
        });
    }

    /// The sum in the order of the weights.
    pub(super) fn finish(&self, columns: &Range<usize>, sum: &[f32]) -> Vec<f32> {
        let taps = self.geometry.kernel.0 * self.geometry.kernel.1;
        let width = Self::width(columns);
        let groups = sum.chunks_exact(self.geometry.patch_len() * width);
        groups.flat_map(|sum| by_channel(sum, taps, columns.len(), width)).collect()
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
