//! Engines compute networks in training, forward and backward, without candle's graph. Each operator keeps what its backward pass needs and adds
//! the gradients of its weights to those that are there. The gradient of a value is passed on, not added to zeros. There are two engines:
//! [`Cpu`] with the operators of this crate, and [`Tensors`] with candle's tensor operations, for a GPU. [`crate::tape`] runs networks with
//! either.

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

/// Operators in training, forward, each returned with its backward pass. Images are `[n, height, width, channels]`, vectors `[n, features]`.
pub(crate) trait Engine: Sized + 'static {
    /// Values, cheap to clone.
    type Value: Clone + Send;
    /// The gradient of values.
    type Gradient: Send;

    /// The shape of values.
    fn dims(x: &Self::Value) -> &[usize];

    /// A convolution with its activation.
    fn conv(conv: &Conv2d, x: &Self::Value) -> Result<Traced<Self>>;

    /// A convolution and what follows it as one operator; `None` where that is not possible.
    fn conv_norm(
        block: &ConvNorm<'_>,
        x: &Self::Value,
        momentum: f64,
    ) -> Result<Option<Traced<Self>>>;

    /// Batch norm with its activation; `momentum` is the weight of the batch in the running statistics.
    fn norm(norm: &BatchNorm, x: &Self::Value, momentum: f64) -> Result<Traced<Self>>;

    /// An activation without another operator.
    fn activation(activation: Activation, x: &Self::Value) -> Result<Traced<Self>>;

    /// Max pooling.
    fn max_pool(config: Pool2dConfig, x: &Self::Value) -> Result<Traced<Self>>;

    /// Average pooling.
    fn average(grid: Grid, x: &Self::Value) -> Result<Traced<Self>>;

    /// `activation(x weight^T + bias)`, on vectors.
    fn linear(
        weights: (&Tensor, Option<&Tensor>),
        activation: Activation,
        x: &Self::Value,
    ) -> Result<Traced<Self>>;

    /// Dropout with probability `p`.
    fn dropout(p: f64, seed: u64, x: &Self::Value) -> Result<Traced<Self>>;

    /// `activation(x + y)`. Its backward pass returns the gradient of either summand.
    fn add(x: &Self::Value, y: &Self::Value, activation: Activation) -> Result<Traced<Self>>;

    /// An operator that only some families of networks have.
    fn operator(operator: &dyn Operator, x: &Self::Value) -> Result<Traced<Self>>;

    /// `x * gate`, where the gate has one value for each channel of an image.
    fn gate(x: &Self::Value, gate: &Self::Value) -> Result<Self::Value>;

    /// The backward pass of [`Self::gate`]: the gradients of both.
    fn gate_back(
        dy: &Self::Gradient,
        x: &Self::Value,
        gate: &Self::Value,
    ) -> Result<(Self::Gradient, Self::Gradient)>;

    /// Images of shape `dims` to vectors, channel by channel.
    fn flatten(x: Self::Value, dims: [usize; 4]) -> Result<Self::Value>;

    /// The backward pass of [`Self::flatten`].
    fn unflatten(dy: Self::Gradient, dims: [usize; 4]) -> Result<Self::Gradient>;

    /// Images joined along the channels.
    fn join(parts: &[Self::Value]) -> Result<Self::Value>;

    /// Some of the `channels` channels of each pixel: the backward pass of [`Self::join`].
    fn pick(dy: &Self::Gradient, channels: usize, range: Range<usize>) -> Result<Self::Gradient>;

    /// A copy of the gradient, for another branch.
    fn copy(dy: &Self::Gradient) -> Self::Gradient;

    /// The sum of the gradients of two branches.
    fn total(a: Self::Gradient, b: Self::Gradient) -> Result<Self::Gradient>;
}

/// Values on the CPU, shared with the operators that need them again.
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

/// What an operator keeps for its backward pass. Gradients are of type `G`.
pub(crate) trait Back<G = Vec<f32>>: Send {
    /// Computes the gradient of the input, where it is wanted, from that of the output, and adds the gradients of weights to `gradients`.
    fn back(&self, dy: G, wants_dx: bool, gradients: &mut GradStore) -> Result<Option<G>>;
}

/// The output of an operator, with its backward pass.
pub(crate) struct Traced<E: Engine = Cpu> {
    pub(crate) y: E::Value,
    pub(crate) back: Box<dyn Back<E::Gradient>>,
}

/// Adds the gradient of a weight to the one in `gradients`. Weights that are not trained get none.
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
