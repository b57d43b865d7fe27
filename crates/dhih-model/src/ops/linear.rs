//! Linear layers. The products of matrices are the gemm library's; where they are cut for the threads is ours: few images
//! and many weights are cut along the weights, so that each is read once.
#![allow(unsafe_code)]

use candle_core::{Result, Shape, Tensor, bail};
use gemm::{Parallelism, gemm};
use rayon::prelude::*;

use super::weighted::{self, Array, Weighted};
use super::{Activation, is_ours, portable};

/// Rows and columns of the largest piece that one task computes.
const PIECE: (usize, usize) = (128, 512);

/// `activation(x weight^T + bias)`.
///
/// # Shapes
/// `x`: `[n, in]`; `weight`: `[out, in]`; `bias`: `[out]`; returns `[n, out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let ((_, inputs), (outputs, features)) = (x.dims2()?, weight.dims2()?);
    if inputs != features || bias.is_some_and(|bias| bias.dims() != [outputs]) {
        let bias = bias.map(Tensor::dims);
        bail!("a linear layer of {:?} with biases {bias:?} on {:?}", weight.dims(), x.dims());
    }
    if !is_ours(x) {
        return portable::linear(x, weight, bias, activation);
    }
    weighted::apply(Product, (x, weight, bias), activation)
}

/// Values as a matrix: how far apart neighbours in a column are, and those in a row.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    strides: (usize, usize),
}

impl<'a> Matrix<'a> {
    fn rows_of(values: &'a [f32], columns: usize) -> Self {
        Self { values, strides: (columns, 1) }
    }

    fn transposed(self) -> Self {
        Self { strides: (self.strides.1, self.strides.0), ..self }
    }

    fn covers(&self, rows: usize, columns: usize) -> bool {
        let last = (rows - 1) * self.strides.0 + (columns - 1) * self.strides.1;
        last < self.values.len()
    }
}

/// Where pieces of a product go; no two write to the same place.
struct Target(*mut f32);

// SAFETY: `product` gives each task a piece of its own.
unsafe impl Sync for Target {}

impl Target {
    fn at(&self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// `a b`, `[rows, inner]` times `[inner, columns]`.
fn product(
    (rows, inner, columns): (usize, usize, usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
) -> Vec<f32> {
    let mut to = vec![0.0; rows * columns];
    if rows == 0 || inner == 0 || columns == 0 {
        return to;
    }
    assert!(a.covers(rows, inner) && b.covers(inner, columns), "matrices too short");
    let across = columns.div_ceil(PIECE.1);
    let target = Target(to.as_mut_ptr());
    (0..rows.div_ceil(PIECE.0) * across).into_par_iter().for_each(|piece| {
        let (row, column) = (piece / across * PIECE.0, piece % across * PIECE.1);
        let (m, n) = (PIECE.0.min(rows - row), PIECE.1.min(columns - column));
        let (a_from, b_from) = (row * a.strides.0, column * b.strides.1);
        // SAFETY: the piece lies within `to` and is this task's alone; that `a` and `b` hold all they are asked for is
        // asserted above.
        unsafe {
            gemm(
                m,
                n,
                inner,
                target.at(row * columns + column),
                1,
                columns as isize,
                false,
                a.values.as_ptr().add(a_from),
                a.strides.1 as isize,
                a.strides.0 as isize,
                b.values.as_ptr().add(b_from),
                b.strides.1 as isize,
                b.strides.0 as isize,
                0f32,
                1f32,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    });
    to
}

struct Product;

impl Weighted for Product {
    const NAME: &'static str = "linear";

    fn forward(
        &self,
        (x, weight): (Array<'_>, Array<'_>),
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<(Vec<f32>, Shape)> {
        let [n, inputs, outputs] = [x.dims[0], x.dims[1], weight.dims[0]];
        let (x, weight) =
            (Matrix::rows_of(x.values, inputs), Matrix::rows_of(weight.values, inputs));
        let mut y = product((n, inputs, outputs), x, weight.transposed());
        y.par_chunks_mut(outputs.max(1) * 64).for_each(|rows| {
            for row in rows.chunks_exact_mut(outputs) {
                row.iter_mut().zip(bias.unwrap_or_default()).for_each(|(y, bias)| *y += bias);
            }
            activation.apply_in_place(rows);
        });
        Ok((y, Shape::from((n, outputs))))
    }

    fn gradients(
        &self,
        (x, weight): (Array<'_>, Array<'_>),
        dy: &[f32],
        wants_dx: bool,
    ) -> Result<(Option<Vec<f32>>, Vec<f32>)> {
        let [n, inputs, outputs] = [x.dims[0], x.dims[1], weight.dims[0]];
        let dy = Matrix::rows_of(dy, outputs);
        let dx = || product((n, outputs, inputs), dy, Matrix::rows_of(weight.values, inputs));
        let x = Matrix::rows_of(x.values, inputs);
        Ok((wants_dx.then(dx), product((outputs, n, inputs), dy.transposed(), x)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_finite_differences, assert_same_gradients, variable};
    use super::*;

    #[test]
    fn agrees_with_the_portable_form() {
        // Within one piece, one row, and beyond a piece in each direction.
        for (n, inputs, outputs) in [(3, 4, 5), (1, 70, 9), (200, 30, 700), (7, 1100, 300)] {
            let (x, w) = (variable("x", &[n, inputs]), variable("w", &[outputs, inputs]));
            let b = variable("b", &[outputs]);
            let arguments = (x.as_tensor(), w.as_tensor(), b.as_tensor());
            // Without ReLU, whose gradient jumps where rounding moves a value over 0.
            let none = Activation::Identity;
            let ours = || linear(arguments.0, arguments.1, Some(arguments.2), none);
            let oracle = || portable::linear(arguments.0, arguments.1, Some(arguments.2), none);
            assert_same_gradients(&[&x, &w, &b], ours, oracle, 1e-5);
            let ours = || linear(arguments.0, arguments.1, None, none);
            let oracle = || portable::linear(arguments.0, arguments.1, None, none);
            assert_same_gradients(&[&x, &w], ours, oracle, 1e-5);
        }
    }

    #[test]
    fn agrees_with_finite_differences() {
        let (x, w, b) = (variable("x", &[3, 4]), variable("w", &[5, 4]), variable("b", &[5]));
        for activation in [Activation::Identity, Activation::Gelu] {
            assert_finite_differences(&[&x, &w, &b], || {
                linear(x.as_tensor(), w.as_tensor(), Some(b.as_tensor()), activation)
            });
        }
    }

    #[test]
    fn relu_is_applied_and_has_its_gradient() {
        let (x, w) = (variable("x", &[6, 4]), variable("w", &[5, 4]));
        let ours = || linear(x.as_tensor(), w.as_tensor(), None, Activation::Relu);
        let oracle = || portable::linear(x.as_tensor(), w.as_tensor(), None, Activation::Relu);
        assert_same_gradients(&[&x, &w], ours, oracle, 1e-5);
    }

    #[test]
    fn transposed_arguments_are_taken_and_wrong_shapes_refused() {
        let (x, w) = (variable("x", &[4, 3]), variable("w", &[4, 5]));
        let (x, w) = (x.as_tensor().t().unwrap(), w.as_tensor().t().unwrap());
        let y = linear(&x, &w, None, Activation::Identity).unwrap();
        assert_eq!(y.dims(), [3, 5]);
        let refused = |x: &Tensor, b: Option<&Tensor>| {
            linear(x, &w, b, Activation::Identity).unwrap_err().to_string()
        };
        let wrong = variable("b", &[4]);
        assert!(refused(&x, Some(wrong.as_tensor())).contains("biases"));
        assert!(refused(&x.t().unwrap(), None).contains("[4, 3]"));
    }
}
