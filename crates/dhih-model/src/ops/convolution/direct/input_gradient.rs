//! The gradient of the input. With a stride of s, the pixels of one phase (those whose row, and whose column, leave the same remainder when
//! divided by s) see the same taps of the kernel. Each phase is a convolution of the output's gradient with these taps, transposed.

use super::border::Border;
use super::by_group;
use crate::ops::Conv2dConfig;
use crate::ops::convolution::geometry::Geometry;
use crate::ops::convolution::packed::Packed;
use crate::ops::convolution::product::{Epilogue, Grid, Product, Segment, Strides};
use crate::ops::scratch::{Scratch, with_scratch};

/// All phases of a convolution.
#[derive(Debug)]
pub(in crate::ops::convolution) struct Phases {
    geometry: Geometry,
    /// The window on the output's gradient that the patches of all phases see.
    border: Border,
    phases: Vec<Phase>,
}

#[derive(Debug)]
struct Phase {
    /// Row and column of its first pixel.
    first: (usize, usize),
    /// Which values of the output's gradient a pixel sees: one run for each tap.
    segments: Vec<Segment>,
    /// One matrix `[taps * out / groups, in / groups]` for each group.
    groups: Vec<Packed>,
}

/// The taps that the pixels `first`, `first + stride` and so on see along one side. Pixel number i of the phase sees a tap at the output
/// position i plus the offset that comes with the tap.
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
    pub(in crate::ops::convolution) fn new(geometry: Geometry, weight: &[f32]) -> Self {
        let stride = geometry.config.stride;
        let ((kh, kw), border) = (geometry.kernel, geometry.border);
        let along = |size: usize, kernel_and_border| {
            let firsts = 0..stride.min(size);
            let taps = |first| (first, taps_of_phase(first, kernel_and_border, geometry.config));
            firsts.map(taps).collect::<Vec<_>>()
        };
        let vertical = along(geometry.height, (kh, border.0));
        let horizontal = along(geometry.width, (kw, border.1));
        // How many rows of zeros the phases see before the output, and how many rows they see in all.
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

    /// Writes the gradients of some images, a few at a time, so that the copies with their borders stay in cache.
    ///
    /// # Shapes
    /// `dy`: `[n, out rows, out columns, out]`; `dx`: `[n, height, width, channels]`.
    pub(in crate::ops::convolution) fn run(&self, dy: &[f32], dx: &mut [f32]) {
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

/// For each group, the weights of the chosen taps as a matrix `[taps * out / groups, in / groups]`.
fn pack_transposed(geometry: &Geometry, weight: &[f32], taps: &[usize]) -> Vec<Packed> {
    let all = geometry.kernel.0 * geometry.kernel.1;
    let (channels, out) = geometry.group();
    let pack = |weight: &[f32]| {
        Packed::new(taps.len() * out, channels, |columns, width, to| {
            for (row, to) in to.chunks_exact_mut(width).enumerate() {
                let weight = &weight[row % out * channels * all + taps[row / out]..];
                for (to, c) in to.iter_mut().zip(columns.clone()) {
                    *to = weight[c * all];
                }
            }
        })
    };
    by_group(geometry, weight).map(pack).collect()
}
