//! Products of matrices. They are the gemm library's; where they are cut for the threads is ours: few images and many weights are cut
//! along the weights, so that each is read once.
#![allow(unsafe_code)]

use gemm::{Parallelism, gemm};
use rayon::prelude::*;

use super::Tasks;

/// Rows and columns of the largest piece that one task computes.
const PIECE: (usize, usize) = (128, 512);

/// Values as a matrix: how far apart neighbours in a column are, and those in a row.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    strides: (usize, usize),
}

impl<'a> Matrix<'a> {
    /// Rows that lie one after the other.
    pub(crate) fn rows_of(values: &'a [f32], columns: usize) -> Self {
        Self { values, strides: (columns, 1) }
    }

    pub(crate) fn transposed(self) -> Self {
        Self { strides: (self.strides.1, self.strides.0), ..self }
    }

    fn covers(&self, rows: usize, columns: usize) -> bool {
        let last = (rows - 1) * self.strides.0 + (columns - 1) * self.strides.1;
        last < self.values.len()
    }
}

/// Where pieces of a product go; no two write to the same place.
struct Target(*mut f32);

// SAFETY: `product` gives each task a piece of its own.
unsafe impl Sync for Target {}

impl Target {
    fn at(&self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// The size of a product.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    /// Columns of the first factor, rows of the second.
    pub(crate) inner: usize,
    pub(crate) columns: usize,
}

/// `a b`, `[rows, inner]` times `[inner, columns]`, row by row. The sums do not depend on the number of threads.
pub(crate) fn product(size: Size, a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
    let Size { rows, inner, columns } = size;
    let mut to = vec![0.0; rows * columns];
    if rows == 0 || inner == 0 || columns == 0 {
        return to;
    }
    assert!(a.covers(rows, inner) && b.covers(inner, columns), "matrices too short");
    let across = columns.div_ceil(PIECE.1);
    let target = Target(to.as_mut_ptr());
    (0..rows.div_ceil(PIECE.0) * across).into_par_iter().run(|piece| {
        let (row, column) = (piece / across * PIECE.0, piece % across * PIECE.1);
        let (m, n) = (PIECE.0.min(rows - row), PIECE.1.min(columns - column));
        let (a_from, b_from) = (row * a.strides.0, column * b.strides.1);
        // SAFETY: the piece lies within `to` and is this task's alone; that `a` and `b` hold all they are asked for is
        // asserted above.
        unsafe {
            gemm(
                m,
                n,
                inner,
                target.at(row * columns + column),
                1,
                columns as isize,
                false,
                a.values.as_ptr().add(a_from),
                a.strides.1 as isize,
                a.strides.0 as isize,
                b.values.as_ptr().add(b_from),
                b.strides.1 as isize,
                b.strides.0 as isize,
                0f32,
                1f32,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    });
    to
}
