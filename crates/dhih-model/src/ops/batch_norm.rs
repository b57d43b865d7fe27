//! Batch normalisation over the last dimension, fused with the activation behind it. Forward and backward pass take two passes over memory each.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor, Var, bail};
use candle_nn::{Init, VarBuilder};
use rayon::prelude::*;

use super::engine::{Back, Traced, Value, add_gradient};
use super::fresh::fill_parts;
use super::moments::Moments;
use super::normalize::{Affine, Slopes, rows_per_part};
use super::{Activation, is_ours, portable, values, with_values};

/// A batch-norm layer with its activation.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    pub(crate) running_mean: Var,
    pub(crate) running_var: Var,
    /// Added to variances.
    pub(crate) eps: f64,
    pub(crate) activation: Activation,
}

impl BatchNorm {
    /// The usual constant that is added to variances.
    pub(super) const EPS: f64 = 1e-5;
    /// The usual weight of a new batch in the running statistics.
    pub const MOMENTUM: f64 = 0.1;

    /// Builds the layer. The parameters `weight`, `bias`, `running_mean` and `running_var` are `[channels]` each.
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
            eps: Self::EPS,
            activation,
        })
    }

    /// The same layer with another constant added to variances.
    pub(crate) fn with_eps(self, eps: f64) -> Self {
        Self { eps, ..self }
    }

    /// The scale and the shift of each channel, `[channels]` each, that have the effect of the layer in evaluation.
    pub(crate) fn scale_and_shift(&self) -> Result<(Tensor, Tensor)> {
        let std = (self.running_var.as_tensor().detach() + self.eps)?.sqrt()?;
        let scale = (&self.weight / std)?;
        let shift = (&self.bias - (self.running_mean.as_tensor().detach() * &scale)?)?;
        Ok((scale, shift))
    }

    /// A layer that computes the same in evaluation with changed tensors, such as those of another number format. Running statistics may be out
    /// of the range of such a format or too fine for it, while scale and shift, which follow from them, are not. Therefore the statistics become
    /// 0 and 1, and scale and shift become weight and bias.
    pub(crate) fn map(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let (scale, shift) = self.scale_and_shift()?;
        let zeros = change(&scale.zeros_like()?)?;
        Ok(Self {
            weight: change(&scale)?,
            bias: change(&shift)?,
            running_mean: Var::from_tensor(&zeros)?,
            running_var: Var::from_tensor(&zeros.ones_like()?)?,
            eps: 0.0,
            activation: self.activation,
        })
    }

    /// The weight `[out, ..]` and bias of a linear operator that computes what a linear operator with the given weight and bias, followed by
    /// this layer, does in evaluation, without the activation.
    pub(crate) fn folded(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let (scale, shift) = self.scale_and_shift()?;
        let mut rows = vec![1; weight.rank()];
        rows[0] = scale.elem_count();
        let weight = weight.broadcast_mul(&scale.reshape(rows)?)?;
        let bias = match bias {
            Some(bias) => (shift + (bias * &scale)?)?,
            None => shift,
        };
        Ok((weight, bias))
    }

    /// Weight and bias as one tensor, `[2, channels]`.
    pub(super) fn affine(&self) -> Result<Tensor> {
        Tensor::stack(&[&self.weight, &self.bias], 0)
    }

    /// Updates the running statistics with those of a batch of `rows` values for each channel. `momentum` is the weight of the batch.
    pub(super) fn update(&self, rows: usize, batch: BatchMoments<'_>, momentum: f64) -> Result<()> {
        let BatchMoments { mean, var } = batch;
        let unbiased = rows as f64 / (rows as f64 - 1.0).max(1.0);
        let pairs = [(&self.running_mean, mean, 1.0), (&self.running_var, var, unbiased)];
        for (running, batch, factor) in pairs {
            let old = (running.as_tensor().detach() * (1.0 - momentum))?;
            running.set(&(old + (batch.detach() * (momentum * factor))?)?)?;
        }
        Ok(())
    }

    /// As [`Self::forward`] in training, with its backward pass.
    pub(crate) fn trace(&self, x: &Value, momentum: f64) -> Result<Traced> {
        let channels = self.weight.elem_count();
        if x.dims.last() != Some(&channels) || x.values.len() <= channels {
            bail!("batch norm of {channels} channels on {:?}", x.dims);
        }
        let affine = self.affine_values()?;
        let moments = Moments::measure(&x.values, channels);
        let y = Affine::new(&moments, &affine, self.eps).activated(self.activation, &x.values);
        self.update_by(&moments, x.values.len() / channels, momentum)?;
        let back = Normalized { norm: self.clone(), x: x.clone(), moments, affine };
        Ok(Traced { y: Value::new(y, &x.dims), back: Box::new(back) })
    }

    /// Weights, followed by biases.
    pub(super) fn affine_values(&self) -> Result<Vec<f32>> {
        Ok([self.weight.to_vec1::<f32>()?, self.bias.to_vec1()?].concat())
    }

    /// As [`Self::update`].
    pub(super) fn update_by(&self, moments: &Moments, rows: usize, momentum: f64) -> Result<()> {
        let tensor =
            |values: &[f32]| Tensor::from_slice(values, values.len(), self.weight.device());
        let (mean, var) = (tensor(&moments.mean)?, tensor(&moments.var)?);
        self.update(rows, BatchMoments { mean: &mean, var: &var }, momentum)
    }

    /// Adds the gradients of weights and biases, which follow each other in `affine`, to those in `to`.
    pub(super) fn add_gradients(&self, mut affine: Vec<f32>, to: &mut GradStore) -> Result<()> {
        let biases = affine.split_off(affine.len() / 2);
        add_gradient(to, &self.weight, affine)?;
        add_gradient(to, &self.bias, biases)
    }

    /// Normalises with the running statistics where `momentum` is `None`. Otherwise it normalises with the statistics of the batch and updates
    /// the running ones: `(1 - momentum) running + momentum batch`.
    ///
    /// # Shapes
    /// `x`: `[.., channels]`; returns the same shape.
    ///
    /// # Errors
    /// When the number of channels is another, or in training there is one value only for each channel.
    pub fn forward(&self, x: &Tensor, momentum: Option<f64>) -> Result<Tensor> {
        let Some(momentum) = momentum else {
            let (scale, shift) = self.scale_and_shift()?;
            return self.activation.apply(&x.broadcast_mul(&scale)?.broadcast_add(&shift)?);
        };
        let weights = (&self.weight, &self.bias);
        let (y, mean, var) = batch_norm(x, weights, self.eps, self.activation)?;
        let rows = x.elem_count() / x.dim(D::Minus1)?.max(1);
        self.update(rows, BatchMoments { mean: &mean, var: &var }, momentum)?;
        Ok(y)
    }
}

/// The mean and the biased variance of each channel of a batch, `[channels]` each.
pub(super) struct BatchMoments<'a> {
    pub(super) mean: &'a Tensor,
    pub(super) var: &'a Tensor,
}

/// `activation(weight (x - mean) / sqrt(var + eps) + bias)` with the statistics of the batch (Ioffe and Szegedy, 2015).
///
/// # Shapes
/// `x`: `[.., c]`; `weight`, `bias`: `[c]`. Returns y with the shape of `x`, then the mean and the biased variance, `[c]` each.
///
/// # Errors
/// When the shapes differ, or there is one value only for each channel, whose variance is not defined.
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
    if !is_ours(x) {
        return portable::batch_norm(x, (weight, bias), eps, activation);
    }
    let moments = Arc::new(Mutex::new(Moments::default()));
    let op = Normalize { eps, activation, moments: Arc::clone(&moments) };
    let y = x.contiguous()?.apply_op2(&Tensor::stack(&[weight, bias], 0)?, op)?;
    let moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
    let mean = Tensor::from_slice(&moments.mean, channels, x.device())?;
    let var = Tensor::from_slice(&moments.var, channels, x.device())?;
    Ok((y, mean, var))
}

struct Normalize {
    eps: f64,
    activation: Activation,
    /// The statistics of the batch. An operator serves one call only.
    moments: Arc<Mutex<Moments>>,
}

impl CustomOp2 for Normalize {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        affine: &CpuStorage,
        affine_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, affine) = (values(x, x_layout)?, values(affine, affine_layout)?);
        let channels = affine.len() / 2;
        let moments = Moments::measure(x, channels);
        let y = Affine::new(&moments, affine, self.eps).activated(self.activation, x);
        *self.moments.lock().unwrap_or_else(PoisonError::into_inner) = moments;
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let (dx, d_affine) = with_values(x, |x| {
            with_values(affine, |affine| {
                with_values(dy, |dy| {
                    Ok(gradients((&moments, affine, self.eps), self.activation, x, dy))
                })
            })
        })?;
        let like = |values, tensor: &Tensor| {
            Tensor::from_vec(values, tensor.shape(), tensor.device()).map(Some)
        };
        Ok((like(dx, x)?, like(d_affine, affine)?))
    }
}

/// The gradients of the values, and those of weights and biases, which follow each other.
fn gradients(
    (moments, affine, eps): (&Moments, &[f32], f64),
    activation: Activation,
    x: &[f32],
    dy: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let applied = Affine::new(moments, affine, eps);
    let slopes = Slopes::measure(&applied, activation, x, dy);
    let part = rows_per_part(affine.len() / 2) * affine.len() / 2;
    let inputs = x.par_chunks(part).zip(dy.par_chunks(part));
    let (dx, _) = fill_parts(x.len(), part, inputs, |dx, (x, dy)| {
        slopes.input_gradient(&applied, activation, x, dy, dx);
    });
    (dx, slopes.affine_gradient())
}

/// What the backward pass of batch norm needs.
struct Normalized {
    norm: BatchNorm,
    x: Value,
    moments: Moments,
    affine: Vec<f32>,
}

impl Back for Normalized {
    fn back(&self, dy: Vec<f32>, _: bool, to: &mut GradStore) -> Result<Option<Vec<f32>>> {
        let Self { norm, x, moments, affine } = self;
        let statistics = (moments, &affine[..], norm.eps);
        let (dx, d_affine) = gradients(statistics, norm.activation, &x.values, &dy);
        norm.add_gradients(d_affine, to)?;
        Ok(Some(dx))
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
        for (dims, eps, activation) in [
            (vec![4, 5, 6, 3], 1e-5, Activation::Relu),
            (vec![4, 5, 6, 3], 0.5, Activation::Identity),
            // A batch of several parts. There is no ReLU, whose gradient jumps where rounding moves a value across 0.
            (vec![9, 80, 90, 16], 1e-5, Activation::Identity),
            (vec![2, 7], 1e-3, Activation::Relu),
        ] {
            let channels = dims[dims.len() - 1];
            let (x, w) = (variable("x", &dims), variable("w", &[channels]));
            let b = variable("b", &[channels]);
            let weights = (w.as_tensor(), b.as_tensor());
            let ours = || Ok(batch_norm(x.as_tensor(), weights, eps, activation)?.0);
            let oracle = || Ok(portable::batch_norm(x.as_tensor(), weights, eps, activation)?.0);
            assert_same_gradients(&[&x, &w, &b], ours, oracle, 2e-4);
        }
    }

    #[test]
    fn statistics_beyond_the_range_of_a_format_give_values_within_it() {
        let parameters = Parameters::seeded(0);
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        let norm = BatchNorm::new(2, Activation::Identity, vb).unwrap();
        let set = |var: &Var, values: [f32; 2]| var.set(&Tensor::new(&values, &Device::Cpu)?);
        // The first variance overflows in f16, the second becomes 0.
        set(&norm.running_mean, [300.0, 1e-4]).unwrap();
        set(&norm.running_var, [1e6, 1e-9]).unwrap();
        let x = Tensor::new(&[[1300f32, 2e-4], [-700.0, 0.0]], &Device::Cpu).unwrap();
        let expected = norm.forward(&x, None).unwrap();
        let half = norm.map(&|tensor| tensor.to_dtype(DType::F16)).unwrap();
        let got = half.forward(&x.to_dtype(DType::F16).unwrap(), None).unwrap();
        assert_close(&got.to_dtype(DType::F32).unwrap(), &expected, 2e-3);
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
            trained = Some(norm.forward(&x, Some(0.1)).unwrap());
        }
        // The running variance is unbiased and that of the batch is not; they differ by a factor of 49/50.
        assert_close(&norm.forward(&x, None).unwrap(), &trained.unwrap(), 2e-2);
        // With a momentum of 1 the running statistics are those of the last batch.
        let other = (variable("other", &[50, 3]).as_tensor() - 2.0).unwrap();
        norm.forward(&other, Some(1.0)).unwrap();
        let mean = other.mean(0).unwrap();
        assert_close(&norm.running_mean.as_tensor().detach(), &mean, 1e-5);
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
