//! Training as an interpreter of layers: forward, keeping what the way back needs, and back, giving every weight its gradient. candle's graph
//! would do the same with a tensor of zeros and an addition for each value, and keep all values to the end; here each is freed on the way.
//! What each operator keeps is in [`crate::ops`]. Where it meets candle: [`Trace`].

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var, bail};
use rand::RngCore;
use rayon::prelude::*;

use crate::init::named_rng;
use crate::layer::{Dropout, Layer, Mode, Sequential};
use crate::ops::{
    Back, ConvNorm, Grid, POOL, Tasks, Traced, Value, add_to, traced_add, traced_dropout,
    traced_linear, traced_max_pool2d,
};

/// A backbone's features in training. They are computed outside of candle's graph where layers of ours run on the CPU, and inside
/// elsewhere; [`Self::back`] makes no difference between the two.
pub struct Trace {
    features: Tensor,
    /// The features as a variable, at which candle's graph ends, and the layers before it.
    own: Option<(Var, Tape)>,
}

impl Trace {
    /// Features that candle has computed.
    pub(crate) fn of_graph(features: Tensor) -> Self {
        Self { features, own: None }
    }

    /// Of layers on a batch, `[n, height, width, channels]`, which itself has no gradient.
    ///
    /// # Errors
    /// When a shape does not fit its layer.
    pub(crate) fn of_layers(layers: &Sequential, x: &Tensor, mode: Mode) -> Result<Self> {
        let batch = Value::new(x.flatten_all()?.to_vec1()?, x.dims());
        let (y, tape) = layers.trace(batch, mode)?;
        let features = Tensor::from_slice(&y.values, &y.dims[..], x.device())?;
        let features = Var::from_tensor(&features)?;
        Ok(Self { features: features.as_tensor().clone(), own: Some((features, tape)) })
    }

    /// `[n, features]`: the loss is made of these.
    pub fn features(&self) -> &Tensor {
        &self.features
    }

    /// Goes on from the gradient of the features, where candle's backward pass has ended, to those of the weights before them.
    ///
    /// # Errors
    /// When a weight is computed from others.
    pub fn back(self, gradients: &mut GradStore) -> Result<()> {
        let Some((features, tape)) = self.own else { return Ok(()) };
        let Some(gradient) = gradients.remove(&features) else { return Ok(()) };
        tape.back(gradient.flatten_all()?.to_vec1()?, false, gradients)?;
        Ok(())
    }
}

/// What layers have kept, in their order.
#[derive(Default)]
struct Tape(Vec<Record>);

enum Record {
    Operator(Box<dyn Back>),
    /// Rows and channels of `[n, height, width, channels]`.
    Flatten([usize; 4]),
    Residual {
        body: Tape,
        shortcut: Tape,
        sum: Box<dyn Back>,
    },
    /// Each branch and its channels.
    Concat(Vec<(Tape, usize)>),
}

impl Sequential {
    fn trace(&self, mut x: Value, mode: Mode) -> Result<(Value, Tape)> {
        let mut tape = Tape::default();
        let mut layers = &self.0[..];
        while let [layer, rest @ ..] = layers {
            let block = match (layers, mode) {
                (
                    [Layer::Conv(conv), Layer::MaxPool(POOL), Layer::Norm(norm), rest @ ..],
                    Mode::Training { norm_momentum, .. },
                ) => {
                    let block = ConvNorm { conv, norm, pool: true };
                    block.trace(&x, norm_momentum)?.map(|traced| (traced, rest))
                }
                (
                    [Layer::Conv(conv), Layer::Norm(norm), rest @ ..],
                    Mode::Training { norm_momentum, .. },
                ) => {
                    let block = ConvNorm { conv, norm, pool: false };
                    block.trace(&x, norm_momentum)?.map(|traced| (traced, rest))
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
    /// The output, with what is kept at the end of `tape`.
    fn trace(&self, x: Value, mode: Mode, tape: &mut Tape) -> Result<Value> {
        let Mode::Training { seed, norm_momentum } = mode else {
            bail!("gradients are those of training");
        };
        let Traced { y, back } = match self {
            Self::Conv(conv) => conv.trace(&x)?,
            Self::Norm(norm) => norm.trace(&x, norm_momentum)?,
            Self::Activation(activation) => activation.trace(&x),
            Self::MaxPool(config) => traced_max_pool2d(&x, *config)?,
            Self::AvgPool(config) => Grid::sliding(sides(&x)?, *config)?.trace(&x)?,
            Self::AdaptiveAvgPool(size) => Grid::adaptive(sides(&x)?, *size)?.trace(&x)?,
            Self::Linear(linear) => {
                traced_linear(&x, &linear.weight, linear.bias.as_ref(), linear.activation)?
            }
            Self::Dropout(Dropout { p, name }) => {
                traced_dropout(&x, *p, named_rng(seed, name).next_u64())?
            }
            Self::Flatten => {
                let dims = dims4(&x)?;
                tape.0.push(Record::Flatten(dims));
                return Ok(flattened(x, dims));
            }
            Self::Residual { body, shortcut, activation } => {
                let (a, body) = body.trace(x.clone(), mode)?;
                let (b, shortcut) = shortcut.trace(x, mode)?;
                let Traced { y, back: sum } = traced_add(&a, &b, *activation)?;
                tape.0.push(Record::Residual { body, shortcut, sum });
                return Ok(y);
            }
            Self::Concat(branches) => {
                let traced = branches.iter().map(|branch| branch.trace(x.clone(), mode));
                let (outputs, tapes): (Vec<Value>, Vec<Tape>) =
                    traced.collect::<Result<Vec<_>>>()?.into_iter().unzip();
                let channels =
                    outputs.iter().map(|y| Ok(dims4(y)?[3])).collect::<Result<Vec<_>>>()?;
                tape.0.push(Record::Concat(tapes.into_iter().zip(channels).collect()));
                return joined(&outputs);
            }
        };
        tape.0.push(Record::Operator(back));
        Ok(y)
    }
}

impl Tape {
    /// From the gradient of the output to that of the input, where it is wanted.
    fn back(
        self,
        dy: Vec<f32>,
        wants_dx: bool,
        gradients: &mut GradStore,
    ) -> Result<Option<Vec<f32>>> {
        let mut dy = dy;
        for (number, record) in self.0.into_iter().enumerate().rev() {
            let wants_dx = wants_dx || number > 0;
            let dx = match record {
                Record::Operator(operator) => operator.back(dy, wants_dx, gradients)?,
                Record::Flatten(dims) => Some(unflattened(dy, dims)),
                Record::Residual { body, shortcut, sum } => {
                    let Some(dz) = sum.back(dy, true, gradients)? else { return Ok(None) };
                    let by_body = body.back(dz.clone(), wants_dx, gradients)?;
                    let by_shortcut = shortcut.back(dz, wants_dx, gradients)?;
                    total([by_body, by_shortcut])
                }
                Record::Concat(branches) => {
                    let mut sum = None;
                    let channels: usize = branches.iter().map(|(_, channels)| channels).sum();
                    let mut first = 0;
                    for (branch, own) in branches {
                        let part = picked(&dy, channels, first..first + own);
                        sum = total([sum, branch.back(part, wants_dx, gradients)?]);
                        first += own;
                    }
                    sum
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

fn dims4(x: &Value) -> Result<[usize; 4]> {
    match x.dims[..] {
        [n, height, width, channels] => Ok([n, height, width, channels]),
        _ => bail!("a batch of images was expected, got {:?}", x.dims),
    }
}

fn sides(x: &Value) -> Result<(usize, usize)> {
    let [_, height, width, _] = dims4(x)?;
    Ok((height, width))
}

/// The sum of those that are there.
fn total([a, b]: [Option<Vec<f32>>; 2]) -> Option<Vec<f32>> {
    match (a, b) {
        (Some(mut a), Some(b)) => {
            add_to(&mut a, &b);
            Some(a)
        }
        (a, b) => a.or(b),
    }
}

/// Images to vectors, channel by channel.
fn flattened(x: Value, [n, height, width, channels]: [usize; 4]) -> Value {
    let dims = [n, height * width * channels];
    if height * width == 1 || channels == 1 {
        return Value { values: x.values, dims: dims.to_vec() };
    }
    Value::new(transposed(&x.values, height * width, channels), &dims)
}

fn unflattened(dy: Vec<f32>, [_, height, width, channels]: [usize; 4]) -> Vec<f32> {
    if height * width == 1 || channels == 1 {
        return dy;
    }
    transposed(&dy, channels, height * width)
}

/// Each `[rows, columns]` to `[columns, rows]`.
fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    let images = y.par_chunks_mut(rows * columns).zip(x.par_chunks(rows * columns));
    images.run(|(y, x)| {
        for (row, x) in x.chunks_exact(columns).enumerate() {
            for (column, x) in x.iter().enumerate() {
                y[column * rows + row] = *x;
            }
        }
    });
    y
}

/// Images joined along the channels.
fn joined(parts: &[Value]) -> Result<Value> {
    let all = parts.iter().map(dims4).collect::<Result<Vec<_>>>()?;
    let Some(&[n, height, width, _]) = all.first() else { bail!("no branches to join") };
    if all.iter().any(|dims| dims[..3] != [n, height, width]) {
        bail!("branches of different sizes: {all:?}");
    }
    let channels: usize = all.iter().map(|dims| dims[3]).sum();
    let mut y = vec![0.0; n * height * width * channels];
    let image = height * width;
    y.par_chunks_mut((image * channels).max(1)).enumerate().run(|(number, y)| {
        let mut first = 0;
        for (part, [.., own]) in parts.iter().zip(&all) {
            let x = &part.values[number * image * own..][..image * own];
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(*own)) {
                y[first..first + own].copy_from_slice(x);
            }
            first += own;
        }
    });
    Ok(Value { values: Arc::new(y), dims: vec![n, height, width, channels] })
}

/// Some of the channels of each pixel.
fn picked(x: &[f32], channels: usize, range: std::ops::Range<usize>) -> Vec<f32> {
    let own = range.len();
    let mut y = vec![0.0; x.len() / channels.max(1) * own];
    const PIXELS: usize = 256;
    y.par_chunks_mut((PIXELS * own).max(1)).zip(x.par_chunks(PIXELS * channels)).run(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(own).zip(x.chunks_exact(channels)) {
            y.copy_from_slice(&x[range.clone()]);
        }
    });
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::Backbone;
    use crate::config::InputShape;
    use crate::init::Parameters;
    use crate::ops::testing::{assert_close, variable};
    use candle_core::{DType, Device};

    /// Features, gradients of all trained variables and running statistics, by the graph of candle and by the tape.
    fn both_ways(backbone: Backbone, side: usize) {
        let input = InputShape { height: side, width: side, channels: 3 };
        let x = variable("x", &[3, side, side, 3]).as_tensor().detach();
        let mode = Mode::training_step(5, 1);
        let run = |taped: bool| {
            let parameters = Parameters::seeded(2);
            let vb = parameters.builder(DType::F32, &Device::Cpu).pp("backbone");
            // With narrow linear layers.
            let layers = backbone.describe(input, vb, |_| 8).unwrap();
            let trace = match taped {
                true => Trace::of_layers(&layers, &x, mode).unwrap(),
                false => Trace::of_graph(layers.forward(&x, mode).unwrap()),
            };
            let y = trace.features().clone();
            let weight = variable("dy", y.dims());
            let loss = (&y * weight.as_tensor()).unwrap().sum_all().unwrap();
            let mut gradients = loss.backward().unwrap();
            trace.back(&mut gradients).unwrap();
            (y, gradients, parameters)
        };
        let ((y, got, of_tape), (expected_y, expected, of_graph)) = (run(true), run(false));
        assert_close(&y, &expected_y, 0.0);
        for ((name, var), (_, other)) in of_tape.trainable().into_iter().zip(of_graph.trainable()) {
            match (got.get(&var), expected.get(&other)) {
                (Some(got), Some(expected)) => assert_close(got, expected, 1e-5),
                (None, None) => assert!(name.ends_with(".bias"), "{name} has no gradient"),
                (got, _) => panic!("{name}: one gradient, of the tape: {}", got.is_some()),
            }
        }
        for ((name, var), (_, other)) in of_tape.all().into_iter().zip(of_graph.all()) {
            if name.contains("running") {
                assert_close(var.as_tensor(), other.as_tensor(), 0.0);
            }
        }
    }

    #[test]
    fn the_tape_has_the_values_and_gradients_of_the_graph() {
        for backbone in Backbone::ALL {
            // Large enough for each, small enough for a test.
            both_ways(backbone, backbone.min_side().max(16));
        }
    }

    #[test]
    fn pixels_are_transposed_joined_and_picked() {
        let x = Value::new((0..12).map(|i| i as f32).collect(), &[2, 1, 3, 2]);
        let dims = dims4(&x).unwrap();
        let flat = flattened(x.clone(), dims);
        assert_eq!(flat.values[..6], [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(unflattened(flat.values.to_vec(), dims), *x.values);
        let both = joined(&[x.clone(), x.clone()]).unwrap();
        assert_eq!(both.values[..8], [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0]);
        assert_eq!(picked(&both.values, 4, 2..4), *x.values);
        let other = Value::new(vec![0.0; 4], &[1, 1, 2, 2]);
        assert!(joined(&[x, other]).is_err() && joined(&[]).is_err());
    }
}
