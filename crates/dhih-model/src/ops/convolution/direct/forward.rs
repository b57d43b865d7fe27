//! The forward pass: each output pixel is the product of its patch with the weights.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use super::border::patches;
use super::{by_group, grid};
use crate::ops::Tasks;
use crate::ops::convolution::geometry::{Band, Geometry, by_patch, evenly};
use crate::ops::convolution::packed::Packed;
use crate::ops::convolution::product::{Epilogue, Product, Segment, Strides};
use crate::ops::scratch::{Scratch, with_scratch};
use crate::ops::shared::Shared;
use crate::ops::tasks::threads;

/// A convolution with packed weights.
#[derive(Debug)]
pub(in crate::ops::convolution) struct Direct {
    /// Where each pixel is convolved by itself, pixels are rows of one column, so that they can be divided anywhere.
    geometry: Geometry,
    /// Rows of [`Self::geometry`] for a row of the output.
    rows: usize,
    segments: Vec<Segment>,
    /// One matrix `[patch length, out / groups]` for each group.
    groups: Vec<Packed>,
}

/// The work of one task.
#[derive(Debug, Clone)]
struct Part {
    band: Band,
    /// Blocks of each group's matrix.
    blocks: Range<usize>,
}

impl Direct {
    /// `weight`: `[out, in / groups, kh, kw]`.
    pub(in crate::ops::convolution) fn new(geometry: Geometry, weight: &[f32]) -> Self {
        let taps = geometry.kernel.0 * geometry.kernel.1;
        let (_, out) = geometry.group();
        let pack = |weight: &[f32]| {
            Packed::new(geometry.patch_len(), out, |outs, width, to| {
                by_patch(weight, taps, outs, width, to);
            })
        };
        let groups = by_group(&geometry, weight).map(pack).collect();
        let rows = if geometry.is_pointwise() { geometry.width } else { 1 };
        let geometry = geometry.with_rows_cut(rows);
        Self { geometry, rows, segments: geometry.segments(), groups }
    }

    /// Computes the output rows `rows` of each image.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`; `y`: `[n, rows, out columns, pixel]`, of which only the channels of this convolution are written.
    pub(in crate::ops::convolution) fn run(
        &self,
        x: &[f32],
        rows: Range<usize>,
        y: &mut [f32],
        epilogue: Epilogue<'_>,
    ) {
        let rows = rows.start * self.rows..rows.end * self.rows;
        let images = 0..x.len() / self.geometry.image();
        let part = Part { band: Band { images, rows: rows.clone() }, blocks: self.all_blocks() };
        // SAFETY: `y` is borrowed by this call alone.
        unsafe { self.part(x, &part, (Shared::new(y), rows), epilogue) }
    }

    /// Computes all of `n` images, on all threads.
    pub(in crate::ops::convolution) fn run_batch(
        &self,
        x: &[f32],
        n: usize,
        y: &mut [f32],
        epilogue: Epilogue<'_>,
    ) {
        let (rows, y) = (0..self.geometry.out.0, Shared::new(y));
        self.parts(n, threads()).into_par_iter().run(|part| {
            // SAFETY: parts have no result in common.
            unsafe { self.part(x, &part, (y, rows.clone()), epilogue) }
        });
    }

    fn all_blocks(&self) -> Range<usize> {
        0..self.groups.first().map_or(0, |matrix| matrix.blocks().len())
    }

    /// Divides `n` images for `threads` threads: along the blocks of weights where these are more than the images' values, so that each weight
    /// is read once, and along the rows. Results do not depend on the division.
    fn parts(&self, n: usize, threads: usize) -> Vec<Part> {
        /// Multiply-adds that are worth a task.
        const COST: usize = 1 << 18;
        let geometry = &self.geometry;
        // Each task copies the border.
        let most = if geometry.has_border() { 2 * threads } else { 4 * threads };
        let wanted = if threads == 1 { 1 } else { most.min(n * geometry.cost() / COST).max(1) };
        let weights = geometry.out_channels * geometry.patch_len();
        let along_blocks = wanted > 1 && weights > n * geometry.image();
        let blocks = self.all_blocks().len();
        let columns: Vec<_> = evenly(blocks, if along_blocks { wanted } else { 1 }).collect();
        let bands = match wanted.div_ceil(columns.len()) {
            1 => 1,
            bands => bands.next_multiple_of(threads),
        };
        let bands = geometry.bands(n, bands, 1).into_iter();
        let part = |band: Band| {
            let columns = columns.iter().cloned();
            columns.map(move |blocks| Part { band: band.clone(), blocks }).collect::<Vec<_>>()
        };
        bands.flat_map(part).collect()
    }

    /// Computes a part of the output, whose rows `rows` of each image are in `y`.
    ///
    /// # Safety
    /// While this runs, no one else accesses the results of this part.
    unsafe fn part(
        &self,
        x: &[f32],
        Part { band, blocks }: &Part,
        (y, rows): (Shared<'_>, Range<usize>),
        epilogue: Epilogue<'_>,
    ) {
        let geometry = &self.geometry;
        let (channels, out) = geometry.group();
        let row = geometry.out_row();
        let to = Strides { image: rows.len() * row, row, column: geometry.pixel };
        with_scratch(|Scratch { padded, .. }| {
            for piece in geometry.pieces(band) {
                let (x, from) = patches(geometry, x, &piece, padded);
                let start = piece.images.start * to.image + (piece.rows.start - rows.start) * row;
                for (group, matrix) in self.groups.iter().enumerate() {
                    let bias = epilogue.bias.map(|bias| &bias[group * out..]);
                    let job = Product {
                        grid: grid(geometry, &piece),
                        segments: &self.segments,
                        matrix,
                        epilogue: Epilogue { bias, ..epilogue },
                    };
                    let y = (y.from(start + group * out), to);
                    // SAFETY: the caller promises this.
                    unsafe { job.run_blocks(blocks.clone(), (&x[group * channels..], from), y) }
                }
            }
        });
    }
}
