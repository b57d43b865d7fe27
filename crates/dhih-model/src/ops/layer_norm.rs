//! Layer normalisation: each vector of channels is brought to mean 0 and variance 1, then scaled and shifted (Ba, Kiros and Hinton, 2016).
//! candle-nn's layer norm has no gradient for contiguous inputs.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::fresh::fill_parts;
use super::multiversion::multiversion;
use super::normalize::rows_per_part;
use super::operator::{Compiled, Gradients, Operator, Sides};
use super::{Tasks, is_ours, portable, values, with_values};

/// Layer normalisation over the last dimension: `y = weight (x - mean) / sqrt(var + eps) + bias`, with mean and biased variance of each vector.
///
/// # Shapes
/// `x`: `[.., channels]`; `weight`, `bias`: `[channels]`; returns the shape of `x`.
///
/// # Errors
/// When the numbers of channels differ or are 0.
pub fn layer_norm(x: &Tensor, (weight, bias): (&Tensor, &Tensor), eps: f64) -> Result<Tensor> {
    let channels = x.dims().last().copied().unwrap_or(0);
    if channels == 0 || weight.dims() != [channels] || bias.dims() != [channels] {
        let weights = (weight.dims(), bias.dims());
        bail!("layer norm of {:?} with weights and biases {weights:?}", x.dims());
    }
    if !is_ours(x) {
        return portable::layer_norm(x, (weight, bias), eps);
    }
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Normalize { eps })
}

struct Normalize {
    eps: f64,
}

/// Layer normalisation of each pixel, as a layer of networks.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// The scale, `[channels]`.
    pub(crate) weight: Tensor,
    /// The shift, `[channels]`.
    pub(crate) bias: Tensor,
    /// Added to variances.
    pub(crate) eps: f64,
}

impl Operator for LayerNorm {
    fn output(&self, input: Sides) -> Result<Sides> {
        let channels = input[2];
        if channels == 0 || self.weight.dims() != [channels] || self.bias.dims() != [channels] {
            bail!("layer norm of {channels} channels with weights {:?}", self.weight.dims());
        }
        Ok(input)
    }

    fn weights(&self) -> Vec<&Tensor> {
        vec![&self.weight, &self.bias]
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, (&self.weight, &self.bias), self.eps)
    }

    fn compiled(&self, _: Sides) -> Result<Box<dyn Compiled>> {
        let (weight, bias) = (self.weight.to_vec1()?, self.bias.to_vec1()?);
        Ok(Box::new(Rows { weight, bias, eps: self.eps }))
    }
}

/// Scales, shifts, and the constant added to variances.
#[derive(Debug)]
struct Rows {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f64,
}

impl Compiled for Rows {
    fn run(&self, x: &[f32], _: usize, y: &mut [f32], on_all: bool) {
        let some = |y: &mut [f32], x: &[f32]| {
            normalize(x, &self.weight, &self.bias, self.eps as f32, y);
        };
        if on_all {
            let part = rows_per_part(self.weight.len()) * self.weight.len();
            y.par_chunks_mut(part).zip(x.par_chunks(part)).run(|(y, x)| some(y, x));
        } else {
            some(y, x);
        }
    }

    fn back(&self, x: &[f32], _: usize, dy: &[f32], _: bool) -> Gradients {
        let [dx, weight, bias] = Normalize { eps: self.eps }.gradients(x, &self.weight, dy);
        Gradients { dx: Some(dx), weights: vec![weight, bias] }
    }
}

/// Sums are computed in this number of lanes, in a fixed order, which the compiler turns into vector instructions.
const LANES: usize = 16;

#[inline(always)]
fn sum(values: impl Iterator<Item = f32>) -> f32 {
    let mut sums = [0f32; LANES];
    for (i, value) in values.enumerate() {
        sums[i % LANES] += value;
    }
    sums.iter().sum()
}

/// The sum of `f` of each value of `x`, in the order of [`sum`].
#[inline(always)]
fn sum_of(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for values in whole {
        for i in 0..LANES {
            sums[i] += f(values[i]);
        }
    }
    rest.iter().zip(&mut sums).for_each(|(x, sum)| *sum += f(*x));
    sums.iter().sum()
}

/// The mean of a vector, and 1 / its standard deviation.
#[inline(always)]
fn statistics(x: &[f32], eps: f32) -> (f32, f32) {
    let mean = sum_of(x, |x| x) / x.len() as f32;
    let var = sum_of(x, |x| (x - mean) * (x - mean)) / x.len() as f32;
    (mean, 1.0 / (var + eps).sqrt())
}

multiversion! {
    fn normalize(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
        let channels = weight.len();
        let bias = &bias[..channels];
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            let (mean, rstd) = statistics(x, eps);
            for i in 0..channels {
                y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
            }
        }
    }
}

multiversion! {
    /// Writes the gradients of `x` and adds those of scales and shifts.
    fn turn_back(
        inputs: (&[f32], &[f32], &[f32]),
        eps: f32,
        dx: &mut [f32],
        d_weight: &mut [f32],
        d_bias: &mut [f32],
    ) {
        let (x, weight, dy) = inputs;
        let channels = weight.len();
        let (d_weight, d_bias) = (&mut d_weight[..channels], &mut d_bias[..channels]);
        let rows = x.chunks_exact(channels).zip(dy.chunks_exact(channels));
        for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(channels)) {
            let (mean, rstd) = statistics(x, eps);
            let g = || dy.iter().zip(weight).map(|(dy, weight)| dy * weight);
            let mean_g = sum(g()) / channels as f32;
            let along = sum(g().zip(x).map(|(g, x)| g * (x - mean) * rstd)) / channels as f32;
            for i in 0..channels {
                let normalised = (x[i] - mean) * rstd;
                dx[i] = rstd * (dy[i] * weight[i] - mean_g - normalised * along);
                d_weight[i] += dy[i] * normalised;
                d_bias[i] += dy[i];
            }
        }
    }
}

impl Normalize {
    /// The gradients of x, of scales and of shifts.
    fn gradients(&self, x: &[f32], weight: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
        let channels = weight.len();
        let part = rows_per_part(channels) * channels;
        let inputs = x.par_chunks(part).zip(dy.par_chunks(part));
        let (dx, sums) = fill_parts(x.len(), part, inputs, |dx, (x, dy)| {
            let mut sums = (vec![0f32; channels], vec![0f32; channels]);
            turn_back((x, weight, dy), self.eps as f32, dx, &mut sums.0, &mut sums.1);
            sums
        });
        let mut total = (vec![0f64; channels], vec![0f64; channels]);
        for part in sums {
            total.0.iter_mut().zip(part.0).for_each(|(total, part)| *total += f64::from(part));
            total.1.iter_mut().zip(part.1).for_each(|(total, part)| *total += f64::from(part));
        }
        let single = |total: Vec<f64>| total.into_iter().map(|sum| sum as f32).collect();
        [dx, single(total.0), single(total.1)]
    }
}

impl CustomOp3 for Normalize {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = values(x, x_layout)?;
        let (weight, bias) = (values(weight, weight_layout)?, values(bias, bias_layout)?);
        let part = rows_per_part(weight.len()) * weight.len();
        let (y, _) = fill_parts(x.len(), part, x.par_chunks(part), |y, x| {
            normalize(x, weight, bias, self.eps as f32, y);
        });
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, d_weight, d_bias] = with_values(x, |x| {
            with_values(weight, |weight| with_values(dy, |dy| Ok(self.gradients(x, weight, dy))))
        })?;
        let like = |values, tensor: &Tensor| {
            Tensor::from_vec(values, tensor.shape(), tensor.device()).map(Some)
        };
        Ok((like(dx, x)?, like(d_weight, weight)?, like(d_bias, bias)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        assert_finite_differences, assert_same_gradients, bits_by_threads, variable,
    };
    use super::*;
    use candle_core::{Device, Var};

    fn case(dims: &[usize]) -> [Var; 3] {
        let channels = dims.last().copied().unwrap();
        [variable("x", dims), variable("w", &[channels]), variable("b", &[channels])]
    }

    #[test]
    fn agrees_with_the_portable_form_and_with_finite_differences() {
        // The shapes have one row, full lanes and incomplete ones, and several parts.
        for dims in [&[1usize, 7][..], &[2, 3, 64], &[2, 1, 5, 33], &[300, 384]] {
            let [x, w, b] = &case(dims);
            let weights = (w.as_tensor(), b.as_tensor());
            let ours = || layer_norm(x.as_tensor(), weights, 1e-6);
            let oracle = || portable::layer_norm(x.as_tensor(), weights, 1e-6);
            assert_same_gradients(&[x, w, b], ours, oracle, 1e-4);
        }
        let [x, w, b] = &case(&[3, 6]);
        assert_finite_differences(&[x, w, b], || {
            layer_norm(x.as_tensor(), (w.as_tensor(), b.as_tensor()), 1e-5)
        });
    }

    #[test]
    fn rows_have_mean_0_and_variance_1_and_constant_ones_are_the_bias() {
        let values = [[1e4f32, 1e4 + 1.0, 1e4 + 2.0, 1e4 + 3.0], [5.0; 4]];
        let x = Tensor::new(&values, &Device::Cpu).unwrap();
        let (one, half) = (Tensor::ones(4, x.dtype(), x.device()).unwrap(), 0.5);
        let bias = (&one * half).unwrap();
        let y = layer_norm(&x, (&one, &bias), 1e-12).unwrap().to_vec2::<f32>().unwrap();
        let expected = [-1.341_640_8, -0.447_213_6, 0.447_213_6, 1.341_640_8];
        for (y, expected) in y[0].iter().zip(expected) {
            assert!((y - half as f32 - expected).abs() < 1e-3, "{y}");
        }
        assert_eq!(y[1], [0.5; 4]);
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let [x, w, b] = case(&[500, 96]);
        let (input, weights) =
            (x.as_tensor().clone(), (w.as_tensor().clone(), b.as_tensor().clone()));
        bits_by_threads(&x, move || layer_norm(&input, (&weights.0, &weights.1), 1e-6));
    }

    #[test]
    fn other_channels_are_refused() {
        let [x, w, _] = case(&[3, 6]);
        let other = variable("other", &[5]);
        let refused = layer_norm(x.as_tensor(), (w.as_tensor(), other.as_tensor()), 1e-6);
        assert!(refused.unwrap_err().to_string().contains("[5]"));
    }
}
