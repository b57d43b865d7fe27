//! The linear algebra of fitting a codec, in f64 and for matrices of a few thousand rows: eigenvectors of a symmetric matrix, random orthogonal
//! matrices, and the orthogonal matrix nearest to a given one. Large products use [`crate::ops`].

use rand::Rng;
use rand_distr::StandardNormal;
use rayon::prelude::*;

/// A square matrix in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Square {
    pub(super) side: usize,
    pub(super) values: Vec<f64>,
}

impl Square {
    pub(super) fn zeros(side: usize) -> Self {
        Self { side, values: vec![0.0; side * side] }
    }

    fn identity(side: usize) -> Self {
        let mut identity = Self::zeros(side);
        (0..side).for_each(|i| identity.values[i * side + i] = 1.0);
        identity
    }

    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.side..][..self.side]
    }

    fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.side..][..self.side]
    }

    /// The product `self^T self`.
    fn gram(&self) -> Self {
        let side = self.side;
        let mut gram = Self::zeros(side);
        gram.values.par_chunks_mut(side).enumerate().for_each(|(row, sums)| {
            for i in 0..side {
                let factor = self.values[i * side + row];
                sums.iter_mut().zip(self.row(i)).for_each(|(sum, x)| *sum += factor * x);
            }
        });
        gram
    }
}

/// Eigenvalues in descending order, and the eigenvector of each as a row of length 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Eigen {
    pub(super) values: Vec<f64>,
    pub(super) vectors: Square,
}

/// The number of QL steps for one eigenvalue after which the search is given up. Two or three are usual.
const MOST_STEPS: usize = 100;

/// The eigenvalues and eigenvectors of a symmetric matrix: Householder's reduction to a tridiagonal one, and the QL algorithm with implicit
/// shifts (Martin and Wilkinson, 1968). `None` where a value is not finite.
pub(super) fn eigen(symmetric: Square) -> Option<Eigen> {
    let side = symmetric.side;
    let Tridiagonal { mut diagonal, mut beside, mut basis } = tridiagonal(symmetric);
    for first in 0..side {
        let mut steps = 0;
        loop {
            let is_small = |i: usize, beside: &[f64], diagonal: &[f64]| {
                beside[i].abs() <= f64::EPSILON * (diagonal[i].abs() + diagonal[i + 1].abs())
            };
            let mut last = first;
            while last + 1 < side && !is_small(last, &beside, &diagonal) {
                last += 1;
            }
            if last == first {
                break;
            }
            steps += 1;
            if steps > MOST_STEPS {
                return None;
            }
            ql_step(first..last, &mut diagonal, &mut beside, &mut basis);
        }
    }
    if diagonal.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut order: Vec<usize> = (0..side).collect();
    order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
    let values = order.iter().map(|i| diagonal[*i]).collect();
    let rows: Vec<f64> = order.iter().flat_map(|i| basis.row(*i).to_vec()).collect();
    Some(Eigen { values, vectors: Square { side, values: rows } })
}

/// One QL step on the rows `block.start` to `block.end`, both included. It applies the same rotations to the rows of `basis`.
fn ql_step(
    block: std::ops::Range<usize>,
    diagonal: &mut [f64],
    beside: &mut [f64],
    basis: &mut Square,
) {
    let (first, last) = (block.start, block.end);
    let half = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first]);
    let shift = half + half.hypot(1.0).copysign(half);
    let mut g = diagonal[last] - diagonal[first] + beside[first] / shift;
    let (mut sine, mut cosine, mut p) = (1.0, 1.0, 0.0);
    for i in block.rev() {
        let (f, b) = (sine * beside[i], cosine * beside[i]);
        let length = f.hypot(g);
        beside[i + 1] = length;
        if length == 0.0 {
            // The block splits into two.
            diagonal[i + 1] -= p;
            beside[last] = 0.0;
            return;
        }
        (sine, cosine) = (f / length, g / length);
        g = diagonal[i + 1] - p;
        let r = (diagonal[i] - g) * sine + 2.0 * cosine * b;
        p = sine * r;
        diagonal[i + 1] = g + p;
        g = cosine * r - b;
        let (above, below) = basis.values.split_at_mut((i + 1) * basis.side);
        let (upper, lower) = (&mut above[i * basis.side..], &mut below[..basis.side]);
        for (upper, lower) in upper.iter_mut().zip(lower) {
            (*upper, *lower) = (cosine * *upper - sine * *lower, sine * *upper + cosine * *lower);
        }
    }
    diagonal[first] -= p;
    beside[first] = g;
    beside[last] = 0.0;
}

/// The factorisation `basis^T T basis`, where T is tridiagonal and symmetric.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// The entry to the right of each diagonal entry; the last one is 0.
    beside: Vec<f64>,
    /// An orthogonal matrix.
    basis: Square,
}

fn tridiagonal(mut a: Square) -> Tridiagonal {
    let side = a.side;
    let mut basis = Square::identity(side);
    let mut beside = vec![0.0; side];
    for k in 0..side.saturating_sub(1) {
        let mut v: Vec<f64> = a.row(k)[k + 1..].to_vec();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        beside[k] = -length.copysign(v[0]);
        if length == 0.0 {
            continue;
        }
        v[0] -= beside[k];
        let beta = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
        // The remaining part A of the matrix becomes H A H with H = 1 - beta v v^T.
        let rows = &a.values[(k + 1) * side..];
        let product = |row: &[f64]| beta * dot(&row[k + 1..], &v);
        let mut w: Vec<f64> = rows.par_chunks(side).with_min_len(64).map(product).collect();
        let half = beta / 2.0 * dot(&w, &v);
        w.iter_mut().zip(&v).for_each(|(w, v)| *w -= half * v);
        let rows = a.values[(k + 1) * side..].par_chunks_mut(side).with_min_len(64);
        rows.enumerate().for_each(|(i, row)| {
            for ((x, v_j), w_j) in row[k + 1..].iter_mut().zip(&v).zip(&w) {
                *x -= v[i] * w_j + w[i] * v_j;
            }
        });
        // The basis becomes H times the basis.
        let mut sums = vec![0.0; side];
        for (v, row) in v.iter().zip(basis.values[(k + 1) * side..].chunks_exact(side)) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += beta * v * x);
        }
        let rows = basis.values[(k + 1) * side..].par_chunks_mut(side).with_min_len(64);
        rows.zip(&v).for_each(|(row, v)| {
            row.iter_mut().zip(&sums).for_each(|(x, sum)| *x -= v * sum);
        });
    }
    let diagonal = (0..side).map(|i| a.row(i)[i]).collect();
    Tridiagonal { diagonal, beside, basis }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A random orthogonal matrix, uniformly distributed: a matrix of normal numbers whose rows are orthogonalised.
pub(super) fn random_orthogonal(side: usize, rng: &mut impl Rng) -> Square {
    let values = (0..side * side).map(|_| rng.sample::<f64, _>(StandardNormal)).collect();
    let mut drawn = Square { side, values };
    orthogonalise(&mut drawn, 0);
    drawn
}

/// Makes the rows from `first` on orthogonal to each other and to the rows before, and of length 1. A row that depends linearly on others is
/// replaced by one that does not.
fn orthogonalise(matrix: &mut Square, first: usize) {
    let side = matrix.side;
    for row in first..side {
        let mut unit = 0;
        loop {
            let (before, own) = matrix.values.split_at_mut(row * side);
            let own = &mut own[..side];
            let length = dot(own, own).sqrt();
            // The second pass removes what rounding leaves after the first.
            for _ in 0..2 {
                for other in before.chunks_exact(side) {
                    let along = dot(other, own);
                    own.iter_mut().zip(other).for_each(|(x, other)| *x -= along * other);
                }
            }
            let left = dot(own, own).sqrt();
            if left > 1e-8 * length && left > 0.0 {
                own.iter_mut().for_each(|x| *x /= left);
                break;
            }
            own.fill(0.0);
            own[unit] = 1.0;
            unit += 1;
        }
    }
}

/// The orthogonal matrix nearest to a given one: the orthogonal factor of its polar decomposition (Schönemann, 1966). `None` where a value is
/// not finite.
pub(super) fn nearest_orthogonal(matrix: &Square) -> Option<Square> {
    let side = matrix.side;
    let Eigen { values, vectors: right } = eigen(matrix.gram())?;
    // The left singular vectors as rows: M w / s. Where s is nothing but rounding, any orthogonal vector will do.
    let mut left = Square::zeros(side);
    let mut rank = 0;
    let least = values.first().map_or(0.0, |largest| largest.max(0.0) * 1e-20);
    for (row, value) in values.iter().enumerate().filter(|(_, value)| **value > least) {
        let singular = value.sqrt();
        for i in 0..side {
            left.row_mut(row)[i] = dot(matrix.row(i), right.row(row)) / singular;
        }
        rank = row + 1;
    }
    orthogonalise(&mut left, rank);
    let mut nearest = Square::zeros(side);
    nearest.values.par_chunks_mut(side).enumerate().for_each(|(i, sums)| {
        for row in 0..side {
            let factor = left.values[row * side + i];
            sums.iter_mut().zip(right.row(row)).for_each(|(sum, x)| *sum += factor * x);
        }
    });
    Some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::named_rng;

    fn random(side: usize, name: &str) -> Square {
        let mut rng = named_rng(1, name);
        let values = (0..side * side).map(|_| rng.sample::<f64, _>(StandardNormal)).collect();
        Square { side, values }
    }

    fn assert_orthogonal(matrix: &Square) {
        for a in 0..matrix.side {
            for b in 0..matrix.side {
                let expected = if a == b { 1.0 } else { 0.0 };
                let got = dot(matrix.row(a), matrix.row(b));
                assert!((got - expected).abs() < 1e-10, "rows {a} and {b}: {got}");
            }
        }
    }

    #[test]
    fn eigenvectors_are_those_of_the_matrix() {
        for side in [1, 2, 3, 10, 65, 130] {
            let a = random(side, "a").gram();
            let Eigen { values, vectors } = eigen(a.clone()).unwrap();
            assert!(values.is_sorted_by(|a, b| a >= b));
            assert_orthogonal(&vectors);
            for (row, value) in values.iter().enumerate() {
                let v = vectors.row(row);
                for i in 0..side {
                    let got = dot(a.row(i), v);
                    assert!((got - value * v[i]).abs() < 1e-9 * values[0].max(1.0), "{side} {row}");
                }
            }
        }
    }

    #[test]
    fn equal_eigenvalues_and_zeros_are_no_difficulty() {
        for side in [1, 5, 40] {
            let eigen = eigen(Square::identity(side)).unwrap();
            assert!(eigen.values.iter().all(|value| *value == 1.0));
            assert_orthogonal(&eigen.vectors);
            let zeros = super::eigen(Square::zeros(side)).unwrap();
            assert!(zeros.values.iter().all(|value| *value == 0.0));
            assert_orthogonal(&zeros.vectors);
        }
        let mut of_nan = Square::identity(3);
        of_nan.values[4] = f64::NAN;
        assert!(eigen(of_nan).is_none());
    }

    #[test]
    fn drawn_matrices_are_orthogonal_and_depend_on_the_seed() {
        let drawn = |seed| random_orthogonal(40, &mut named_rng(seed, "r"));
        assert_orthogonal(&drawn(1));
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn the_nearest_orthogonal_matrix_turns_back_a_rotation_and_takes_any_rank() {
        let rotation = random_orthogonal(20, &mut named_rng(3, "r"));
        // The product of a rotation and a positive definite matrix.
        let positive = random(20, "p").gram();
        let mut product = Square::zeros(20);
        for i in 0..20 {
            for j in 0..20 {
                let column: Vec<f64> = (0..20).map(|k| positive.row(k)[j]).collect();
                product.row_mut(i)[j] = dot(rotation.row(i), &column);
            }
        }
        let nearest = nearest_orthogonal(&product).unwrap();
        let near = nearest.values.iter().zip(&rotation.values).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near, "{nearest:?}");
        let mut of_rank_one = Square::zeros(6);
        of_rank_one.values.fill(1.0);
        assert_orthogonal(&nearest_orthogonal(&of_rank_one).unwrap());
        assert_orthogonal(&nearest_orthogonal(&Square::zeros(4)).unwrap());
    }
}
