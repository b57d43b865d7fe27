//! Matrix product of slices, single-threaded: the one door to the `gemm` crate. Parallelism is the caller's, over images.
#![allow(unsafe_code)]

/// A row-major or transposed view of a slice as a matrix.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major `rows x columns` matrix.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert!(values.len() >= rows * columns, "{} values for {rows} x {columns}", values.len());
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same values with rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = a b`, or `out += a b` where `accumulate`; `out` is row-major.
pub(super) fn multiply(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], accumulate: bool) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(k, b.rows, "inner dimensions");
    assert!(out.len() >= m * n, "{} values for {m} x {n}", out.len());
    // SAFETY: `Matrix::new` checked that both inputs hold every element their strides reach, transposition keeps that
    // set, and the assertion above covers the output. The three slices cannot overlap: `out` is borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition() {
        let (m, k, n) = (5, 7, 3);
        let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.7).sin()).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.3).cos()).collect();
        let at: Vec<f32> = (0..k * m).map(|i| a[i % m * k + i / m]).collect();
        let naive = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f32>();
        for left in [Matrix::new(&a, m, k), Matrix::new(&at, k, m).transposed()] {
            let mut out = vec![1.0; m * n];
            multiply(left, Matrix::new(&b, k, n), &mut out, true);
            for (at, x) in out.iter().enumerate() {
                assert!((x - 1.0 - naive(at / n, at % n)).abs() < 1e-5);
            }
        }
    }

    #[test]
    #[should_panic(expected = "inner dimensions")]
    fn shapes_are_checked() {
        multiply(Matrix::new(&[0.0; 6], 2, 3), Matrix::new(&[0.0; 4], 2, 2), &mut [0.0; 4], false);
    }
}
