//! A matrix whose columns are cut into blocks of a few vectors, each block stored row after row: the order in which the
//! kernel of [`super::product`] reads it.

use crate::ops::scratch::Buffer;
use crate::ops::simd::{Isa, isa};

/// A packed matrix `[rows, columns]`; columns are filled up with zeros to whole vectors.
#[derive(Debug)]
pub(in crate::ops) struct Packed {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) blocks: Vec<Block>,
    pub(super) values: Buffer,
}

/// Some vectors of columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// The first column.
    pub(super) column: usize,
    /// Vectors of columns, at most [`MOST_VECTORS`].
    pub(super) vectors: usize,
}

/// Most vectors of a block.
pub(super) const MOST_VECTORS: usize = 4;

/// Cuts `columns` into blocks for `isa`: as wide as its registers allow, and none of a single vector where that can be
/// had otherwise.
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

impl Packed {
    /// A matrix of zeros.
    pub(super) fn zeros(rows: usize, columns: usize) -> Self {
        let width = columns.next_multiple_of(isa().lanes());
        let blocks = blocks(columns, isa());
        Self { rows, columns, blocks, values: Buffer::zeros(rows * width) }
    }

    /// Packs a row-major matrix.
    pub(super) fn new(values: &[f32], rows: usize, columns: usize) -> Self {
        let mut packed = Self::zeros(rows, columns);
        for (row, values) in values.chunks_exact(columns).enumerate() {
            packed.set_row(row, values);
        }
        packed
    }

    /// Writes one row.
    pub(super) fn set_row(&mut self, row: usize, values: &[f32]) {
        let lanes = isa().lanes();
        for block in &self.blocks {
            let width = block.vectors * lanes;
            let from = &values[block.column..self.columns.min(block.column + width)];
            let at = self.rows * block.column + row * width;
            self.values[at..at + from.len()].copy_from_slice(from);
        }
    }

    /// The values of a block, `[rows, vectors * lanes]`.
    pub(super) fn block(&self, block: Block) -> &[f32] {
        let width = block.vectors * isa().lanes();
        &self.values[self.rows * block.column..][..self.rows * width]
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
    fn rows_are_found_in_their_blocks() {
        let (rows, columns) = (3, 5 * isa().lanes() + 1);
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32 + 1.0).collect();
        let packed = Packed::new(&values, rows, columns);
        for block in packed.blocks.clone() {
            let width = block.vectors * isa().lanes();
            for (at, value) in packed.block(block).iter().enumerate() {
                let (row, column) = (at / width, block.column + at % width);
                let expected = if column < columns { values[row * columns + column] } else { 0.0 };
                assert_eq!(*value, expected);
            }
        }
    }
}
