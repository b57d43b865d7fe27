//! A matrix that rows are multiplied with: the kernel of convolutions on matrices that are packed in the midst of a computation, as the
//! keys and values of attention are.

use super::packed::{Packed, blocks};
use super::product::{Epilogue, Grid, Product, Segment, Strides};
use crate::ops::scratch::Buffer;
use crate::ops::simd::isa;

/// Rows of a matrix in memory.
pub(in crate::ops) struct Rows<T> {
    pub(in crate::ops) values: T,
    /// From the first value of a row to that of the next.
    pub(in crate::ops) stride: usize,
}

/// A packed matrix.
pub(in crate::ops) struct Factor {
    matrix: Packed,
    segment: [Segment; 1],
}

impl Factor {
    /// `[rows, columns]`, by its values; on this thread.
    pub(in crate::ops) fn new(
        rows: usize,
        columns: usize,
        value: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let pack = |block: super::packed::Block| {
            let (range, width) = (block.range(columns), block.width());
            let mut values = Buffer::zeros(rows * width);
            for (row, to) in values.chunks_exact_mut(width).enumerate() {
                for (to, column) in to.iter_mut().zip(range.clone()) {
                    *to = value(row, column);
                }
            }
            (block, values)
        };
        let blocks = blocks(columns, isa()).into_iter().map(pack).collect();
        let matrix = Packed::of_blocks(rows, columns, blocks);
        Self { matrix, segment: [Segment { offset: 0, len: rows }] }
    }

    /// Writes the products of the first `count` rows of `x` with the matrix to those of `y`.
    pub(in crate::ops) fn multiply(&self, count: usize, x: Rows<&[f32]>, y: Rows<&mut [f32]>) {
        let along = |column| Strides { image: 0, row: 0, column };
        let product = Product {
            grid: Grid { images: 1, rows: 1, columns: count },
            segments: &self.segment,
            matrix: &self.matrix,
            epilogue: Epilogue::NONE,
        };
        product.run((x.values, along(x.stride)), (y.values, along(y.stride)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_definition() {
        for (count, rows, columns) in [(1, 1, 1), (7, 5, 70), (13, 64, 257), (64, 257, 64)] {
            let value = |i: usize, j: usize| ((i * 31 + j * 17) % 13) as f32 - 6.0;
            let factor = Factor::new(rows, columns, value);
            let x: Vec<f32> = (0..count * (rows + 3)).map(|i| (i % 11) as f32 - 5.0).collect();
            let mut y = vec![f32::NAN; count * (columns + 2)];
            let to = Rows { values: &mut y[..], stride: columns + 2 };
            factor.multiply(count, Rows { values: &x, stride: rows + 3 }, to);
            for i in 0..count {
                for j in 0..columns {
                    let expected: f32 =
                        (0..rows).map(|k| x[i * (rows + 3) + k] * value(k, j)).sum();
                    assert_eq!(y[i * (columns + 2) + j], expected, "{i} {j}");
                }
                assert!(y[i * (columns + 2) + columns].is_nan());
            }
        }
    }
}
