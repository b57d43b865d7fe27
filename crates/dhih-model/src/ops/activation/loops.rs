//! The loops of the activation functions and of their gradients, and the approximations of exponential and error function that they use.

use crate::ops::multiversion::multiversion;

multiversion! {
    pub(super) fn clamp(values: &mut [f32], low: f32, high: f32) {
        for value in values {
            // Unlike `f32::max`, this passes NaN on.
            let x = if *value < low { low } else { *value };
            *value = if x > high { high } else { x };
        }
    }
}

multiversion! {
    pub(super) fn keep_inside(y: &[f32], gradient: &mut [f32], high: f32) {
        for (gradient, y) in gradient.iter_mut().zip(y) {
            *gradient = if *y <= 0.0 || *y >= high { 0.0 } else { *gradient };
        }
    }
}

multiversion! {
    pub(super) fn gelu(values: &mut [f32]) {
        for value in values {
            *value *= normal_cdf(*value, exp_negative(0.5 * *value * *value));
        }
    }
}

multiversion! {
    pub(super) fn gelu_gradient(x: &[f32], gradient: &mut [f32]) {
        const DENSITY_AT_0: f32 = 0.398_942_3;
        for (gradient, x) in gradient.iter_mut().zip(x) {
            let bell = exp_negative(0.5 * x * x);
            *gradient *= normal_cdf(*x, bell) + x * DENSITY_AT_0 * bell;
        }
    }
}

/// The factor of [`Activation::QuickGelu`].
pub(super) const QUICK: f32 = 1.702;

/// `1 / (1 + e^-x)`, with an error of up to 2e-7.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let tail = exp_negative(x.abs());
    let above = 1.0 / (1.0 + tail);
    if x < 0.0 { tail * above } else { above }
}

multiversion! {
    pub(super) fn swish(values: &mut [f32], factor: f32) {
        for value in values {
            *value *= sigmoid(factor * *value);
        }
    }
}

multiversion! {
    pub(super) fn swish_gradient(x: &[f32], gradient: &mut [f32], factor: f32) {
        for (gradient, x) in gradient.iter_mut().zip(x) {
            let s = sigmoid(factor * x);
            *gradient *= s + factor * x * s * (1.0 - s);
        }
    }
}

/// The argument of the sigmoid in [`Activation::GeluTanh`], and its derivative.
#[inline(always)]
fn tanh_inner(x: f32) -> (f32, f32) {
    /// `2 sqrt(2 / pi)`.
    const SCALE: f32 = 1.595_769_2;
    const CUBIC: f32 = 0.044_715;
    let square = x * x;
    (SCALE * x * (1.0 + CUBIC * square), SCALE * (1.0 + 3.0 * CUBIC * square))
}

multiversion! {
    pub(super) fn gelu_tanh(values: &mut [f32]) {
        for value in values {
            *value *= sigmoid(tanh_inner(*value).0);
        }
    }
}

multiversion! {
    pub(super) fn gelu_tanh_gradient(x: &[f32], gradient: &mut [f32]) {
        for (gradient, x) in gradient.iter_mut().zip(x) {
            let (inner, slope) = tanh_inner(*x);
            let s = sigmoid(inner);
            *gradient *= s + x * s * (1.0 - s) * slope;
        }
    }
}

multiversion! {
    pub(super) fn logistic(values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = sigmoid(*value));
    }
}

multiversion! {
    pub(super) fn logistic_gradient(x: &[f32], gradient: &mut [f32]) {
        for (gradient, x) in gradient.iter_mut().zip(x) {
            let s = sigmoid(*x);
            *gradient *= s * (1.0 - s);
        }
    }
}

/// `min(max(x + 3, 0), 6) / 6`. It passes NaN on.
#[inline(always)]
fn ramp(x: f32) -> f32 {
    let x = if x < -3.0 { -3.0 } else { x };
    let x = if x > 3.0 { 3.0 } else { x };
    (x + 3.0) / 6.0
}

multiversion! {
    pub(super) fn hard_swish(values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value *= ramp(*value));
    }
}

multiversion! {
    pub(super) fn hard_swish_gradient(x: &[f32], gradient: &mut [f32]) {
        for (gradient, x) in gradient.iter_mut().zip(x) {
            let slope = if *x > -3.0 && *x < 3.0 { x / 6.0 } else { 0.0 };
            *gradient *= ramp(*x) + slope;
        }
    }
}

multiversion! {
    pub(super) fn hard_sigmoid(values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = ramp(*value));
    }
}

multiversion! {
    pub(super) fn hard_sigmoid_gradient(x: &[f32], gradient: &mut [f32]) {
        for (gradient, x) in gradient.iter_mut().zip(x) {
            *gradient = if *x > -3.0 && *x < 3.0 { *gradient / 6.0 } else { 0.0 };
        }
    }
}

/// The standard normal distribution function at `x`, where `bell` is `e^(-x^2/2)`, with an error of up to 2e-7 and without branches. It uses
/// Hastings' rational approximation with five terms (Abramowitz and Stegun, 1964, formula 7.1.26).
#[inline(always)]
pub(super) fn normal_cdf(x: f32, bell: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let poly = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_8) * t - 0.284_496_74) * t
        + 0.254_829_6)
        * t;
    let tail = 0.5 * poly * bell;
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// `e^-x` for `x >= 0`, with an error of up to 2e-7 and without branches: a power of two times a polynomial.
#[inline(always)]
pub(in crate::ops) fn exp_negative(x: f32) -> f32 {
    const TWO_TO_23: f32 = 8_388_608.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // The comparison is false for NaN, which thereby passes.
    let x = if x > 87.0 { 87.0 } else { x };
    let n = (x * std::f32::consts::LOG2_E + 0.5).floor();
    let r = (n * LN_2_HIGH - x) + n * LN_2_LOW;
    let p = ((((1.987_569_1e-4 * r + 1.398_2e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r
        + 0.166_666_66)
        * r
        + 0.5;
    // The lowest bits of this sum are the integer. A conversion with `as` would not be vectorised.
    let power = f32::from_bits((127.0 - n + TWO_TO_23).to_bits() << 23);
    (p * r * r + r + 1.0) * power
}
