//! Operators forward and back without candle's graph: each keeps what its way back needs, and adds the gradients of its weights to those that are
//! there. The gradient of a value is handed over, not added to zeros. How a network of them is gone through: [`crate::tape`].

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, bail};

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

/// What an operator has kept for its way back.
pub(crate) trait Back: Send {
    /// From the gradient of its output to that of its input, which is given where it is wanted. The gradients of weights go to `gradients`.
    fn back(
        &self,
        dy: Vec<f32>,
        wants_dx: bool,
        gradients: &mut GradStore,
    ) -> Result<Option<Vec<f32>>>;
}

/// An operator's output, and its way back.
pub(crate) struct Traced {
    pub(crate) y: Value,
    pub(crate) back: Box<dyn Back>,
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
    if !weight.is_variable() {
        bail!("a weight of {:?} is computed from others: it has no gradient here", weight.dims());
    }
    let gradient = Tensor::from_vec(gradient, weight.shape(), weight.device())?;
    let sum = match gradients.remove(weight) {
        Some(other) => (other + gradient)?,
        None => gradient,
    };
    gradients.insert(weight, sum);
    Ok(())
}
