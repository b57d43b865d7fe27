//! Products of matrices. The gemm library multiplies; this file divides the work among threads. With few images and many weights it is divided
//! along the weights, so that each weight is read once.
#![allow(unsafe_code)]

use gemm::{Parallelism, gemm};
use rayon::prelude::*;

use super::Tasks;
use super::shared::Shared;

/// The most rows and columns of a piece that one task computes.
const PIECE: (usize, usize) = (128, 512);

/// Values as a matrix: the distances in memory between neighbours in a column and in a row.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    strides: (usize, usize),
}

impl<'a> Matrix<'a> {
    /// A matrix whose rows lie one after the other.
    pub(crate) fn rows_of(values: &'a [f32], columns: usize) -> Self {
        Self { values, strides: (columns, 1) }
    }

    pub(crate) fn transposed(self) -> Self {
        Self { strides: (self.strides.1, self.strides.0), ..self }
    }

    /// The matrix that begins `offset` values later.
    fn from(self, offset: usize) -> Self {
        Self { values: &self.values[offset..], ..self }
    }

    fn covers(&self, rows: usize, columns: usize) -> bool {
        let last = (rows - 1) * self.strides.0 + (columns - 1) * self.strides.1;
        last < self.values.len()
    }
}

/// The size of a product.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    /// Columns of the first factor and rows of the second.
    pub(crate) inner: usize,
    pub(crate) columns: usize,
}

/// The product `a b` of `[rows, inner]` and `[inner, columns]`, row-major. The sums do not depend on the number of threads.
pub(crate) fn product(size: Size, a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
    let Size { rows, inner, columns } = size;
    let mut to = vec![0.0; rows * columns];
    if rows == 0 || inner == 0 || columns == 0 {
        return to;
    }
    assert!(a.covers(rows, inner) && b.covers(inner, columns), "matrices too short");
    let across = columns.div_ceil(PIECE.1);
    let target = Shared::new(&mut to);
    (0..rows.div_ceil(PIECE.0) * across).into_par_iter().run(|piece| {
        let (row, column) = (piece / across * PIECE.0, piece % across * PIECE.1);
        let size =
            Size { rows: PIECE.0.min(rows - row), inner, columns: PIECE.1.min(columns - column) };
        let (a, b) = (a.from(row * a.strides.0), b.from(column * b.strides.1));
        // SAFETY: the piece lies within `to` and belongs to this task alone. The assertions above show that `a` and `b` are large enough.
        unsafe {
            let to = target.from(row * columns + column).as_mut_ptr();
            multiply_into(size, 1.0, a, b, to, columns, false);
        }
    });
    to
}

/// The memory that a product is written to.
pub(crate) struct Output<'a> {
    values: &'a mut [f32],
    /// The distance between rows, in values.
    stride: usize,
    adds: bool,
}

impl<'a> Output<'a> {
    /// Rows that are `stride` values apart, to be overwritten.
    pub(crate) fn new(values: &'a mut [f32], stride: usize) -> Self {
        Self { values, stride, adds: false }
    }

    /// The same memory, to which the product is added.
    pub(crate) fn adding(self) -> Self {
        Self { adds: true, ..self }
    }
}

/// Computes `scale a b` on this thread, in one piece.
///
/// # Panics
/// When a matrix is too short, or `inner` is 0.
pub(crate) fn multiply(size: Size, scale: f32, a: Matrix<'_>, b: Matrix<'_>, to: Output<'_>) {
    let Size { rows, inner, columns } = size;
    let last = (rows - 1) * to.stride + columns - 1;
    let fits = a.covers(rows, inner) && b.covers(inner, columns) && last < to.values.len();
    assert!(fits && columns <= to.stride, "matrices too short");
    // SAFETY: all three are large enough, and `to` is borrowed by this call alone.
    unsafe { multiply_into(size, scale, a, b, to.values.as_mut_ptr(), to.stride, to.adds) }
}

/// # Safety
/// `a` and `b` must hold matrices of that size. `to` must be valid for writes of that many rows, `stride` values apart, and not be accessed by
/// others.
unsafe fn multiply_into(
    Size { rows, inner, columns }: Size,
    scale: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    to: *mut f32,
    stride: usize,
    adds: bool,
) {
    // SAFETY: the caller promises this.
    unsafe {
        gemm(
            rows,
            columns,
            inner,
            to,
            1,
            stride as isize,
            adds,
            a.values.as_ptr(),
            a.strides.1 as isize,
            a.strides.0 as isize,
            b.values.as_ptr(),
            b.strides.1 as isize,
            b.strides.0 as isize,
            if adds { 1.0 } else { 0.0 },
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
