//! Weights as bytes: one scale for each output channel, packed in the order in which the kernel of [`super::product`] reads them.

use rayon::prelude::*;

use super::kernel::Kernel;
use crate::ops::convolution::product::Segment;
use crate::ops::{Buffer, Tasks};

/// Values that an instruction multiplies and adds in a lane. Segments are filled up to whole groups with weights of 0.
pub(super) const GROUP: usize = 4;

/// A matrix of i8 values, column by column `scale * values`. Columns are filled up to whole vectors.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) kernel: Kernel,
    /// Groups of a column.
    pub(super) groups: usize,
    pub(super) columns: usize,
    pub(super) blocks: Vec<Block>,
    /// Of each column, filled up with 0.
    pub(super) scales: Vec<f32>,
    /// The scale times the sum of a column's values, filled up with 0.
    pub(super) scaled_sums: Vec<f32>,
}

/// Some vectors of columns.
#[derive(Debug)]
pub(super) struct Block {
    /// The first column.
    pub(super) column: usize,
    pub(super) vectors: usize,
    /// `[groups, columns, 4]` i8.
    packed: Buffer,
}

impl Block {
    pub(super) fn values(&self) -> &[i8] {
        bytemuck::cast_slice(&self.packed)
    }
}

/// A column as bytes.
struct Column {
    values: Vec<i8>,
    scale: f32,
}

impl Column {
    /// The largest value becomes 127 or -127.
    fn new(values: &[f32]) -> Self {
        let largest = values.iter().fold(0f32, |most, value| most.max(value.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let values = values.iter().map(|value| (value / scale).round().clamp(-127.0, 127.0) as i8);
        Self { values: values.collect(), scale }
    }
}

impl Matrix {
    /// `columns`: for each output channel the weights of a patch, in the order of its segments.
    pub(super) fn new(kernel: Kernel, segments: &[Segment], columns: &[Vec<f32>]) -> Self {
        let quantized = columns.par_iter().run_all(|column| Column::new(column));
        let groups = segments.iter().map(|segment| segment.len.div_ceil(GROUP)).sum();
        let width = kernel.lanes() * kernel.block_vectors();
        let blocks = quantized.par_chunks(width).enumerate().run_all(|(number, columns)| {
            let vectors = columns.len().div_ceil(kernel.lanes());
            let width = vectors * kernel.lanes();
            let mut packed = Buffer::zeros(groups * width);
            let to: &mut [i8] = bytemuck::cast_slice_mut(&mut packed);
            for (at, column) in columns.iter().enumerate() {
                let (mut group, mut values) = (0, &column.values[..]);
                for segment in segments {
                    let (now, later) = values.split_at(segment.len);
                    for values in now.chunks(GROUP) {
                        to[(group * width + at) * GROUP..][..values.len()].copy_from_slice(values);
                        group += 1;
                    }
                    values = later;
                }
            }
            Block { column: number * kernel.lanes() * kernel.block_vectors(), vectors, packed }
        });
        let filled = |of: &dyn Fn(&Column) -> f32| -> Vec<f32> {
            let values = quantized.iter().map(of);
            values.chain(std::iter::repeat_n(0.0, width)).collect()
        };
        let sum = |column: &Column| column.values.iter().map(|x| i32::from(*x)).sum::<i32>() as f32;
        Self {
            kernel,
            groups,
            columns: columns.len(),
            blocks,
            scales: filled(&|column| column.scale),
            scaled_sums: filled(&|column| column.scale * sum(column)),
        }
    }
}
