//! Values and gradients of all activations, at the ends of their ranges, and the accuracy of the approximations.

use super::loops::normal_cdf;
use super::*;
use crate::ops::testing::{assert_close, assert_finite_differences, variable};

#[test]
fn agree_with_candle_and_with_finite_differences() {
    for activation in Activation::ALL {
        let x =
            candle_core::Var::from_tensor(&(variable("x", &[40, 21]).as_tensor() * 9.0).unwrap());
        let x = x.unwrap();
        let expected = match activation {
            Activation::Identity => x.as_tensor().clone(),
            Activation::Relu => x.relu().unwrap(),
            Activation::Relu6 => x.clamp(0f32, 6f32).unwrap(),
            Activation::Gelu => x.gelu_erf().unwrap(),
            Activation::GeluTanh => x.gelu().unwrap(),
            Activation::Silu => x.silu().unwrap(),
            Activation::Sigmoid => candle_nn::ops::sigmoid(&x).unwrap(),
            _ => portable::activation(activation, &x).unwrap(),
        };
        assert_close(&activation.apply(x.as_tensor()).unwrap(), &expected, 1e-6);
        assert_finite_differences(&[&x], || activation.apply(x.as_tensor()));
    }
}

#[test]
fn gradients_at_the_ends_are_0_and_nan_is_seen() {
    let x = Tensor::new(&[0f32, 6.0, f32::NAN, 200.0, -200.0], &candle_core::Device::Cpu).unwrap();
    let x = candle_core::Var::from_tensor(&x).unwrap();
    for activation in [Activation::Relu, Activation::Relu6, Activation::Gelu] {
        let y = activation.apply(x.as_tensor()).unwrap();
        assert!(y.to_vec1::<f32>().unwrap()[2].is_nan(), "{activation:?}");
        let gradients = y.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&x).unwrap().to_vec1::<f32>().unwrap();
        match activation {
            Activation::Gelu => {
                assert_eq!((gradient[0], gradient[3]), (0.5, 1.0));
                assert!(gradient[4].abs() < 1e-30);
            }
            Activation::Relu => assert_eq!(gradient[..2], [0.0, 1.0]),
            _ => assert_eq!(gradient[..2], [0.0, 0.0]),
        }
    }
}

#[test]
fn the_exponential_and_the_distribution_are_exact_to_float() {
    for i in 0..20_000 {
        let x = i as f32 * 0.004;
        let exact = (-f64::from(x)).exp();
        assert!((f64::from(exp_negative(x)) - exact).abs() <= 3e-7 * exact, "{x}");
    }
    for (x, exact, bound) in
        [(0f32, 0.5, 2e-7), (1.0, 0.841_344_8, 3e-7), (-2.0, 0.022_750_1, 2e-7)]
    {
        let error = normal_cdf(x, exp_negative(0.5 * x * x)) - exact;
        assert!(error.abs() < bound, "{x}: {error}");
    }
}
