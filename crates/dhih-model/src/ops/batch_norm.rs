//! Batch normalisation fused with the activation behind it, over the last dimension, forward and backward in two passes
//! over memory each.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, D, Layout, ModuleT, Result, Shape, Tensor, Var, bail};
use candle_nn::{Init, VarBuilder};
use rayon::prelude::*;

use super::moments::{Moments, rows_per_part};
use super::{portable, values, with_values};

/// What follows the normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`, with gradient 0 at 0.
    Relu,
    /// `min(max(x, 0), 6)`, with gradient 0 at 0 and 6.
    Relu6,
    /// `x` times the normal distribution function at `x`, exactly (Hendrycks and Gimpel, 2016).
    Gelu,
}

impl Activation {
    /// The activation of a tensor of any shape.
    ///
    /// # Errors
    /// Those of candle.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        portable::activation(self, x)
    }
}

/// A batch-norm layer with its activation.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    pub(crate) running_mean: Var,
    pub(crate) running_var: Var,
    pub(crate) activation: Activation,
}

impl BatchNorm {
    /// Added to the variance.
    pub(super) const EPS: f64 = 1e-5;
    /// Share of the new batch in the running statistics.
    const MOMENTUM: f64 = 0.1;

    /// Names `weight`, `bias`, `running_mean` and `running_var`, each `[channels]`, under `vb`.
    ///
    /// # Errors
    /// Those of the variable store.
    pub fn new(channels: usize, activation: Activation, vb: VarBuilder<'_>) -> Result<Self> {
        let get = |name, value| vb.get_with_hints(channels, name, Init::Const(value));
        Ok(Self {
            weight: get("weight", 1.0)?,
            bias: get("bias", 0.0)?,
            running_mean: Var::from_tensor(&get("running_mean", 0.0)?)?,
            running_var: Var::from_tensor(&get("running_var", 1.0)?)?,
            activation,
        })
    }

    pub(super) fn activation(&self) -> Activation {
        self.activation
    }

    /// Weight and bias as one tensor, `[2, channels]`.
    pub(super) fn affine(&self) -> Result<Tensor> {
        Tensor::stack(&[&self.weight, &self.bias], 0)
    }

    pub(super) fn running_moments(&self) -> Result<Moments> {
        let values = |var: &Var| var.as_tensor().to_vec1::<f32>();
        Ok(Moments { mean: values(&self.running_mean)?, var: values(&self.running_var)? })
    }

    /// Moves the running statistics towards those of a batch of `rows` values a channel.
    pub(super) fn update(&self, rows: usize, mean: &Tensor, var: &Tensor) -> Result<()> {
        let unbiased = rows as f64 / (rows as f64 - 1.0).max(1.0);
        let pairs = [(&self.running_mean, mean, 1.0), (&self.running_var, var, unbiased)];
        for (running, batch, factor) in pairs {
            let old = (running.as_tensor().detach() * (1.0 - Self::MOMENTUM))?;
            running.set(&(old + (batch.detach() * (Self::MOMENTUM * factor))?)?)?;
        }
        Ok(())
    }
}

impl ModuleT for BatchNorm {
    /// # Shapes
    /// `[.., channels]`, the same out. In training the running statistics move towards the batch's.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        if !train {
            let std = (self.running_var.as_tensor().detach() + Self::EPS)?.sqrt()?;
            let scale = (&self.weight / std)?;
            let shift = (&self.bias - (self.running_mean.as_tensor().detach() * &scale)?)?;
            return self.activation.apply(&x.broadcast_mul(&scale)?.broadcast_add(&shift)?);
        }
        let weights = (&self.weight, &self.bias);
        let (y, mean, var) = batch_norm(x, weights, Self::EPS, self.activation)?;
        self.update(x.elem_count() / x.dim(D::Minus1)?.max(1), &mean, &var)?;
        Ok(y)
    }
}

/// `activation(weight (x - mean) / sqrt(var + eps) + bias)` with the batch's own statistics (Ioffe and Szegedy, 2015).
///
/// # Shapes
/// `x`: `[.., c]`; `weight`, `bias`: `[c]`. Returns y like `x`, then the mean and the biased variance, `[c]`.
///
/// # Errors
/// When the shapes differ, or there is just one value a channel: its variance is not defined.
pub fn batch_norm(
    x: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    eps: f64,
    activation: Activation,
) -> Result<(Tensor, Tensor, Tensor)> {
    let channels = x.dim(D::Minus1)?;
    if weight.dims() != [channels] || bias.dims() != [channels] {
        bail!("batch_norm of {channels} channels with weights for {:?}", weight.dims());
    }
    if x.elem_count() <= channels {
        bail!("batch norm needs more than one value a channel, got {:?}", x.dims());
    }
    if activation == Activation::Gelu {
        // Its gradient is no function of its value, from which the fused operator goes back.
        let (y, mean, var) = batch_norm(x, (weight, bias), eps, Activation::Identity)?;
        return Ok((activation.apply(&y)?, mean, var));
    }
    if !x.device().is_cpu() {
        return portable::batch_norm(x, (weight, bias), eps, activation);
    }
    let moments = Arc::new(Mutex::new(Moments::default()));
    let op = Normalize { eps: eps as f32, activation, moments: Arc::clone(&moments) };
    let y = x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)?;
    let moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
    let mean = Tensor::from_slice(&moments.mean, channels, x.device())?;
    let var = Tensor::from_slice(&moments.var, channels, x.device())?;
    Ok((y, mean, var))
}

struct Normalize {
    eps: f32,
    activation: Activation,
    /// Of the one call this operator serves.
    moments: Arc<Mutex<Moments>>,
}

impl Normalize {
    fn reciprocal_std(&self, moments: &Moments) -> Vec<f32> {
        moments.var.iter().map(|var| 1.0 / (var + self.eps).sqrt()).collect()
    }

    /// Sums over rows of `g` and `g (x - mean)`, where `g` is the gradient before the activation.
    fn sums(&self, x: &[f32], y: &[f32], dy: &[f32], mean: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let channels = mean.len();
        let step = rows_per_part(channels) * channels;
        let part = |((x, y), dy): ((&[f32], &[f32]), &[f32])| {
            let mut sums = (vec![0f32; channels], vec![0f32; channels]);
            let rows = x.chunks_exact(channels).zip(y.chunks_exact(channels));
            for ((x, y), dy) in rows.zip(dy.chunks_exact(channels)) {
                for c in 0..channels {
                    let g = self.activation.gradient(y[c], dy[c]);
                    sums.0[c] += g;
                    sums.1[c] += g * (x[c] - mean[c]);
                }
            }
            sums
        };
        let parts = x.par_chunks(step).zip(y.par_chunks(step)).zip(dy.par_chunks(step));
        let parts: Vec<_> = parts.map(part).collect();
        let mut total = (vec![0f64; channels], vec![0f64; channels]);
        for part in parts {
            for c in 0..channels {
                total.0[c] += f64::from(part.0[c]);
                total.1[c] += f64::from(part.1[c]);
            }
        }
        total
    }

    /// The three gradients, of x, weight and bias.
    fn gradients(&self, x: &[f32], weight: &[f32], y: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
        let moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (channels, rstd) = (weight.len(), self.reciprocal_std(&moments));
        let (bias_sum, weight_sum) = self.sums(x, y, dy, &moments.mean);
        let count = (x.len() / channels) as f64;
        let scale: Vec<f32> = weight.iter().zip(&rstd).map(|(w, r)| w * r).collect();
        let mean_g: Vec<f32> = bias_sum.iter().map(|s| (s / count) as f32).collect();
        let slope = weight_sum.iter().zip(&rstd);
        let slope: Vec<f32> = slope.map(|(s, r)| (s / count) as f32 * r * r).collect();
        let mut dx = vec![0f32; x.len()];
        let step = rows_per_part(channels) * channels;
        let inputs = x.par_chunks(step).zip(y.par_chunks(step)).zip(dy.par_chunks(step));
        dx.par_chunks_mut(step).zip(inputs).for_each(|(dx, ((x, y), dy))| {
            let rows = x.chunks_exact(channels).zip(y.chunks_exact(channels));
            let rows = rows.zip(dy.chunks_exact(channels));
            for (dx, ((x, y), dy)) in dx.chunks_exact_mut(channels).zip(rows) {
                for c in 0..channels {
                    let g = self.activation.gradient(y[c], dy[c]);
                    let centred = x[c] - moments.mean[c];
                    dx[c] = scale[c] * (g - mean_g[c] - centred * slope[c]);
                }
            }
        });
        let dw = weight_sum.iter().zip(&rstd).map(|(s, r)| *s as f32 * r).collect();
        [dx, dw, bias_sum.iter().map(|s| *s as f32).collect()]
    }
}

impl Activation {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        match self {
            // NaN passes, unlike with `f32::max`.
            Self::Relu | Self::Relu6 if x < 0.0 => 0.0,
            Self::Relu6 if x > 6.0 => 6.0,
            Self::Identity | Self::Relu | Self::Relu6 | Self::Gelu => x,
        }
    }

    /// The gradient before the activation, from the value and the gradient behind it.
    #[inline(always)]
    fn gradient(self, y: f32, dy: f32) -> f32 {
        match self {
            Self::Relu | Self::Relu6 if y <= 0.0 => 0.0,
            Self::Relu6 if y >= 6.0 => 0.0,
            _ => dy,
        }
    }
}

impl CustomOp3 for Normalize {
    fn name(&self) -> &'static str {
        "batch_norm"
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
        let channels = weight.len();
        let moments = Moments::measure(x, channels);
        let rstd = self.reciprocal_std(&moments);
        let scale: Vec<f32> = weight.iter().zip(&rstd).map(|(w, r)| w * r).collect();
        let shift = bias.iter().zip(&scale).zip(&moments.mean);
        let shift: Vec<f32> = shift.map(|((b, s), m)| b - s * m).collect();
        let mut y = vec![0f32; x.len()];
        let step = rows_per_part(channels) * channels;
        y.par_chunks_mut(step).zip(x.par_chunks(step)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for c in 0..channels {
                    y[c] = self.activation.value(x[c] * scale[c] + shift[c]);
                }
            }
        });
        *self.moments.lock().unwrap_or_else(PoisonError::into_inner) = moments;
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = with_values(x, |x| {
            with_values(weight, |weight| {
                with_values(y, |y| with_values(dy, |dy| Ok(self.gradients(x, weight, y, dy))))
            })
        })?;
        let [dx, dw, db] = gradients;
        let like = |values, tensor: &Tensor| {
            Tensor::from_vec(values, tensor.shape(), tensor.device()).map(Some)
        };
        Ok((like(dx, x)?, like(dw, weight)?, like(db, bias)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        assert_close, assert_finite_differences, assert_same_gradients, variable,
    };
    use super::*;
    use crate::init::Parameters;
    use candle_core::{DType, Device};

    #[test]
    fn agrees_with_the_portable_form() {
        for (dims, activation) in [
            (vec![4, 5, 6, 3], Activation::Relu),
            (vec![4, 5, 6, 3], Activation::Identity),
            // Large: several parts. Without ReLU, whose gradient jumps where rounding moves a value over 0.
            (vec![9, 80, 90, 16], Activation::Identity),
            (vec![2, 7], Activation::Relu),
            (vec![4, 5, 6, 3], Activation::Relu6),
            (vec![4, 5, 6, 3], Activation::Gelu),
        ] {
            let channels = dims[dims.len() - 1];
            let (x, w) = (variable("x", &dims), variable("w", &[channels]));
            let b = variable("b", &[channels]);
            let weights = (w.as_tensor(), b.as_tensor());
            let ours = || Ok(batch_norm(x.as_tensor(), weights, 1e-5, activation)?.0);
            let oracle = || Ok(portable::batch_norm(x.as_tensor(), weights, 1e-5, activation)?.0);
            assert_same_gradients(&[&x, &w, &b], ours, oracle, 2e-4);
        }
    }

    #[test]
    fn agrees_with_finite_differences() {
        let (x, w, b) = (variable("x", &[3, 4, 2]), variable("w", &[2]), variable("b", &[2]));
        assert_finite_differences(&[&x, &w, &b], || {
            let weights = (w.as_tensor(), b.as_tensor());
            Ok(batch_norm(x.as_tensor(), weights, 1e-5, Activation::Identity)?.0)
        });
    }

    #[test]
    fn a_large_mean_does_not_spoil_the_variance() {
        let x = (variable("x", &[64, 8, 8, 4]).as_tensor() + 3000.0).unwrap();
        let one = Tensor::ones(4, DType::F32, &Device::Cpu).unwrap();
        let zero = one.zeros_like().unwrap();
        let (_, _, var) = batch_norm(&x, (&one, &zero), 1e-5, Activation::Identity).unwrap();
        let exact = x.to_dtype(DType::F64).unwrap().reshape(((), 4)).unwrap();
        let exact = exact.broadcast_sub(&exact.mean(0).unwrap()).unwrap();
        let exact = exact.sqr().unwrap().mean(0).unwrap().to_dtype(DType::F32).unwrap();
        assert_close(&var, &exact, 1e-3);
    }

    #[test]
    fn running_statistics_approach_the_data_and_serve_evaluation() {
        let parameters = Parameters::seeded(0);
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        let norm = BatchNorm::new(3, Activation::Relu, vb).unwrap();
        let x = ((variable("x", &[50, 3]).as_tensor() * 2.0).unwrap() + 5.0).unwrap();
        let mut trained = None;
        for _ in 0..200 {
            trained = Some(norm.forward_t(&x, true).unwrap());
        }
        // The running variance is unbiased, the batch's is not: 49/50 apart.
        assert_close(&norm.forward_t(&x, false).unwrap(), &trained.unwrap(), 2e-2);
    }

    #[test]
    fn one_value_a_channel_and_wrong_weights_are_refused() {
        let (x, w) = (variable("x", &[1, 3]), variable("w", &[3]));
        let refused = |x: &Tensor, w: &Tensor| {
            batch_norm(x, (w, w), 1e-5, Activation::Relu).unwrap_err().to_string()
        };
        assert!(refused(x.as_tensor(), w.as_tensor()).contains("more than one value"));
        let x = variable("x", &[4, 5]);
        assert!(refused(x.as_tensor(), w.as_tensor()).contains("5 channels"));
    }
}
