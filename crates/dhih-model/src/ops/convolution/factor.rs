//! A matrix that rows are multiplied with: the kernel of convolutions on matrices that are packed in the midst of a computation, as the
//! keys and values of attention are.
#![allow(unsafe_code)]

use std::ops::Range;

use super::packed::{Block, Packed, blocks};
use super::product::{Epilogue, Grid, Product, Segment, Strides};
use crate::ops::scratch::Buffer;
use crate::ops::shared::Shared;
use crate::ops::simd::isa;

/// Rows of a matrix in memory.
pub(in crate::ops) struct Rows<T> {
    pub(in crate::ops) values: T,
    /// From the first value of a row to that of the next.
    pub(in crate::ops) stride: usize,
}

/// A packed matrix.
#[derive(Debug)]
pub(in crate::ops) struct Factor {
    matrix: Packed,
    segment: [Segment; 1],
}

impl Factor {
    /// The first `rows` rows of a matrix, of which each has `columns` values.
    pub(in crate::ops) fn new(rows: usize, columns: usize, from: Rows<&[f32]>) -> Self {
        Self::packed(rows, columns, |columns, width, to| {
            for (to, from) in to.chunks_exact_mut(width).zip(from.values.chunks(from.stride)) {
                to[..columns.len()].copy_from_slice(&from[columns.clone()]);
            }
        })
    }

    /// The transpose of the first `columns` rows of a matrix, of which each has `rows` values, times `scale`.
    pub(in crate::ops) fn transposed(
        rows: usize,
        columns: usize,
        from: Rows<&[f32]>,
        scale: f32,
    ) -> Self {
        Self::packed(rows, columns, |columns, width, to| {
            let columns = from.values.chunks(from.stride).take(columns.end).skip(columns.start);
            for (at, column) in columns.enumerate() {
                for (to, value) in to[at..].iter_mut().step_by(width).zip(&column[..rows]) {
                    *to = scale * value;
                }
            }
        })
    }

    /// `fill(columns, width, values)` writes each block of columns, `[rows, width]`, on this thread.
    fn packed(rows: usize, columns: usize, fill: impl Fn(Range<usize>, usize, &mut [f32])) -> Self {
        let pack = |block: Block| {
            let mut values = Buffer::zeros(rows * block.width());
            fill(block.range(columns), block.width(), &mut values);
            (block, values)
        };
        let blocks = blocks(columns, isa()).into_iter().map(pack).collect();
        let matrix = Packed::of_blocks(rows, columns, blocks);
        Self { matrix, segment: [Segment { offset: 0, len: rows }] }
    }

    /// Writes the products of rows that lie one after the other with the matrix to `y`, in the same way.
    ///
    /// # Panics
    /// When `y` has room for another number of rows.
    pub(in crate::ops) fn multiply_rows(&self, x: &[f32], y: &mut [f32]) {
        let Packed { rows, columns, .. } = self.matrix;
        let count = x.len() / rows;
        assert_eq!(y.len(), count * columns, "another number of rows");
        let to = Rows { values: Shared::new(y), stride: columns };
        // SAFETY: `y` is borrowed for this call alone.
        unsafe { self.multiply(count, Rows { values: x, stride: rows }, to) }
    }

    /// Writes the products of the first `count` rows of `x` with the matrix to those of `y`.
    ///
    /// # Safety
    /// While this runs, no one else accesses what is written.
    pub(in crate::ops) unsafe fn multiply(
        &self,
        count: usize,
        x: Rows<&[f32]>,
        y: Rows<Shared<'_>>,
    ) {
        let along = |column| Strides { image: 0, row: 0, column };
        let product = Product {
            grid: Grid { images: 1, rows: 1, columns: count },
            segments: &self.segment,
            matrix: &self.matrix,
            epilogue: Epilogue::NONE,
        };
        let (x, y) = ((x.values, along(x.stride)), (y.values, along(y.stride)));
        // SAFETY: the caller promises this.
        unsafe { product.run_blocks(0..self.matrix.blocks().len(), x, y) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_definition() {
        for (count, rows, columns) in [(1, 1, 1), (7, 5, 70), (13, 64, 257), (64, 257, 64)] {
            let value = |i: usize, j: usize| ((i * 31 + j * 17) % 13) as f32 - 6.0;
            let stride = rows.max(columns) + 4;
            let at = |at: usize| value(at / stride, at % stride);
            let values: Vec<f32> = (0..rows * stride).map(at).collect();
            let turned: Vec<f32> =
                (0..columns * stride).map(|at| value(at % stride, at / stride)).collect();
            let from = Rows { values: &turned[..turned.len() - 4], stride };
            let factors = [
                (
                    Factor::new(
                        rows,
                        columns,
                        Rows { values: &values[..values.len() - 4], stride },
                    ),
                    1.0,
                ),
                (Factor::transposed(rows, columns, from, 2.0), 2.0),
            ];
            let x: Vec<f32> = (0..count * (rows + 3)).map(|i| (i % 11) as f32 - 5.0).collect();
            for (factor, scale) in factors {
                let mut y = vec![f32::NAN; count * (columns + 2)];
                let to = Rows { values: Shared::new(&mut y), stride: columns + 2 };
                // SAFETY: `y` is borrowed for this call alone.
                unsafe { factor.multiply(count, Rows { values: &x, stride: rows + 3 }, to) }
                for i in 0..count {
                    for j in 0..columns {
                        let expected: f32 =
                            (0..rows).map(|k| x[i * (rows + 3) + k] * value(k, j)).sum();
                        assert_eq!(y[i * (columns + 2) + j], scale * expected, "{i} {j}");
                    }
                    assert!(y[i * (columns + 2) + columns].is_nan());
                }
            }
        }
    }
}
