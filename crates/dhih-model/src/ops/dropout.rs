//! Dropout whose mask follows from a seed, so that the backward pass needs nothing from the forward pass.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::mask::Mask;
use super::{Back, Traced, Value, is_ours, portable, values, with_values};

/// Sets each value to 0 with probability `p`, and divides the other values by `1 - p` (Srivastava et al., 2014).
///
/// The mask is the same on every device: value `i` is dropped where draw number `i mod 8192` of stream `i div 8192` of ChaCha8 with seed `seed`
/// is below `p 2^32`.
///
/// # Errors
/// When `p` is not in 0..1.
pub fn dropout(x: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    if !is_ours(x) {
        return portable::dropout(x, p, seed);
    }
    x.contiguous()?.apply_op1(Mask::new(p, seed)?)
}

/// As [`dropout`], with its backward pass.
pub(crate) fn traced_dropout(x: &Value, p: f64, seed: u64) -> Result<Traced> {
    let mask = Mask::new(p, seed)?;
    let y = Value::new(mask.apply(&x.values), &x.dims);
    Ok(Traced { y, back: Box::new(mask) })
}

impl Back for Mask {
    fn back(&self, dy: Vec<f32>, _: bool, _: &mut GradStore) -> Result<Option<Vec<f32>>> {
        Ok(Some(self.apply(&dy)))
    }
}

impl CustomOp1 for Mask {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.apply(values(x, layout)?)), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_values(dy, |dy| Ok(self.apply(dy)))?;
        Ok(Some(Tensor::from_vec(dx, dy.shape(), dy.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        assert_finite_differences, assert_same_gradients, bits_by_threads, variable,
    };
    use super::*;
    use candle_core::{DType, Device};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn dropped(x: &Tensor, p: f64, seed: u64) -> Vec<f32> {
        let y = dropout(x, p, seed).unwrap();
        y.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_mask_is_as_documented() {
        let x = Tensor::ones((3, 7000), DType::F32, &Device::Cpu).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut expected = Vec::new();
        for part in 0..3 {
            rng.set_stream(part);
            rng.set_word_pos(0);
            let draws = (0..8192).map(|_| f64::from(rng.random::<u32>()) < 0.3 * 2f64.powi(32));
            expected.extend(draws.map(|drop| if drop { 0.0 } else { (1.0 / 0.7) as f32 }));
        }
        assert_eq!(dropped(&x, 0.3, 5), expected[..21_000]);
    }

    #[test]
    fn it_keeps_the_mean_and_its_mask_is_the_seed_s() {
        let x = Tensor::ones((200, 500), DType::F32, &Device::Cpu).unwrap();
        for p in [0.0, 0.25, 0.5, 0.9] {
            let y = dropped(&x, p, 1);
            let kept = (1.0 / (1.0 - p)) as f32;
            assert!(y.iter().all(|y| *y == 0.0 || *y == kept));
            let mean = y.iter().sum::<f32>() / y.len() as f32;
            assert!((mean - 1.0).abs() < 0.03, "{p}: {mean}");
            assert_eq!(y, dropped(&x, p, 1));
            assert_eq!(y == dropped(&x, p, 2), p == 0.0);
        }
        let nan = Tensor::full(f32::NAN, 100, &Device::Cpu).unwrap();
        assert!(dropped(&nan, 0.5, 1).iter().all(|y| y.is_nan()));
    }

    #[test]
    fn agrees_with_the_portable_form_and_with_finite_differences() {
        let x = variable("x", &[2, 9001]);
        let ours = || dropout(x.as_tensor(), 0.5, 3);
        assert_same_gradients(&[&x], ours, || portable::dropout(x.as_tensor(), 0.5, 3), 0.0);
        assert_finite_differences(&[&x], ours);
        // The tensor is not contiguous.
        assert_finite_differences(&[&x], || dropout(&x.t()?, 0.5, 3));
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let x = variable("x", &[5, 9001]);
        bits_by_threads(&x, || dropout(x.as_tensor(), 0.5, 3));
    }

    #[test]
    fn other_types_draw_the_same_mask() {
        let x = variable("x", &[10, 20]);
        let y = dropout(&x.to_dtype(DType::F64).unwrap(), 0.5, 3).unwrap();
        let zeros = |y: Vec<f32>| y.iter().map(|y| *y == 0.0).collect::<Vec<_>>();
        let y = y.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(zeros(y), zeros(dropped(x.as_tensor(), 0.5, 3)));
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        let x = variable("x", &[4]);
        for p in [-0.1, 1.0, f64::NAN] {
            assert!(dropout(x.as_tensor(), p, 0).is_err(), "{p}");
        }
    }
}
