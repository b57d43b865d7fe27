//! The gradient of the weights: the sum over all pixels of the outer product of a patch with the gradient of its output.

use std::ops::Range;

use super::border::patches;
use super::grid;
use crate::ops::convolution::geometry::{Band, Geometry, by_channel};
use crate::ops::convolution::outer::Outer;
use crate::ops::convolution::product::{Segment, Strides};
use crate::ops::scratch::{Buffer, Scratch, with_scratch};
use crate::ops::simd::isa;

/// The sizes of the sum.
#[derive(Debug)]
pub(in crate::ops::convolution) struct DirectWeights {
    geometry: Geometry,
    segments: Vec<Segment>,
}

impl DirectWeights {
    pub(in crate::ops::convolution) fn new(geometry: Geometry) -> Self {
        Self { geometry, segments: geometry.segments() }
    }

    /// Output channels of a group.
    pub(in crate::ops::convolution) fn all_columns(&self) -> Range<usize> {
        0..self.geometry.group().1
    }

    /// The number of columns, filled up to whole vectors.
    fn width(columns: &Range<usize>) -> usize {
        columns.len().next_multiple_of(isa().lanes())
    }

    /// How many values the sum has that [`Self::add`] adds to.
    pub(in crate::ops::convolution) fn sum_len(&self, columns: &Range<usize>) -> usize {
        self.geometry.config.groups * self.geometry.patch_len() * Self::width(columns)
    }

    /// Adds what some images contribute to some columns of each group.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`; `dy`: `[n, out rows, out columns, out]`; `sum`: `[groups, patch length, columns]`, the columns
    /// filled up to whole vectors.
    pub(in crate::ops::convolution) fn add(
        &self,
        x: &[f32],
        dy: &[f32],
        columns: &Range<usize>,
        sum: &mut [f32],
    ) {
        let geometry = &self.geometry;
        let (channels, out) = geometry.group();
        let (count, width) = (columns.len(), Self::width(columns));
        let part = geometry.patch_len() * width;
        with_scratch(|Scratch { padded, widened, .. }| {
            let band = Band { images: 0..x.len() / geometry.image(), rows: 0..geometry.out.0 };
            for piece in geometry.pieces(&band) {
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

    /// The sum in the order of the weights, `[columns, in / groups, kh, kw]`, group by group.
    pub(in crate::ops::convolution) fn finish(
        &self,
        columns: &Range<usize>,
        sum: &[f32],
    ) -> Vec<f32> {
        let taps = self.geometry.kernel.0 * self.geometry.kernel.1;
        let width = Self::width(columns);
        let groups = sum.chunks_exact(self.geometry.patch_len() * width);
        groups.flat_map(|sum| by_channel(sum, taps, columns.len(), width)).collect()
    }
}

/// The `count` channels of each pixel from channel `first` on, filled up with zeros to `width`: the kernel reads whole vectors, and beyond the
/// last pixel there may be nothing to read.
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
