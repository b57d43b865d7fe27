//! What computes networks in training: operators forward and back without candle's graph. Each operator keeps what its way back needs, and
//! adds the gradients of its weights to those that are there; the gradient of a value is handed over, not added to zeros. There are two:
//! [`Cpu`], by the operators of this crate, and [`Tensors`], by candle's tensor operations, for a GPU. How a network is gone through is in
//! [`crate::tape`], once for both.

mod cpu;
mod tensors;

use std::ops::Range;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, bail};

use super::{Activation, BatchNorm, Conv2d, ConvNorm, Grid, Operator, Pool2dConfig};

pub(crate) use cpu::{Cpu, times};
pub(crate) use tensors::Tensors;
pub(super) use tensors::conv2d as conv2d_of_tensors;

/// Operators forward, in training, each with its way back. Images are `[n, height, width, channels]`, vectors `[n, features]`.
pub(crate) trait Engine: Sized + 'static {
    /// Values, cheap to clone.
    type Value: Clone + Send;
    /// The gradient of values.
    type Gradient: Send;

    /// The shape of values.
    fn dims(x: &Self::Value) -> &[usize];

    /// A convolution with its activation.
    fn conv(conv: &Conv2d, x: &Self::Value) -> Result<Traced<Self>>;

    /// A convolution and what is behind it as one; nothing where that is not possible.
    fn conv_norm(
        block: &ConvNorm<'_>,
        x: &Self::Value,
        momentum: f64,
    ) -> Result<Option<Traced<Self>>>;

    /// Batch norm with its activation; `momentum` is the share of the batch in the running statistics.
    fn norm(norm: &BatchNorm, x: &Self::Value, momentum: f64) -> Result<Traced<Self>>;

    /// An activation alone.
    fn activation(activation: Activation, x: &Self::Value) -> Result<Traced<Self>>;

    /// The largest value of each window.
    fn max_pool(config: Pool2dConfig, x: &Self::Value) -> Result<Traced<Self>>;

    /// The mean of each window.
    fn average(grid: Grid, x: &Self::Value) -> Result<Traced<Self>>;

    /// `activation(x weight^T + bias)` of vectors.
    fn linear(
        weights: (&Tensor, Option<&Tensor>),
        activation: Activation,
        x: &Self::Value,
    ) -> Result<Traced<Self>>;

    /// Random zeros, with probability `p`.
    fn dropout(p: f64, seed: u64, x: &Self::Value) -> Result<Traced<Self>>;

    /// `activation(x + y)`; its way back gives the gradient of either.
    fn add(x: &Self::Value, y: &Self::Value, activation: Activation) -> Result<Traced<Self>>;

    /// An operator that only some networks have.
    fn operator(operator: &dyn Operator, x: &Self::Value) -> Result<Traced<Self>>;

    /// `x gate`, where the gate has one value for each channel of an image.
    fn gate(x: &Self::Value, gate: &Self::Value) -> Result<Self::Value>;

    /// The way back of [`Self::gate`]: the gradients of both.
    fn gate_back(
        dy: &Self::Gradient,
        x: &Self::Value,
        gate: &Self::Value,
    ) -> Result<(Self::Gradient, Self::Gradient)>;

    /// Images of the shape `dims` to vectors, channel by channel.
    fn flatten(x: Self::Value, dims: [usize; 4]) -> Result<Self::Value>;

    /// The way back of [`Self::flatten`].
    fn unflatten(dy: Self::Gradient, dims: [usize; 4]) -> Result<Self::Gradient>;

    /// Images joined along the channels.
    fn join(parts: &[Self::Value]) -> Result<Self::Value>;

    /// Some of the `channels` channels of each pixel: the way back of [`Self::join`].
    fn pick(dy: &Self::Gradient, channels: usize, range: Range<usize>) -> Result<Self::Gradient>;

    /// The same gradient for another branch.
    fn copy(dy: &Self::Gradient) -> Self::Gradient;

    /// The sum of the gradients of two branches.
    fn total(a: Self::Gradient, b: Self::Gradient) -> Result<Self::Gradient>;
}

/// Values on the CPU, shared by those that need them again.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) values: Arc<Vec<f32>>,
    /// `[n, height, width, channels]` or `[n, features]`.
    pub(crate) dims: Vec<usize>,
}

impl Value {
    pub(crate) fn new(values: Vec<f32>, dims: &[usize]) -> Self {
        Self { values: Arc::new(values), dims: dims.to_vec() }
    }
}

/// What an operator has kept for its way back; gradients are of the type `G`.
pub(crate) trait Back<G = Vec<f32>>: Send {
    /// From the gradient of its output to that of its input, which is given where it is wanted. The gradients of weights go to `gradients`.
    fn back(&self, dy: G, wants_dx: bool, gradients: &mut GradStore) -> Result<Option<G>>;
}

/// An operator's output, and its way back.
pub(crate) struct Traced<E: Engine = Cpu> {
    pub(crate) y: E::Value,
    pub(crate) back: Box<dyn Back<E::Gradient>>,
}

/// Adds the gradient of a weight to what there is of it; weights that are not trained have none.
pub(super) fn add_gradient(
    gradients: &mut GradStore,
    weight: &Tensor,
    gradient: Vec<f32>,
) -> Result<()> {
    if !weight.track_op() {
        return Ok(());
    }
    add_tensor(gradients, weight, Tensor::from_vec(gradient, weight.shape(), weight.device())?)
}

/// As [`add_gradient`].
fn add_tensor(gradients: &mut GradStore, weight: &Tensor, gradient: Tensor) -> Result<()> {
    if !weight.track_op() {
        return Ok(());
    }
    if !weight.is_variable() {
        bail!("a weight of {:?} is computed from others: it has no gradient here", weight.dims());
    }
    let sum = match gradients.remove(weight) {
        Some(other) => (other + gradient)?,
        None => gradient,
    };
    gradients.insert(weight, sum);
    Ok(())
}
