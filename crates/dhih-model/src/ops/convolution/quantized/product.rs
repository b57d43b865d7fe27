//! The kernel of quantised convolutions: patches of bytes, read where they lie, times a packed matrix. Six patches by a few vectors of
//! columns stay in registers as i32 sums, and become f32 on their way out.
#![allow(unsafe_code)]
#![allow(clippy::needless_range_loop, reason = "indices of registers, several arrays at once")]

use super::bytes::Scale;
use super::dot::{Dot, Portable};
use super::kernel::Kernel;
use super::matrix::{Block, GROUP, Matrix};
#[cfg(target_arch = "x86_64")]
use super::x86_64::{Avx2, Avx512Vnni, AvxVnni};
use crate::ops::convolution::product::{Epilogue, Grid, Segment, Strides};
use crate::ops::simd::Simd;

/// Rows of accumulators.
pub(super) const TILE: usize = 6;

/// What the bytes of patches stand for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scales<'a> {
    /// The same in all patches.
    One(Scale),
    /// One for each patch, in the order of the grid.
    Each(&'a [Scale]),
}

impl Scales<'_> {
    #[inline(always)]
    fn at(&self, patch: usize) -> Scale {
        match self {
            Self::One(scale) => *scale,
            Self::Each(scales) => scales[patch],
        }
    }
}

/// For each patch of a grid, the product of its segments, one after the other, with `matrix`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) grid: Grid,
    pub(super) segments: &'a [Segment],
    pub(super) matrix: &'a Matrix,
    pub(super) scales: Scales<'a>,
    pub(super) epilogue: Epilogue<'a>,
}

impl Product<'_> {
    /// Writes the products of the patches in `x` to `y`.
    pub(super) fn run(&self, x: (&[u8], Strides), y: (&mut [f32], Strides)) {
        let (grid, matrix) = (self.grid, self.matrix);
        if grid.len() == 0 {
            return;
        }
        let filled = |s: &Segment| s.len.next_multiple_of(GROUP);
        let reach = self.segments.iter().map(|s| s.offset + filled(s)).max().unwrap_or(0);
        assert!(grid.last(x.1) + reach <= x.0.len(), "patches beyond the image");
        assert!(grid.last(y.1) + matrix.columns <= y.0.len(), "results beyond the output");
        let groups: usize = self.segments.iter().map(|s| filled(s) / GROUP).sum();
        assert_eq!(groups, matrix.groups, "patches of another length");
        let lanes = matrix.kernel.lanes();
        let width = matrix.blocks.last().map_or(0, |block| block.column + block.vectors * lanes);
        assert!(matrix.scales.len() >= width && matrix.scaled_sums.len() >= width);
        assert!(self.epilogue.bias.is_none_or(|bias| bias.len() >= width), "bias too short");
        if let Scales::Each(scales) = self.scales {
            assert!(scales.len() >= grid.len(), "scales of fewer patches");
        }
        let (x, y) = ((x.0.as_ptr(), x.1), (y.0.as_mut_ptr(), y.1));
        match matrix.kernel {
            // SAFETY: the assertions cover every read and write; blocks lie within the packed values by construction.
            Kernel::Portable => unsafe { blocks::<Portable>(self, x, y) },
            // SAFETY: as above; matrices are packed for kernels that the machine has.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => unsafe { avx2(self, x, y) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni => unsafe { avx_vnni(self, x, y) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => unsafe { avx512_vnni(self, x, y) },
        }
    }
}

type From = (*const u8, Strides);
type To = (*mut f32, Strides);

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(job: &Product<'_>, x: From, y: To) {
    // SAFETY: the caller's.
    unsafe { blocks::<Avx2>(job, x, y) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn avx_vnni(job: &Product<'_>, x: From, y: To) {
    // SAFETY: the caller's.
    unsafe { blocks::<AvxVnni>(job, x, y) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn avx512_vnni(job: &Product<'_>, x: From, y: To) {
    // SAFETY: the caller's.
    unsafe { blocks::<Avx512Vnni>(job, x, y) }
}

#[inline(always)]
unsafe fn blocks<D: Dot>(job: &Product<'_>, x: From, y: To) {
    for block in &job.matrix.blocks {
        // SAFETY: the caller's.
        unsafe {
            match block.vectors {
                1 => patches::<D, 1>(job, block, x, y),
                2 => patches::<D, 2>(job, block, x, y),
                3 => patches::<D, 3>(job, block, x, y),
                _ => patches::<D, 4>(job, block, x, y),
            }
        }
    }
}

#[inline(always)]
unsafe fn patches<D: Dot, const J: usize>(
    job: &Product<'_>,
    block: &Block,
    (x, from): From,
    (y, to): To,
) {
    let count = job.grid.len();
    let (mut image, mut row, mut column) = (0, 0, 0);
    let mut start = 0;
    while start < count {
        let tile = TILE.min(count - start);
        let mut places = [Place { x, y, scale: job.scales.at(start) }; TILE];
        for (number, place) in places.iter_mut().enumerate().take(tile) {
            // SAFETY: the caller's: the patch is within the grid.
            unsafe {
                place.x = x.add(image * from.image + row * from.row + column * from.column);
                let at = image * to.image + row * to.row + column * to.column;
                place.y = y.add(at + block.column);
            }
            place.scale = job.scales.at(start + number);
            column += 1;
            if column == job.grid.columns {
                (row, column) = (row + 1, 0);
            }
            if row == job.grid.rows {
                (image, row) = (image + 1, 0);
            }
        }
        // SAFETY: the first `tile` places are within their grids.
        unsafe {
            match tile {
                1 => one_tile::<D, 1, J>(job, block, &places),
                2 => one_tile::<D, 2, J>(job, block, &places),
                3 => one_tile::<D, 3, J>(job, block, &places),
                4 => one_tile::<D, 4, J>(job, block, &places),
                5 => one_tile::<D, 5, J>(job, block, &places),
                _ => one_tile::<D, TILE, J>(job, block, &places),
            }
        }
        start += tile;
    }
}

/// Where a patch and its results lie.
#[derive(Clone, Copy)]
struct Place {
    x: *const u8,
    y: *mut f32,
    scale: Scale,
}

#[inline(always)]
unsafe fn one_tile<D: Dot, const P: usize, const J: usize>(
    job: &Product<'_>,
    block: &Block,
    places: &[Place; TILE],
) {
    let lanes = D::Floats::LANES;
    // SAFETY: patches, packed groups, columns and results are as long as `Product::run` has checked.
    unsafe {
        let mut w = block.values().as_ptr();
        let mut sums = [[D::zero(); J]; P];
        for segment in job.segments {
            let xs: [*const u8; P] = std::array::from_fn(|p| places[p].x.add(segment.offset));
            for k in (0..segment.len).step_by(GROUP) {
                let row: [_; J] = std::array::from_fn(|j| D::weights(w.add(j * lanes * GROUP)));
                for p in 0..P {
                    let bytes = D::bytes(xs[p].add(k));
                    for j in 0..J {
                        sums[p][j] = sums[p][j].add_dot(bytes, row[j]);
                    }
                }
                w = w.add(J * lanes * GROUP);
            }
        }
        let left = job.matrix.columns - block.column;
        for j in 0..J {
            let at = block.column + j * lanes;
            let scale = D::Floats::load(job.matrix.scales.as_ptr().add(at));
            let sum = D::Floats::load(job.matrix.scaled_sums.as_ptr().add(at));
            let bias = match job.epilogue.bias {
                Some(bias) => D::Floats::load(bias.as_ptr().add(at)),
                None => D::Floats::splat(0.0),
            };
            for p in 0..P {
                let Scale { step, zero } = places[p].scale;
                let scaled = sums[p][j].floats().mul(scale);
                let moved = D::Floats::splat(-zero).mul_add(sum, scaled);
                let mut y = D::Floats::splat(step).mul_add(moved, bias);
                if let Some((low, high)) = job.epilogue.activation.range() {
                    y = y.max(D::Floats::splat(low)).min(D::Floats::splat(high));
                }
                y.store_first(places[p].y.add(j * lanes), left.saturating_sub(j * lanes));
            }
        }
    }
}
