//! The kernel of weight gradients: sums over pixels of patches times output gradients. Both are read where they lie in memory.
#![allow(unsafe_code)]
#![allow(clippy::needless_range_loop, reason = "indices of registers, several arrays at once")]

use super::packed::{MOST_VECTORS, blocks};
use super::product::{Grid, Segment, Strides};
use crate::ops::simd::{Simd, dispatch, isa};

/// The most values of a patch whose sums are kept in registers.
const TILE: usize = 6;

/// `sum[k, c] += x_p[k] dy_p[c]` over all pixels p of a grid, where `x_p` is the patch of a pixel: its segments, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outer<'a> {
    pub(super) grid: Grid,
    pub(super) segments: &'a [Segment],
    /// Output channels, a multiple of the lanes of a vector.
    pub(super) width: usize,
}

impl Outer<'_> {
    /// Adds the products to `sum`, `[patch length, width]`.
    pub(super) fn run(&self, x: (&[f32], Strides), dy: (&[f32], Strides), sum: &mut [f32]) {
        if self.grid.len() == 0 {
            return;
        }
        let reach = self.segments.iter().map(|s| s.offset + s.len).max().unwrap_or(0);
        let depth: usize = self.segments.iter().map(|s| s.len).sum();
        assert!(self.grid.last(x.1) + reach <= x.0.len(), "patches beyond the image");
        assert!(self.grid.last(dy.1) + self.width <= dy.0.len(), "gradients beyond the output");
        assert!(self.width.is_multiple_of(isa().lanes()), "width of no whole vectors");
        assert!(depth * self.width <= sum.len(), "sum too short");
        // SAFETY: the assertions cover every read and write.
        unsafe { run(self, x.0.as_ptr(), x.1, dy.0.as_ptr(), dy.1, sum.as_mut_ptr()) }
    }
}

dispatch! {
    unsafe fn run(job: &Outer<'_>, x: *const f32, xs: Strides, dy: *const f32, dys: Strides, sum: *mut f32) = columns
}

#[inline(always)]
unsafe fn columns<S: Simd>(
    job: &Outer<'_>,
    x: *const f32,
    xs: Strides,
    dy: *const f32,
    dys: Strides,
    sum: *mut f32,
) {
    const { assert!(MOST_VECTORS == 4) };
    for block in blocks(job.width, isa()) {
        // SAFETY: `Outer::run` has checked the sizes; the columns of the block are within the width.
        unsafe {
            let (dy, sum) = (dy.add(block.column), sum.add(block.column));
            match block.vectors {
                1 => patches::<S, 1>(job, x, xs, dy, dys, sum),
                2 => patches::<S, 2>(job, x, xs, dy, dys, sum),
                3 => patches::<S, 3>(job, x, xs, dy, dys, sum),
                _ => patches::<S, 4>(job, x, xs, dy, dys, sum),
            }
        }
    }
}

#[inline(always)]
unsafe fn patches<S: Simd, const J: usize>(
    job: &Outer<'_>,
    x: *const f32,
    xs: Strides,
    dy: *const f32,
    dys: Strides,
    mut sum: *mut f32,
) {
    for segment in job.segments {
        let mut done = 0;
        while done < segment.len {
            let tile = TILE.min(segment.len - done);
            // SAFETY: `Outer::run` has checked the sizes; the tile is within the segment.
            unsafe {
                let x = x.add(segment.offset + done);
                match tile {
                    1 => one_tile::<S, 1, J>(job, x, xs, dy, dys, sum),
                    2 => one_tile::<S, 2, J>(job, x, xs, dy, dys, sum),
                    3 => one_tile::<S, 3, J>(job, x, xs, dy, dys, sum),
                    4 => one_tile::<S, 4, J>(job, x, xs, dy, dys, sum),
                    5 => one_tile::<S, 5, J>(job, x, xs, dy, dys, sum),
                    _ => one_tile::<S, TILE, J>(job, x, xs, dy, dys, sum),
                }
                sum = sum.add(tile * job.width);
            }
            done += tile;
        }
    }
}

#[inline(always)]
unsafe fn one_tile<S: Simd, const P: usize, const J: usize>(
    job: &Outer<'_>,
    x: *const f32,
    xs: Strides,
    dy: *const f32,
    dys: Strides,
    sum: *mut f32,
) {
    // SAFETY: grids and sum are as large as `Outer::run` has checked.
    unsafe {
        let mut sums = [[S::splat(0.0); J]; P];
        for line in 0..job.grid.images * job.grid.rows {
            let (image, row) = (line / job.grid.rows, line % job.grid.rows);
            let mut x = x.add(image * xs.image + row * xs.row);
            let mut dy = dy.add(image * dys.image + row * dys.row);
            for _ in 0..job.grid.columns {
                let gradient: [S; J] = std::array::from_fn(|j| S::load(dy.add(j * S::LANES)));
                for p in 0..P {
                    let x = S::splat(*x.add(p));
                    for j in 0..J {
                        sums[p][j] = x.mul_add(gradient[j], sums[p][j]);
                    }
                }
                // Behind the last pixel these pointers may be out of bounds; they are not read then.
                (x, dy) = (x.wrapping_add(xs.column), dy.wrapping_add(dys.column));
            }
        }
        for p in 0..P {
            for j in 0..J {
                let to = sum.add(p * job.width + j * S::LANES);
                sums[p][j].add(S::load(to)).store(to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition() {
        for (images, rows, columns, vectors) in
            [(1, 1, 1, 1), (1, 3, 5, 2), (3, 2, 7, 5), (2, 4, 4, 8)]
        {
            let width = vectors * isa().lanes();
            let segments = [Segment { offset: 1, len: 8 }, Segment { offset: 11, len: 2 }];
            let value = |i: usize, salt: usize| ((i * 37 + salt) % 23) as f32 - 11.0;
            let (image, pixels) = (rows * 40 + columns * 2 + 13, rows * columns);
            let x: Vec<f32> = (0..images * image).map(|i| value(i, 1)).collect();
            let dy: Vec<f32> = (0..images * pixels * width).map(|i| value(i, 5)).collect();
            let xs = Strides { image, row: 40, column: 2 };
            let dys = Strides { image: pixels * width, row: columns * width, column: width };
            let mut sum = vec![1.0; 10 * width];
            let grid = Grid { images, rows, columns };
            Outer { grid, segments: &segments, width }.run((&x, xs), (&dy, dys), &mut sum);
            for (at, got) in sum.iter().enumerate() {
                let (k, c) = (at / width, at % width);
                let offset = if k < 8 { 1 + k } else { 3 + k };
                let term = |p: usize| {
                    let (i, q) = (p / pixels, p % pixels);
                    x[i * image + q / columns * 40 + q % columns * 2 + offset] * dy[p * width + c]
                };
                let expected = 1.0 + (0..images * pixels).map(term).sum::<f32>();
                assert_eq!(*got, expected, "{rows} {columns} {width} {at}");
            }
        }
    }
}
