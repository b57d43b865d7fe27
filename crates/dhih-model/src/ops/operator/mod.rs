//! Operators with one input that only some families of networks have: layer normalisation, and those of transformers, where an image is a row of
//! tokens, `[n, 1, tokens, channels]`. Each is a type that implements all that the interpreters of layers need.

mod attention;
mod probe;
mod scale;
mod tokens;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, bail};
use std::fmt::Debug;

pub use attention::Attention;
pub use probe::Probe;
pub use scale::Scale;
pub use tokens::{FirstToken, Tokens};

use super::LayerNorm;
use super::engine::{Back, Traced, Value, add_gradient};

/// Height, width and channels of an image.
pub(crate) type Sides = [usize; 3];

/// A function of images, `[n, height, width, channels]`, which treats each image on its own.
pub(crate) trait Operator: Debug + Send + Sync {
    /// The shape of an output.
    ///
    /// # Errors
    /// When the input does not fit.
    fn output(&self, input: Sides) -> Result<Sides>;

    /// The trained tensors.
    fn weights(&self) -> Vec<&Tensor>;

    /// Computes the output in candle's operations and graph, the oracle of the other forms.
    ///
    /// # Errors
    /// As [`Self::output`].
    fn forward(&self, x: &Tensor) -> Result<Tensor>;

    /// The operator on the CPU, for images of shape `input`.
    ///
    /// # Errors
    /// Those of the device of the weights.
    fn compiled(&self, input: Sides) -> Result<Box<dyn Compiled>>;
}

/// All operators of this kind.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Unary {
    /// Layer normalisation of each pixel.
    LayerNorm(LayerNorm),
    /// A factor for each channel.
    Scale(Scale),
    /// Pixels to tokens.
    Tokens(Tokens),
    /// Attention between the pixels of an image.
    Attention(Attention),
    /// The first token alone.
    FirstToken(FirstToken),
    /// Attention of one learnt query.
    Probe(Probe),
}

impl Unary {
    /// The implementation.
    pub(crate) fn operator(&self) -> &dyn Operator {
        match self {
            Self::LayerNorm(it) => it,
            Self::Scale(it) => it,
            Self::Tokens(it) => it,
            Self::Attention(it) => it,
            Self::FirstToken(it) => it,
            Self::Probe(it) => it,
        }
    }

    /// The same operator with every tensor replaced by what `change` returns for it.
    ///
    /// # Errors
    /// Those of `change`.
    pub(crate) fn map(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let some = |it: &Option<Tensor>| it.as_ref().map(change).transpose();
        Ok(match self {
            Self::LayerNorm(LayerNorm { weight, bias, eps }) => {
                let (weight, bias) = (change(weight)?, change(bias)?);
                Self::LayerNorm(LayerNorm { weight, bias, eps: *eps })
            }
            Self::Scale(Scale { weight }) => Self::Scale(Scale { weight: change(weight)? }),
            Self::Tokens(Tokens { class, registers, positions }) => Self::Tokens(Tokens {
                class: some(class)?,
                registers: some(registers)?,
                positions: change(positions)?,
            }),
            Self::Probe(Probe { probe, weight, bias, heads }) => Self::Probe(Probe {
                probe: change(probe)?,
                weight: change(weight)?,
                bias: change(bias)?,
                heads: *heads,
            }),
            Self::Attention(_) | Self::FirstToken(_) => self.clone(),
        })
    }
}

/// An operator for images of one shape, with its weights in memory.
pub(crate) trait Compiled: Debug + Send + Sync {
    /// Computes the outputs of `n` images, on all threads where `on_all`, else on this one.
    fn run(&self, x: &[f32], n: usize, y: &mut [f32], on_all: bool);

    /// The gradients of the weights and, where it is wanted, of the input, from that of the output.
    fn back(&self, x: &[f32], n: usize, dy: &[f32], wants_dx: bool) -> Gradients;
}

/// The gradients of an operator.
pub(crate) struct Gradients {
    pub(in crate::ops) dx: Option<Vec<f32>>,
    pub(in crate::ops) weights: Vec<Vec<f32>>,
}

/// Runs an operator on the CPU, with its backward pass.
pub(super) fn trace(operator: &dyn Operator, x: &Value) -> Result<Traced> {
    let [n, height, width, channels] = x.dims[..] else {
        bail!("{operator:?} takes images, got {:?}", x.dims);
    };
    let [out_height, out_width, out_channels] = operator.output([height, width, channels])?;
    let compiled = operator.compiled([height, width, channels])?;
    let mut y = vec![0.0; n * out_height * out_width * out_channels];
    compiled.run(&x.values, n, &mut y, true);
    let y = Value::new(y, &[n, out_height, out_width, out_channels]);
    let weights = operator.weights().into_iter().cloned().collect();
    Ok(Traced { y, back: Box::new(Kept { compiled, x: x.clone(), n, weights }) })
}

/// What the backward pass of an operator needs.
struct Kept {
    compiled: Box<dyn Compiled>,
    x: Value,
    n: usize,
    weights: Vec<Tensor>,
}

impl Back for Kept {
    fn back(&self, dy: Vec<f32>, wants_dx: bool, to: &mut GradStore) -> Result<Option<Vec<f32>>> {
        let Gradients { dx, weights } = self.compiled.back(&self.x.values, self.n, &dy, wants_dx);
        for (weight, gradient) in self.weights.iter().zip(weights) {
            add_gradient(to, weight, gradient)?;
        }
        Ok(dx)
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

#[cfg(test)]
mod tests;
