//! Linear layers.

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::matrix::{Matrix, Size, product};
use super::weighted::{self, Array, Weighted};
use super::{Activation, Tasks, Traced, Value, is_ours, portable};

/// Computes `activation(x weight^T + bias)`.
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

/// As [`linear`], with its backward pass.
pub(crate) fn traced_linear(
    x: &Value,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Traced> {
    let (outputs, inputs) = weight.dims2()?;
    if x.dims.get(1) != Some(&inputs) || bias.is_some_and(|bias| bias.dims() != [outputs]) {
        bail!("a linear layer of {:?} on {:?}", weight.dims(), x.dims);
    }
    weighted::trace(Product, (x, weight, bias), activation)
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
        let mut y =
            product(Size { rows: n, inner: inputs, columns: outputs }, x, weight.transposed());
        y.par_chunks_mut(outputs.max(1) * 64).run(|rows| {
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
        let dx = || {
            let size = Size { rows: n, inner: outputs, columns: inputs };
            product(size, dy, Matrix::rows_of(weight.values, inputs))
        };
        let x = Matrix::rows_of(x.values, inputs);
        let size = Size { rows: outputs, inner: n, columns: inputs };
        Ok((wants_dx.then(dx), product(size, dy.transposed(), x)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_finite_differences, assert_same_gradients, variable};
    use super::*;

    #[test]
    fn agrees_with_the_portable_form() {
        // Within one piece, a single row, and more than a piece along each side.
        for (n, inputs, outputs) in [(3, 4, 5), (1, 70, 9), (200, 30, 700), (7, 1100, 300)] {
            let (x, w) = (variable("x", &[n, inputs]), variable("w", &[outputs, inputs]));
            let b = variable("b", &[outputs]);
            let arguments = (x.as_tensor(), w.as_tensor(), b.as_tensor());
            // There is no ReLU, whose gradient jumps where rounding moves a value across 0.
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
