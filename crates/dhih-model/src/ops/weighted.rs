//! What convolutions and linear layers share: `activation(x . weight + bias)` as an operator of candle's graph, with or without bias. Each of
//! them defines its product.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::engine::{Back, Traced, Value, add_gradient};
use super::normalize::sum_rows;
use super::{Activation, values, with_values};

/// The values of a contiguous tensor.
#[derive(Clone, Copy)]
pub(super) struct Array<'a> {
    pub(super) values: &'a [f32],
    pub(super) dims: &'a [usize],
}

impl<'a> Array<'a> {
    fn new(storage: &'a CpuStorage, layout: &'a Layout) -> Result<Self> {
        Ok(Self { values: values(storage, layout)?, dims: layout.dims() })
    }
}

/// A product of an input and weights whose last dimension is that of the bias.
pub(super) trait Weighted: Send + Sync + 'static {
    const NAME: &'static str;

    /// Computes `activation(x . weight + bias)`.
    fn forward(
        &self,
        x_and_weight: (Array<'_>, Array<'_>),
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<(Vec<f32>, Shape)>;

    /// The gradients of the weight and, where wanted, of x, from that of their product.
    fn gradients(
        &self,
        x_and_weight: (Array<'_>, Array<'_>),
        dy: &[f32],
        wants_dx: bool,
    ) -> Result<(Option<Vec<f32>>, Vec<f32>)>;
}

/// Applies the operator to f32 tensors on the CPU.
pub(super) fn apply(
    weighted: impl Weighted,
    (x, weight, bias): (&Tensor, &Tensor, Option<&Tensor>),
    activation: Activation,
) -> Result<Tensor> {
    // Where there is to be a gradient that needs the input of the activation, the activation becomes an operator of its own.
    let tracked = x.track_op() || weight.track_op() || bias.is_some_and(Tensor::track_op);
    if tracked && activation.needs_input() {
        let y = apply(weighted, (x, weight, bias), Activation::Identity)?;
        return activation.apply(&y);
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let op = Operator { weighted, activation };
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
        None => x.apply_op2(&weight, op),
    }
}

/// As [`apply`], with its backward pass; the weights are variables or constants.
pub(super) fn trace<W: Weighted>(
    weighted: W,
    (x, weight, bias): (&Value, &Tensor, Option<&Tensor>),
    activation: Activation,
) -> Result<Traced> {
    let bias_values = bias.map(Tensor::to_vec1::<f32>).transpose()?;
    let applied = if activation.needs_input() { Activation::Identity } else { activation };
    let (y, shape) = with_values(weight, |values| {
        let arrays = (x.array(), Array { values, dims: weight.dims() });
        weighted.forward(arrays, bias_values.as_deref(), applied)
    })?;
    let z = Value::new(y, shape.dims());
    let y = if applied == activation { z.clone() } else { activation.trace(&z).y };
    let seen = (activation != Activation::Identity).then_some(z.values);
    let (weight, bias) = (weight.clone(), bias.cloned());
    let back = Box::new(Product { weighted, x: x.clone(), weight, bias, activation, seen });
    Ok(Traced { y, back })
}

impl Value {
    fn array(&self) -> Array<'_> {
        Array { values: &self.values, dims: &self.dims }
    }
}

/// What the backward pass of a product needs.
struct Product<W> {
    weighted: W,
    x: Value,
    weight: Tensor,
    bias: Option<Tensor>,
    activation: Activation,
    /// The values before or behind the activation, where there is one.
    seen: Option<Arc<Vec<f32>>>,
}

impl<W: Weighted> Back for Product<W> {
    fn back(
        &self,
        mut dy: Vec<f32>,
        wants_dx: bool,
        gradients: &mut GradStore,
    ) -> Result<Option<Vec<f32>>> {
        let Self { weighted, x, weight, bias, activation, seen } = self;
        if let Some(seen) = seen {
            activation.turn_back(seen, &mut dy);
        }
        if let Some(bias) = bias.as_ref().filter(|bias| bias.track_op()) {
            add_gradient(gradients, bias, sum_rows(&dy, bias.elem_count()))?;
        }
        if !wants_dx && !weight.track_op() {
            return Ok(None);
        }
        let (dx, dw) = with_values(weight, |values| {
            let arrays = (x.array(), Array { values, dims: weight.dims() });
            weighted.gradients(arrays, &dy, wants_dx)
        })?;
        add_gradient(gradients, weight, dw)?;
        Ok(dx)
    }
}

struct Operator<W> {
    weighted: W,
    /// An activation whose gradient follows from its output, where there is to be a gradient.
    activation: Activation,
}

impl<W: Weighted> Operator<W> {
    fn forward(
        &self,
        x_and_weight: (Array<'_>, Array<'_>),
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let (y, shape) = self.weighted.forward(x_and_weight, bias, self.activation)?;
        Ok((CpuStorage::F32(y), shape))
    }

    /// The gradients of the weight and, where wanted, of x; also the gradient of their product, before the activation.
    fn backward(
        &self,
        (x, weight): (&Tensor, &Tensor),
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Tensor, Tensor)> {
        let before = self.activation.gradient(y, dy)?;
        let (dx, dw) = with_values(x, |x_values| {
            with_values(weight, |weight_values| {
                let arrays = (
                    Array { values: x_values, dims: x.dims() },
                    Array { values: weight_values, dims: weight.dims() },
                );
                with_values(&before, |dy| self.weighted.gradients(arrays, dy, x.track_op()))
            })
        })?;
        let dx = dx.map(|dx| Tensor::from_vec(dx, x.shape(), x.device())).transpose()?;
        Ok((dx, Tensor::from_vec(dw, weight.shape(), weight.device())?, before))
    }
}

impl<W: Weighted> CustomOp2 for Operator<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((Array::new(x, x_layout)?, Array::new(weight, weight_layout)?), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw, _) = self.backward((x, weight), y, dy)?;
        Ok((dx, Some(dw)))
    }
}

impl<W: Weighted> CustomOp3 for Operator<W> {
    fn name(&self) -> &'static str {
        W::NAME
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
        let bias = values(bias, bias_layout)?;
        self.forward((Array::new(x, x_layout)?, Array::new(weight, weight_layout)?), Some(bias))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw, before) = self.backward((x, weight), y, dy)?;
        Ok((dx, Some(dw), Some(super::sum_rows(&before)?)))
    }
}
