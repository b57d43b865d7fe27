//! A matrix in the order in which the kernel of [`super::product`] reads it: its columns are divided into blocks of a few vectors, and each
//! block is stored row after row.

use std::ops::Range;

use rayon::prelude::*;

use crate::ops::Tasks;
use crate::ops::scratch::Buffer;
use crate::ops::simd::{Isa, isa};

/// A packed matrix `[rows, columns]`. Zeros fill its columns up to complete vectors.
#[derive(Debug)]
pub(in crate::ops) struct Packed {
    pub(super) rows: usize,
    pub(super) columns: usize,
    blocks: Vec<(Block, Buffer)>,
}

/// A block of columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// The first column.
    pub(super) column: usize,
    /// The number of vectors of columns, at most [`MOST_VECTORS`].
    pub(super) vectors: usize,
}

/// The most vectors of a block.
pub(super) const MOST_VECTORS: usize = 4;

/// Divides `columns` into blocks for `isa`. They are as wide as its registers allow, and a block of a single vector is avoided where possible.
pub(super) fn blocks(columns: usize, isa: Isa) -> Vec<Block> {
    let (lanes, widest) = (isa.lanes(), isa.block_vectors());
    let mut left = columns.div_ceil(lanes);
    let mut blocks = Vec::new();
    let mut column = 0;
    while left > 0 {
        let vectors = match left {
            _ if left == widest + 1 && widest > 2 => widest - 1,
            _ => left.min(widest),
        };
        blocks.push(Block { column, vectors });
        column += vectors * lanes;
        left -= vectors;
    }
    blocks
}

impl Block {
    /// The number of columns, with those that fill the last vector.
    pub(super) fn width(&self) -> usize {
        self.vectors * isa().lanes()
    }

    /// The columns of the matrix that the block contains.
    pub(super) fn range(&self, columns: usize) -> Range<usize> {
        self.column..columns.min(self.column + self.width())
    }
}

impl Packed {
    /// Packs a matrix: `fill(columns, width, values)` writes each block, `[rows, width]`, in parallel.
    pub(super) fn new(
        rows: usize,
        columns: usize,
        fill: impl Fn(Range<usize>, usize, &mut [f32]) + Sync,
    ) -> Self {
        let blocks = blocks(columns, isa()).into_par_iter().run_all(|block| {
            let mut values = Buffer::zeros(rows * block.width());
            fill(block.range(columns), block.width(), &mut values);
            (block, values)
        });
        Self { rows, columns, blocks }
    }

    /// A packed matrix of blocks that are written already.
    pub(super) fn of_blocks(rows: usize, columns: usize, blocks: Vec<(Block, Buffer)>) -> Self {
        Self { rows, columns, blocks }
    }

    /// The blocks, each with its values, `[rows, width]`.
    pub(super) fn blocks(&self) -> &[(Block, Buffer)] {
        &self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_columns_once() {
        for columns in 1..300 {
            let mut next = 0;
            for Block { column, vectors } in blocks(columns, isa()) {
                assert_eq!(column, next);
                assert!((1..=MOST_VECTORS).contains(&vectors));
                next += vectors * isa().lanes();
            }
            assert_eq!(next, columns.next_multiple_of(isa().lanes()));
        }
    }

    #[test]
    fn blocks_are_filled_with_their_columns() {
        let (rows, columns) = (3, 5 * isa().lanes() + 1);
        let packed = Packed::new(rows, columns, |range, width, values| {
            for row in 0..rows {
                for column in range.clone() {
                    values[row * width + column - range.start] = (row * columns + column) as f32;
                }
            }
        });
        let mut seen = 0;
        for (block, values) in packed.blocks() {
            assert_eq!(values.len(), rows * block.width());
            seen += block.range(columns).len();
            let last = values[(rows - 1) * block.width()];
            assert_eq!(last, ((rows - 1) * columns + block.column) as f32);
        }
        assert_eq!(seen, columns);
    }
}
