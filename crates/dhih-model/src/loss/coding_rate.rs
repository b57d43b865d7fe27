//! The coding rate of a batch: how many directions its outputs fill. A loss without labels maximises it, so that not all samples get one code.
//!
//! Yaodong Yu, Kwan Ho Ryan Chan, Chong You, Chaobing Song, Yi Ma: "Learning Diverse and Discriminative Representations via the Principle of
//! Maximal Coding Rate Reduction", NeurIPS 2020.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use super::parts::length;

/// The coding rate of a batch, a scalar, where the rows of Z are those of `v`, scaled to length 1:
///
/// `(n + K) / (2 n K) ln det( I + K / (n distortion) Z^T Z )`
///
/// # Shapes
/// `v`: `[n, K]`; returns a scalar.
pub(super) fn coding_rate(v: &Tensor, distortion: f64) -> Result<Tensor> {
    let (n, bits) = v.dims2()?;
    let z = v.broadcast_div(&length(v)?)?;
    let values = z.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let rows = Rows { values: values.flatten_all()?.to_vec1()?, length: bits };
    let factor = bits as f64 / (n as f64 * distortion);
    let LogDet { half, gradient } = LogDet::of(rows, factor);
    // candle has no determinants: this sum has the gradient of the rate with respect to z, and the value is put in its place.
    let scale = (n + bits) as f64 / (n as f64 * bits as f64);
    let gradient = Tensor::from_vec(gradient.values, (n, bits), &Device::Cpu)?;
    let gradient = gradient.to_dtype(v.dtype())?.to_device(v.device())?;
    let linear = ((z * gradient)?.sum_all()? * scale)?;
    (&linear - linear.detach())? + half * scale
}

/// A matrix of rows of the same length.
struct Rows {
    values: Vec<f64>,
    length: usize,
}

impl Rows {
    fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.length)
    }

    fn count(&self) -> usize {
        self.values.len() / self.length
    }

    fn transposed(&self) -> Self {
        let column = |i: usize| self.iter().map(move |row| row[i]);
        Self { values: (0..self.length).flat_map(column).collect(), length: self.count() }
    }
}

/// `1/2 ln det(I + factor Z^T Z)` and its gradient with respect to Z, `factor Z (I + factor Z^T Z)^-1`.
struct LogDet {
    half: f64,
    gradient: Rows,
}

impl LogDet {
    /// The determinant is that of `I + factor Z Z^T`, too, so that a matrix with the smaller side of Z suffices.
    fn of(z: Rows, factor: f64) -> Self {
        if z.count() > z.length {
            let Self { half, gradient } = Self::of_rows(&z.transposed(), factor);
            return Self { half, gradient: gradient.transposed() };
        }
        Self::of_rows(&z, factor)
    }

    /// With `A = I + factor Z Z^T` and its Cholesky factor L: `ln det(A) / 2 = sum_i ln L_ii`, and the gradient is `factor A^-1 Z`.
    fn of_rows(z: &Rows, factor: f64) -> Self {
        let lower = cholesky(plus_products(z, factor));
        let half = lower.iter().enumerate().map(|(i, row)| row[i].ln()).sum();
        let side = z.count();
        let mut values = vec![0.0; z.values.len()];
        values.par_chunks_exact_mut(z.length).enumerate().for_each(|(i, sums)| {
            // A is symmetric, and so is its inverse.
            let inverse = solve(&lower, i);
            for (weight, row) in inverse.iter().zip(z.iter()).take(side) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += factor * weight * x);
            }
        });
        Self { half, gradient: Rows { values, length: z.length } }
    }
}

/// `I + factor Z Z^T`; of each row the numbers up to the diagonal, and 0 behind it.
fn plus_products(z: &Rows, factor: f64) -> Rows {
    let side = z.count();
    let mut values = vec![0.0; side * side];
    values.par_chunks_exact_mut(side).enumerate().for_each(|(i, to)| {
        let own = &z.values[i * z.length..][..z.length];
        for (to, other) in to.iter_mut().zip(z.iter()).take(i + 1) {
            *to = factor * dot(own, other);
        }
        to[i] += 1.0;
    });
    Rows { values, length: side }
}

/// The lower triangular matrix L with `L L^T` equal to a positive definite matrix, whose lower triangle is given.
fn cholesky(mut matrix: Rows) -> Rows {
    let side = matrix.length;
    for i in 0..side {
        let (above, row) = matrix.values.split_at_mut(i * side);
        for (j, done) in above.chunks_exact(side).enumerate() {
            row[j] = (row[j] - dot(&row[..j], &done[..j])) / done[j];
        }
        row[i] = (row[i] - dot(&row[..i], &row[..i])).sqrt();
    }
    matrix
}

/// Column `column` of the inverse of `L L^T`.
fn solve(lower: &Rows, column: usize) -> Vec<f64> {
    let mut x = vec![0.0; lower.length];
    x[column] = 1.0;
    for (i, row) in lower.iter().enumerate().skip(column) {
        x[i] = (x[i] - dot(&row[column..i], &x[column..i])) / row[i];
    }
    for i in (0..lower.length).rev() {
        let row = &lower.values[i * lower.length..][..lower.length];
        x[i] /= row[i];
        let (before, last) = x.split_at_mut(i);
        before.iter_mut().zip(row).for_each(|(x, l)| *x -= l * last[0]);
    }
    x
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
