//! Iterative quantisation (Gong and Lazebnik, CVPR 2011): the rotation of principal components whose signs lose the least.

use std::ops::Range;

use rayon::prelude::*;

use super::CodecConfig;
use super::linear_algebra::{Square, nearest_orthogonal, random_orthogonal};
use super::rows::{Rows, prepare_rows};
use crate::error::{Error, Result};
use crate::init::named_rng;
use crate::ops::{Matrix, Size, product};

/// The number of vectors that a rotation is fitted to: so many for each bit, and so many at least.
const ROTATED_PER_BIT: usize = 64;
const LEAST_ROTATED: usize = 1 << 14;

/// The data that the rotation of iterative quantisation is fitted to.
pub(super) struct Fitted<'a> {
    pub(super) rows: &'a dyn Rows,
    pub(super) of_codec: &'a CodecConfig,
    pub(super) seed: u64,
    pub(super) iterations: usize,
    /// The mean of the vectors, `[dims]`.
    pub(super) centre: &'a [f32],
}

impl Fitted<'_> {
    /// The principal components, `[bits, dims]`, rotated by iterative quantisation: with `V` the components of the vectors, alternately
    /// `B = sign(V R)` is computed and R is set to the rotation that brings V nearest to B. Where shorter lengths are codes of their own, the
    /// components up to each length are rotated among themselves.
    pub(super) fn turned(&self, components: &[f64]) -> Result<Vec<f32>> {
        let CodecConfig { dims, bits, ref nested, .. } = *self.of_codec;
        let v = self.components_of_some(components)?;
        let mut matrix = vec![0f32; bits * dims];
        let mut start = 0;
        for end in nested.iter().copied().chain([bits]) {
            let rotation = self.rotation(&v, start..end)?;
            // Each bit is a column of R, applied to the components.
            let of_block = &components[start * dims..end * dims];
            let rows = matrix[start * dims..end * dims].par_chunks_exact_mut(dims).enumerate();
            rows.for_each(|(bit, to)| {
                let mut sum = vec![0f64; dims];
                for (row, component) in of_block.chunks_exact(dims).enumerate() {
                    let factor = rotation.row(row)[bit];
                    sum.iter_mut().zip(component).for_each(|(sum, x)| *sum += factor * x);
                }
                to.iter_mut().zip(sum).for_each(|(to, sum)| *to = sum as f32);
            });
            start = end;
        }
        Ok(matrix)
    }

    /// The components V of a sample of the vectors, `[n, bits]`.
    fn components_of_some(&self, components: &[f64]) -> Result<Vec<f32>> {
        let CodecConfig { dims, bits, .. } = *self.of_codec;
        let (centre, most) = (self.centre, (bits * ROTATED_PER_BIT).max(LEAST_ROTATED));
        let mut some = sample(self.rows, most, self.of_codec)?;
        some.par_chunks_exact_mut(dims).for_each(|vector| {
            vector.iter_mut().zip(centre).for_each(|(x, mean)| *x -= mean);
        });
        let single: Vec<f32> = components.iter().map(|x| *x as f32).collect();
        Ok(product(
            Size { rows: some.len() / dims, inner: dims, columns: bits },
            Matrix::rows_of(&some, dims),
            Matrix::rows_of(&single, dims).transposed(),
        ))
    }

    /// The rotation R of the components `block` of V.
    fn rotation(&self, v: &[f32], block: Range<usize>) -> Result<Square> {
        let (bits, width) = (self.of_codec.bits, block.len());
        let of_block: Vec<f32> =
            v.chunks_exact(bits).flat_map(|row| &row[block.clone()]).copied().collect();
        let n = of_block.len() / width;
        let v = Matrix::rows_of(&of_block, width);
        let mut rotation = random_orthogonal(width, &mut named_rng(self.seed, "codec rotation"));
        for _ in 0..self.iterations {
            let as_single: Vec<f32> = rotation.values.iter().map(|x| *x as f32).collect();
            let turned = Size { rows: n, inner: width, columns: width };
            let mut b = product(turned, v, Matrix::rows_of(&as_single, width));
            b.par_iter_mut().for_each(|x| *x = if *x >= 0.0 { 1.0 } else { -1.0 });
            let size = Size { rows: width, inner: n, columns: width };
            let both = product(size, v.transposed(), Matrix::rows_of(&b, width));
            let both = Square { side: width, values: both.into_iter().map(f64::from).collect() };
            let not_finite =
                || Error::Vectors { reason: "their components are not finite".to_owned() };
            rotation = nearest_orthogonal(&both).ok_or_else(not_finite)?;
        }
        Ok(rotation)
    }
}

/// At most `most` vectors, evenly spaced.
fn sample(rows: &dyn Rows, most: usize, config: &CodecConfig) -> Result<Vec<f32>> {
    let (n, dims) = (rows.len(), rows.dims());
    let count = n.min(most);
    let mut some = Vec::with_capacity(count * dims);
    let at = |i: usize| i * n / count;
    let mut i = 0;
    while i < count {
        // Rows next to each other are read in one call.
        let mut end = i + 1;
        while end < count && at(end) == at(end - 1) + 1 {
            end += 1;
        }
        rows.read(at(i)..at(end - 1) + 1, &mut some)?;
        i = end;
    }
    prepare_rows(&mut some, config, at)?;
    Ok(some)
}
