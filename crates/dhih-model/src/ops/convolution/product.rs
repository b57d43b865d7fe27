//! The kernel of convolutions: patches, read where they lie in memory, times a packed matrix. The sums of a register block of six patches by
//! four vectors of columns stay in registers.
#![allow(unsafe_code)]
#![allow(clippy::needless_range_loop, reason = "indices of registers, several arrays at once")]

use std::ops::Range;

use super::packed::{Block, MOST_VECTORS, Packed};
use crate::ops::Activation;
use crate::ops::shared::Shared;
use crate::ops::simd::{MOST_LANES, Simd, dispatch, prefetch};

/// The most patches of a register block.
const TILE: usize = 6;

/// The most columns of a register block.
const MOST_WIDTH: usize = MOST_VECTORS * MOST_LANES;

/// The distances in memory between neighbouring positions of a grid, in values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strides {
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}

/// Consecutive values of a patch; `offset` counts from the first value of the patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: usize,
    pub(super) len: usize,
}

/// What is done to results before they are stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epilogue<'a> {
    /// Added to the columns. It has a value for each column and for those that fill the last vector.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
}

impl Epilogue<'_> {
    /// Stores results as they are.
    pub(super) const NONE: Self = Self { bias: None, activation: Activation::Identity };
}

/// Pixels of some images.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) images: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Grid {
    /// The number of pixels.
    pub(super) fn len(&self) -> usize {
        self.images * self.rows * self.columns
    }

    /// The offset of the last pixel; there must be one.
    pub(super) fn last(&self, s: Strides) -> usize {
        (self.images - 1) * s.image + (self.rows - 1) * s.row + (self.columns - 1) * s.column
    }
}

/// The product of each patch of a grid with `matrix`. The values of a patch are those of its segments, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) grid: Grid,
    pub(super) segments: &'a [Segment],
    pub(super) matrix: &'a Packed,
    pub(super) epilogue: Epilogue<'a>,
}

impl Product<'_> {
    /// Writes the products of the patches in `x` to `y`.
    pub(super) fn run(&self, x: (&[f32], Strides), y: (&mut [f32], Strides)) {
        // SAFETY: `y` is borrowed by this call alone.
        unsafe { self.run_blocks(0..self.matrix.blocks().len(), x, (Shared::new(y.0), y.1)) }
    }

    /// As [`Self::run`], for some of the matrix's blocks of columns.
    ///
    /// # Safety
    /// While this runs, no one else accesses the results of these columns.
    pub(super) unsafe fn run_blocks(
        &self,
        blocks: Range<usize>,
        x: (&[f32], Strides),
        y: (Shared<'_>, Strides),
    ) {
        if self.grid.len() == 0 {
            return;
        }
        let reach = self.segments.iter().map(|s| s.offset + s.len).max().unwrap_or(0);
        assert!(self.grid.last(x.1) + reach <= x.0.len(), "patches beyond the image");
        let end = self.grid.last(y.1) + self.matrix.columns;
        assert!(end <= y.0.len(), "results beyond the output");
        let depth: usize = self.segments.iter().map(|s| s.len).sum();
        assert_eq!(depth, self.matrix.rows, "patches of another length");
        let width = |(block, _): &(Block, _)| block.column + block.width();
        let width = self.matrix.blocks().last().map_or(0, width);
        assert!(self.epilogue.bias.is_none_or(|bias| bias.len() >= width), "bias too short");
        // SAFETY: the assertions cover every read and write, and blocks lie within the packed values by construction. The caller promises
        // that no one else accesses what is written.
        unsafe { run(self, blocks, x.0.as_ptr(), x.1, y.0.as_mut_ptr(), y.1) }
    }
}

dispatch! {
    unsafe fn run(job: &Product<'_>, range: Range<usize>, x: *const f32, from: Strides, y: *mut f32, to: Strides) = blocks
}

/// Some rows of the matrix, which all patches are multiplied with before the next ones: as many as lie in a core's cache beside the patches.
#[derive(Debug, Clone, Copy)]
struct Pass {
    /// Where they begin: the number of a segment, and the position within it.
    segment: usize,
    skip: usize,
    /// The first of them, and their number.
    first: usize,
    rows: usize,
}

#[inline(always)]
unsafe fn blocks<S: Simd>(
    job: &Product<'_>,
    range: Range<usize>,
    x: *const f32,
    from: Strides,
    y: *mut f32,
    to: Strides,
) {
    let blocks = job.matrix.blocks();
    for number in range {
        let (block, matrix) = &blocks[number];
        let next = blocks.get(number + 1).map_or(&[][..], |(_, matrix)| &matrix[..]);
        for pass in passes(job) {
            // What is multiplied with after this: the next rows, or the first ones of the next block.
            let (now, later) =
                (pass.first * block.width(), (pass.first + pass.rows) * block.width());
            let coming = if later < matrix.len() { &matrix[later..] } else { next };
            let coming = &coming[..coming.len().min(later - now)];
            let pass = (pass, &matrix[now..later], coming);
            // SAFETY: `Product::run_blocks` has checked the sizes.
            unsafe {
                match block.vectors {
                    1 => patches::<S, 1>(job, *block, pass, (x, from), (y, to)),
                    2 => patches::<S, 2>(job, *block, pass, (x, from), (y, to)),
                    3 => patches::<S, 3>(job, *block, pass, (x, from), (y, to)),
                    _ => patches::<S, 4>(job, *block, pass, (x, from), (y, to)),
                }
            }
        }
    }
}

/// All rows of the matrix, in passes of about [`ROWS`] rows where there is more than a tile.
fn passes(job: &Product<'_>) -> impl Iterator<Item = Pass> {
    /// 384 rows of 64 columns are 96 KiB.
    const ROWS: usize = 384;
    let all = job.matrix.rows;
    let rows = if job.grid.len() > TILE { all.div_ceil(all.div_ceil(ROWS).max(1)) } else { all };
    let (mut segment, mut skip) = (0, 0);
    (0..all).step_by(rows.max(1)).map(move |first| {
        let pass = Pass { segment, skip, first, rows: rows.min(all - first) };
        skip += pass.rows;
        while let Some(len) = job.segments.get(segment).map(|s| s.len).filter(|len| *len <= skip) {
            (segment, skip) = (segment + 1, skip - len);
        }
        pass
    })
}

/// Values that are brought into cache while others are multiplied with.
struct Ahead<'a> {
    lines: std::slice::Chunks<'a, f32>,
    /// The number of cache lines for every [`STEP`] rows of the matrix.
    each: usize,
}

/// Rows of the matrix between two looks ahead.
const STEP: usize = 8;

impl<'a> Ahead<'a> {
    /// Spreads `values` over `rows` rows.
    fn new(values: &'a [f32], rows: usize) -> Self {
        const LINE: usize = 16;
        let each = values.len().div_ceil(LINE).div_ceil((rows / STEP).max(1));
        Self { lines: values.chunks(LINE), each }
    }

    #[inline(always)]
    fn look(&mut self) {
        self.lines.by_ref().take(self.each).for_each(|line| prefetch(line.as_ptr()));
    }
}

#[inline(always)]
unsafe fn patches<S: Simd, const J: usize>(
    job: &Product<'_>,
    block: Block,
    (pass, matrix, coming): (Pass, &[f32], &[f32]),
    (x, from): (*const f32, Strides),
    (y, to): (*mut f32, Strides),
) {
    let count = job.grid.len();
    let mut ahead = Ahead::new(coming, count.div_ceil(TILE) * pass.rows);
    let (mut image, mut row, mut column) = (0, 0, 0);
    let mut start = 0;
    while start < count {
        let (mut xs, mut ys) = ([x; TILE], [y; TILE]);
        let tile = TILE.min(count - start);
        for (x, y) in xs.iter_mut().zip(&mut ys).take(tile) {
            // SAFETY: the patch and its result lie within the grids that `Product::run_blocks` has checked.
            unsafe {
                *x = x.add(image * from.image + row * from.row + column * from.column);
                let place = image * to.image + row * to.row + column * to.column;
                *y = y.add(place + block.column);
            }
            column += 1;
            if column == job.grid.columns {
                (row, column) = (row + 1, 0);
            }
            if row == job.grid.rows {
                (image, row) = (image + 1, 0);
            }
        }
        let (job, w) = ((job, block, pass), matrix.as_ptr());
        // SAFETY: the first `tile` pointers lie within their grids.
        unsafe {
            match tile {
                1 => one_tile::<S, 1, J>(job, w, &xs, &ys, &mut ahead),
                2 => one_tile::<S, 2, J>(job, w, &xs, &ys, &mut ahead),
                3 => one_tile::<S, 3, J>(job, w, &xs, &ys, &mut ahead),
                4 => one_tile::<S, 4, J>(job, w, &xs, &ys, &mut ahead),
                5 => one_tile::<S, 5, J>(job, w, &xs, &ys, &mut ahead),
                _ => one_tile::<S, TILE, J>(job, w, &xs, &ys, &mut ahead),
            }
        }
        start += tile;
    }
}

#[inline(always)]
unsafe fn one_tile<S: Simd, const P: usize, const J: usize>(
    (job, block, pass): (&Product<'_>, Block, Pass),
    mut w: *const f32,
    xs: &[*const f32; TILE],
    ys: &[*mut f32; TILE],
    ahead: &mut Ahead<'_>,
) {
    let columns = job.matrix.columns - block.column;
    let left = |j: usize| columns.saturating_sub(j * S::LANES);
    // SAFETY: patches, packed rows, bias and results are as long as `Product::run_blocks` has checked.
    unsafe {
        let mut sums = [[S::splat(0.0); J]; P];
        if pass.first > 0 {
            for p in 0..P {
                for j in 0..J {
                    sums[p][j] = S::load_first(ys[p].add(j * S::LANES), left(j));
                }
            }
        } else if let Some(bias) = job.epilogue.bias {
            for j in 0..J {
                let bias = S::load(bias.as_ptr().add(block.column + j * S::LANES));
                for sums in &mut sums {
                    sums[j] = bias;
                }
            }
        }
        let (mut number, mut skip, mut rows) = (pass.segment, pass.skip, pass.rows);
        while rows > 0 {
            let Segment { offset, len } = job.segments[number];
            let len = (len - skip).min(rows);
            let xs: [*const f32; P] = std::array::from_fn(|p| xs[p].add(offset + skip));
            for first in (0..len).step_by(STEP) {
                ahead.look();
                for k in first..len.min(first + STEP) {
                    let row: [S; J] = std::array::from_fn(|j| S::load(w.add(j * S::LANES)));
                    for p in 0..P {
                        let x = S::splat(*xs[p].add(k));
                        for j in 0..J {
                            sums[p][j] = x.mul_add(row[j], sums[p][j]);
                        }
                    }
                    w = w.add(J * S::LANES);
                }
            }
            (number, skip, rows) = (number + 1, 0, rows - len);
        }
        if pass.first + pass.rows == job.matrix.rows {
            finish(job.epilogue.activation, &mut sums);
        }
        if columns >= J * S::LANES {
            // Whole vectors need no mask.
            for p in 0..P {
                for j in 0..J {
                    sums[p][j].store(ys[p].add(j * S::LANES));
                }
            }
            return;
        }
        for p in 0..P {
            for j in 0..J {
                sums[p][j].store_first(ys[p].add(j * S::LANES), left(j));
            }
        }
    }
}

/// Applies an activation to a register block.
#[inline(always)]
unsafe fn finish<S: Simd, const P: usize, const J: usize>(
    activation: Activation,
    sums: &mut [[S; J]; P],
) {
    // SAFETY: the caller guarantees that the machine has the instruction set, and `tile` has room for the sums.
    unsafe {
        if let Some((low, high)) = activation.range() {
            let (low, high) = (S::splat(low), S::splat(high));
            for sum in sums.as_flattened_mut() {
                *sum = sum.max(low).min(high);
            }
        }
        if activation.needs_input() {
            let mut tile = [[0f32; MOST_WIDTH]; P];
            let tile = &mut tile.as_flattened_mut()[..P * J * S::LANES];
            for (sum, to) in sums.as_flattened().iter().zip(tile.chunks_exact_mut(S::LANES)) {
                sum.store(to.as_mut_ptr());
            }
            activation.apply_in_place(tile);
            for (sum, from) in sums.as_flattened_mut().iter_mut().zip(tile.chunks_exact(S::LANES)) {
                *sum = S::load(from.as_ptr());
            }
        }
    }
}

#[cfg(test)]
mod tests;
