//! Functions that several losses are made of. `supervision.rs` and `pairs.rs` have those that depend on labels.

use candle_core::{D, Result, Tensor};

/// `ln(1 + e^x)`, computed without overflow.
pub(super) fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// Signs as -1 and +1, where the sign of 0 is +1. They have no gradient.
pub(super) fn sign(v: &Tensor) -> Result<Tensor> {
    v.ge(0f64)?.to_dtype(v.dtype())?.affine(2.0, -1.0)
}

/// As [`sign`], with the gradient of the identity.
pub(super) fn sign_straight_through(v: &Tensor) -> Result<Tensor> {
    (sign(v)? - v.detach())? + v
}

/// The cosine of each sample with each row. A sample or row of length 0 counts as orthogonal to all others.
///
/// # Shapes
/// `v`: `[n, K]`, `rows`: `[C, K]`; returns `[n, C]`.
pub(super) fn cosine(v: &Tensor, rows: &Tensor) -> Result<Tensor> {
    let lengths = length(v)?.broadcast_mul(&length(rows)?.t()?)?;
    v.matmul(&rows.t()?)? / lengths
}

/// The length of each row, at least 1e-6. The lower bound is under the square root, whose gradient at 0 is infinite.
///
/// # Shapes
/// `rows`: `[n, K]`; returns `[n, 1]`.
pub(super) fn length(rows: &Tensor) -> Result<Tensor> {
    rows.sqr()?.sum_keepdim(D::Minus1)?.maximum(1e-12)?.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn var(values: &[f64]) -> Var {
        Var::from_tensor(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap()
    }

    fn gradient(y: &Tensor, x: &Var) -> Vec<f64> {
        y.backward().unwrap().get(x).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn softplus_has_no_overflow_and_the_sigmoid_for_gradient() {
        let x = var(&[-800.0, -1.0, 0.0, 1.0, 800.0]);
        let y = softplus(&x).unwrap();
        let expected = [0.0, (1.0 + (-1f64).exp()).ln(), 2f64.ln(), (1.0 + 1f64.exp()).ln(), 800.0];
        for (y, expected) in y.to_vec1::<f64>().unwrap().iter().zip(expected) {
            assert!((y - expected).abs() < 1e-12, "{y}, expected {expected}");
        }
        let sigmoid = [0.0, 1.0 / (1.0 + 1f64.exp()), 0.5, 1.0 / (1.0 + (-1f64).exp()), 1.0];
        for (g, expected) in gradient(&y, &x).iter().zip(sigmoid) {
            assert!((g - expected).abs() < 1e-12, "{g}, expected {expected}");
        }
    }

    #[test]
    fn the_sign_of_zero_is_plus_one_and_its_gradient_passes_through() {
        let x = var(&[-2.5, 0.0, 0.25]);
        let y = sign_straight_through(&x).unwrap();
        assert_eq!(y.to_vec1::<f64>().unwrap(), [-1.0, 1.0, 1.0]);
        let weighted = y * Tensor::new(&[3f64, 4.0, 5.0], &Device::Cpu).unwrap();
        assert_eq!(gradient(&weighted.unwrap(), &x), [3.0, 4.0, 5.0]);
    }

    #[test]
    fn the_cosine_of_nothing_is_zero_with_a_finite_gradient() {
        let v = Var::from_tensor(&Tensor::new(&[[0f64, 0.0], [3.0, 3.0]], &Device::Cpu).unwrap());
        let v = v.unwrap();
        let cos = cosine(&v, &Tensor::new(&[[1f64, 1.0], [-1.0, 1.0]], &Device::Cpu).unwrap());
        let cos = cos.unwrap();
        let values = cos.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert!((values[2] - 1.0).abs() < 1e-12 && values[3] == 0.0 && values[..2] == [0.0, 0.0]);
        assert!(gradient(&cos, &v).iter().all(|g| g.is_finite()));
    }
}
