//! Training as an interpreter of layers. The forward pass records what the backward pass needs, and the backward pass computes the gradient of
//! each weight and frees the records on its way. candle's graph would allocate a tensor of zeros and add to it for each value, and would keep
//! all values to the end. What is recorded for an operator, and how it is computed, is the business of an [engine](crate::ops::Engine).
//! [`Trace`] is where this tape meets candle's graph.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var, bail};
use rand::RngCore;

use crate::init::named_rng;
use crate::layer::{Dropout, Layer, Mode, Sequential};
use crate::ops::{
    Back, ConvNorm, Cpu, Engine, Grid, POOL, Tensors, Traced, Training, Value, training,
};

/// The features of a backbone in training. Backbones made of layers are computed outside of candle's graph, others within it; [`Self::back`]
/// works for both.
pub struct Trace {
    features: Tensor,
    /// The features as a variable at which candle's graph ends, and what the layers before it have recorded.
    own: Option<(Var, Kept)>,
}

/// The records of the layers, by the engine that made them.
enum Kept {
    Cpu(Tape<Cpu>),
    Tensors(Tape<Tensors>),
}

impl Trace {
    /// Wraps features that candle's graph has computed.
    pub(crate) fn of_graph(features: Tensor) -> Self {
        Self { features, own: None }
    }

    /// Runs layers on a batch, `[n, height, width, channels]`, which itself has no gradient.
    ///
    /// # Errors
    /// When a shape does not fit its layer.
    pub(crate) fn of_layers(layers: &Sequential, x: &Tensor, mode: Mode) -> Result<Self> {
        Self::by(training(x.device(), x.dtype()), layers, x, mode)
    }

    fn by(training: Training, layers: &Sequential, x: &Tensor, mode: Mode) -> Result<Self> {
        let (features, kept) = match training {
            Training::Graph => return Ok(Self::of_graph(layers.forward(x, mode)?)),
            Training::Cpu => {
                let batch = Value::new(x.flatten_all()?.to_vec1()?, x.dims());
                let (y, tape) = layers.trace::<Cpu>(batch, mode)?;
                (Tensor::from_slice(&y.values, &y.dims[..], x.device())?, Kept::Cpu(tape))
            }
            Training::Tensors => {
                let (y, tape) = layers.trace::<Tensors>(x.detach(), mode)?;
                (y, Kept::Tensors(tape))
            }
        };
        let features = Var::from_tensor(&features)?;
        Ok(Self { features: features.as_tensor().clone(), own: Some((features, kept)) })
    }

    /// The features, `[n, features]`, from which the loss is computed.
    pub fn features(&self) -> &Tensor {
        &self.features
    }

    /// How many operators have recorded something for the backward pass; 0 where candle's graph does.
    pub fn steps(&self) -> usize {
        match &self.own {
            None => 0,
            Some((_, Kept::Cpu(tape))) => tape.len(),
            Some((_, Kept::Tensors(tape))) => tape.len(),
        }
    }

    /// Continues the backward pass: candle's graph ends at the gradient of the features, and this computes the gradients of the weights before
    /// them.
    ///
    /// # Errors
    /// When a weight is not a variable but is computed from others.
    pub fn back(self, gradients: &mut GradStore) -> Result<()> {
        let Some((features, kept)) = self.own else { return Ok(()) };
        let Some(gradient) = gradients.remove(&features) else { return Ok(()) };
        match kept {
            Kept::Cpu(tape) => {
                tape.back(gradient.flatten_all()?.to_vec1()?, false, gradients)?;
            }
            Kept::Tensors(tape) => {
                tape.back(gradient, false, gradients)?;
            }
        }
        Ok(())
    }
}

/// The records of layers, in the order of the forward pass.
struct Tape<E: Engine>(Vec<Record<E>>);

enum Record<E: Engine> {
    Operator(Box<dyn Back<E::Gradient>>),
    /// The shape before flattening, `[n, height, width, channels]`.
    Flatten([usize; 4]),
    Residual {
        body: Tape<E>,
        shortcut: Tape<E>,
        sum: Box<dyn Back<E::Gradient>>,
    },
    /// The records of each branch, and its number of channels.
    Concat(Vec<(Tape<E>, usize)>),
    /// The records of a gate, with its input and output.
    Gate {
        gate: Tape<E>,
        x: E::Value,
        values: E::Value,
    },
}

impl Sequential {
    fn trace<E: Engine>(&self, mut x: E::Value, mode: Mode) -> Result<(E::Value, Tape<E>)> {
        let mut tape = Tape(Vec::new());
        let mut layers = &self.0[..];
        while let [layer, rest @ ..] = layers {
            let block = match (layers, mode) {
                (
                    [Layer::Conv(conv), Layer::MaxPool(POOL), Layer::Norm(norm), rest @ ..],
                    Mode::Training { norm_momentum, .. },
                ) => {
                    let block = ConvNorm { conv, norm, pool: true };
                    E::conv_norm(&block, &x, norm_momentum)?.map(|traced| (traced, rest))
                }
                (
                    [Layer::Conv(conv), Layer::Norm(norm), rest @ ..],
                    Mode::Training { norm_momentum, .. },
                ) => {
                    let block = ConvNorm { conv, norm, pool: false };
                    E::conv_norm(&block, &x, norm_momentum)?.map(|traced| (traced, rest))
                }
                _ => None,
            };
            layers = match block {
                Some((Traced { y, back }, rest)) => {
                    tape.0.push(Record::Operator(back));
                    x = y;
                    rest
                }
                None => {
                    x = layer.trace(x, mode, &mut tape)?;
                    rest
                }
            };
        }
        Ok((x, tape))
    }
}

impl Layer {
    /// Computes the output and appends the records to `tape`.
    fn trace<E: Engine>(&self, x: E::Value, mode: Mode, tape: &mut Tape<E>) -> Result<E::Value> {
        let Mode::Training { seed, norm_momentum } = mode else {
            bail!("gradients are those of training");
        };
        let Traced { y, back } = match self {
            Self::Conv(conv) => E::conv(conv, &x)?,
            Self::Norm(norm) => E::norm(norm, &x, norm_momentum)?,
            Self::Activation(activation) => E::activation(*activation, &x)?,
            Self::MaxPool(config) => E::max_pool(*config, &x)?,
            Self::AvgPool(config) => E::average(Grid::sliding(sides::<E>(&x)?, *config)?, &x)?,
            Self::AdaptiveAvgPool(size) => E::average(Grid::adaptive(sides::<E>(&x)?, *size)?, &x)?,
            Self::Linear(linear) => {
                E::linear((&linear.weight, linear.bias.as_ref()), linear.activation, &x)?
            }
            Self::Dropout(Dropout { p, name }) => {
                E::dropout(*p, named_rng(seed, name).next_u64(), &x)?
            }
            Self::Flatten => {
                let dims = dims4::<E>(&x)?;
                tape.0.push(Record::Flatten(dims));
                return E::flatten(x, dims);
            }
            Self::Residual { body, shortcut, activation } => {
                let (a, body) = body.trace::<E>(x.clone(), mode)?;
                let (b, shortcut) = shortcut.trace::<E>(x, mode)?;
                let Traced { y, back: sum } = E::add(&a, &b, *activation)?;
                tape.0.push(Record::Residual { body, shortcut, sum });
                return Ok(y);
            }
            Self::Concat(branches) => {
                let traced = branches.iter().map(|branch| branch.trace::<E>(x.clone(), mode));
                let (outputs, tapes): (Vec<E::Value>, Vec<Tape<E>>) =
                    traced.collect::<Result<Vec<_>>>()?.into_iter().unzip();
                let channels =
                    outputs.iter().map(|y| Ok(dims4::<E>(y)?[3])).collect::<Result<Vec<_>>>()?;
                tape.0.push(Record::Concat(tapes.into_iter().zip(channels).collect()));
                return E::join(&outputs);
            }
            Self::Gate(gate) => {
                let (values, gate) = gate.trace::<E>(x.clone(), mode)?;
                let y = E::gate(&x, &values)?;
                tape.0.push(Record::Gate { gate, x, values });
                return Ok(y);
            }
            Self::Unary(unary) => E::operator(unary.operator(), &x)?,
        };
        tape.0.push(Record::Operator(back));
        Ok(y)
    }
}

impl<E: Engine> Tape<E> {
    fn len(&self) -> usize {
        let of_record = |record: &Record<E>| match record {
            Record::Operator(_) | Record::Flatten(_) => 1,
            Record::Residual { body, shortcut, .. } => 1 + body.len() + shortcut.len(),
            Record::Concat(branches) => branches.iter().map(|(branch, _)| branch.len()).sum(),
            Record::Gate { gate, .. } => 1 + gate.len(),
        };
        self.0.iter().map(of_record).sum()
    }

    /// Computes the gradient of the input from that of the output, where it is wanted.
    fn back(
        self,
        dy: E::Gradient,
        wants_dx: bool,
        gradients: &mut GradStore,
    ) -> Result<Option<E::Gradient>> {
        let mut dy = dy;
        for (number, record) in self.0.into_iter().enumerate().rev() {
            let wants_dx = wants_dx || number > 0;
            let dx = match record {
                Record::Operator(operator) => operator.back(dy, wants_dx, gradients)?,
                Record::Flatten(dims) => Some(E::unflatten(dy, dims)?),
                Record::Residual { body, shortcut, sum } => {
                    let Some(dz) = sum.back(dy, true, gradients)? else { return Ok(None) };
                    let by_body = body.back(E::copy(&dz), wants_dx, gradients)?;
                    let by_shortcut = shortcut.back(dz, wants_dx, gradients)?;
                    total::<E>([by_body, by_shortcut])?
                }
                Record::Concat(branches) => {
                    let mut sum = None;
                    let channels: usize = branches.iter().map(|(_, channels)| channels).sum();
                    let mut first = 0;
                    for (branch, own) in branches {
                        let part = E::pick(&dy, channels, first..first + own)?;
                        sum = total::<E>([sum, branch.back(part, wants_dx, gradients)?])?;
                        first += own;
                    }
                    sum
                }
                Record::Gate { gate, x, values } => {
                    let (dx, of_gate) = E::gate_back(&dy, &x, &values)?;
                    let by_gate = gate.back(of_gate, wants_dx, gradients)?;
                    total::<E>([Some(dx), by_gate])?
                }
            };
            match dx {
                Some(dx) => dy = dx,
                None => return Ok(None),
            }
        }
        Ok(Some(dy))
    }
}

fn dims4<E: Engine>(x: &E::Value) -> Result<[usize; 4]> {
    match E::dims(x)[..] {
        [n, height, width, channels] => Ok([n, height, width, channels]),
        _ => bail!("a batch of images was expected, got {:?}", E::dims(x)),
    }
}

fn sides<E: Engine>(x: &E::Value) -> Result<(usize, usize)> {
    let [_, height, width, _] = dims4::<E>(x)?;
    Ok((height, width))
}

/// The sum of the gradients that are present.
fn total<E: Engine>(gradients: [Option<E::Gradient>; 2]) -> Result<Option<E::Gradient>> {
    match gradients {
        [Some(a), Some(b)] => E::total(a, b).map(Some),
        [a, b] => Ok(a.or(b)),
    }
}

#[cfg(test)]
mod tests;
