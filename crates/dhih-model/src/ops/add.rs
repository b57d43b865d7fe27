//! The sum of two tensors with an activation, as at the end of a residual block.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::fresh::fill_parts;
use super::multiversion::multiversion;
use super::{Activation, Tasks, Traced, Value, is_ours, portable, values};

/// The number of values that one task adds. The three parts fit into the first level of cache.
const PART_VALUES: usize = 1 << 12;

/// Computes `activation(x + y)`.
///
/// # Shapes
/// All have the same shape.
///
/// # Errors
/// When the shapes differ.
pub fn add(x: &Tensor, y: &Tensor, activation: Activation) -> Result<Tensor> {
    if x.shape() != y.shape() {
        bail!("add takes equal shapes, got {:?} and {:?}", x.dims(), y.dims());
    }
    if !is_ours(x) {
        return portable::add(x, y, activation);
    }
    // Where there is to be a gradient that needs the input of the activation, the activation becomes an operator of its own.
    if (x.track_op() || y.track_op()) && activation.needs_input() {
        return activation.apply(&add(x, y, Activation::Identity)?);
    }
    x.contiguous()?.apply_op2(&y.contiguous()?, Add(activation))
}

/// As [`add`], with its backward pass, whose gradient is that of either summand.
pub(crate) fn traced_add(x: &Value, y: &Value, activation: Activation) -> Result<Traced> {
    if x.dims != y.dims {
        bail!("add takes equal shapes, got {:?} and {:?}", x.dims, y.dims);
    }
    let applied = if activation.needs_input() { Activation::Identity } else { activation };
    let z = Value::new(added(&x.values, &y.values, applied), &x.dims);
    let y = if applied == activation { z.clone() } else { activation.trace(&z).y };
    Ok(Traced { y, back: activation.way_back(z.values) })
}

/// Adds `other` to `sum`.
pub(crate) fn add_to(sum: &mut [f32], other: &[f32]) {
    let parts = sum.par_chunks_mut(PART_VALUES).zip(other.par_chunks(PART_VALUES));
    parts.run(|(sum, other)| accumulate(other, sum));
}

fn added(x: &[f32], y: &[f32], activation: Activation) -> Vec<f32> {
    let parts = x.par_chunks(PART_VALUES).zip(y.par_chunks(PART_VALUES));
    let (z, _) = fill_parts(x.len(), PART_VALUES, parts, |z, (x, y)| {
        sum(x, y, z);
        activation.apply_in_place(z);
    });
    z
}

multiversion! {
    fn accumulate(other: &[f32], sum: &mut [f32]) {
        for (sum, other) in sum.iter_mut().zip(other) {
            *sum += other;
        }
    }
}

struct Add(Activation);

multiversion! {
    /// Computes `z = x + y`.
    pub(crate) fn sum(x: &[f32], y: &[f32], z: &mut [f32]) {
        for ((z, x), y) in z.iter_mut().zip(x).zip(y) {
            *z = x + y;
        }
    }
}

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let z = added(values(x, x_layout)?, values(y, y_layout)?, self.0);
        Ok((CpuStorage::F32(z), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        z: &Tensor,
        dz: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let before = self.0.gradient(z, dz)?;
        let tracked = |t: &Tensor| t.track_op().then(|| before.clone());
        Ok((tracked(x), tracked(y)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        assert_close, assert_finite_differences, assert_same_gradients, bits_by_threads, variable,
    };
    use super::*;

    #[test]
    fn agrees_with_the_portable_form() {
        for activation in Activation::ALL {
            let (x, y) = (variable("x", &[7, 40, 31]), variable("y", &[7, 40, 31]));
            let ours = || add(x.as_tensor(), y.as_tensor(), activation);
            let oracle = || portable::add(x.as_tensor(), y.as_tensor(), activation);
            assert_same_gradients(&[&x, &y], ours, oracle, 1e-6);
            // Only one of them has a gradient, then neither, and then both are the same tensor.
            let fixed = y.detach();
            let ours = || add(x.as_tensor(), &fixed, activation);
            let oracle = || portable::add(x.as_tensor(), &fixed, activation);
            assert_same_gradients(&[&x], ours, oracle, 1e-6);
            assert_close(&add(&x.detach(), &fixed, activation).unwrap(), &oracle().unwrap(), 1e-6);
            let ours = || add(x.as_tensor(), x.as_tensor(), activation);
            let oracle = || portable::add(x.as_tensor(), x.as_tensor(), activation);
            assert_same_gradients(&[&x], ours, oracle, 1e-6);
        }
    }

    #[test]
    fn agrees_with_finite_differences() {
        for activation in [Activation::Identity, Activation::Gelu] {
            // The tensors are not contiguous.
            let (x, y) = (variable("x", &[3, 14]), variable("y", &[14, 3]));
            assert_finite_differences(&[&x, &y], || add(x.as_tensor(), &y.t()?, activation));
        }
        // No sum is nearer to the kink than the step of the finite differences.
        let x = Tensor::new(&[-1.5f32, -0.1, 0.1, 0.5, 2.9, 3.1], &candle_core::Device::Cpu);
        let x = candle_core::Var::from_tensor(&x.unwrap()).unwrap();
        for activation in [Activation::Relu, Activation::Relu6] {
            assert_finite_differences(&[&x], || add(x.as_tensor(), x.as_tensor(), activation));
        }
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let (x, y) = (variable("x", &[9, 70, 31]), variable("y", &[9, 70, 31]));
        bits_by_threads(&x, || add(x.as_tensor(), y.as_tensor(), Activation::Relu));
    }

    #[test]
    fn different_shapes_and_types_are_refused() {
        let (x, y) = (variable("x", &[3, 4]), variable("y", &[4]));
        assert!(add(x.as_tensor(), y.as_tensor(), Activation::Relu).is_err());
        let y = x.to_dtype(candle_core::DType::F64).unwrap();
        assert!(add(x.as_tensor(), &y, Activation::Relu).is_err());
        assert!(add(&y, x.as_tensor(), Activation::Relu).is_err());
        assert!(add(&y, &y, Activation::Relu).is_ok());
    }
}
