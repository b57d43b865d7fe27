//! Layers to stages of steps: where each value lies, and how many images go together.

use std::sync::Mutex;

use candle_core::Result;

use super::linear::Linear;
use super::stage::{Place, Stage, Step, Together};
use super::step::Op;
use crate::config::InputShape;
use crate::layer::{Layer, Sequential};
use crate::ops::{Conv2d, Convolution, Geometry, Grid, MaxWindows};

/// The stages of folded layers on images of a shape; at least one.
pub(super) fn compile(layers: &Sequential, input: InputShape) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    let mut shape = input;
    let mut rest = &layers.0[..];
    let mut least = Together::Images(1);
    while !rest.is_empty() || stages.is_empty() {
        // Later layers have fewer pixels and more weights: as many images or more.
        let mut count = 0;
        let mut at = shape;
        for layer in rest {
            let together = together(layer, at)?;
            let together = if together == Together::Batch { together } else { together.max(least) };
            if count > 0 && together != least {
                break;
            }
            least = together;
            at = layer.output(at)?;
            count += 1;
        }
        let (now, later) = rest.split_at(count);
        let mut compiler = Compiler::new(shape);
        let input = Value { id: 0, shape };
        let output = compiler.sequential(now, input)?;
        stages.push(compiler.finish(output, least));
        (shape, rest) = (output.shape, later);
    }
    Ok(stages)
}

/// How many images a layer is given at once: few, so that their values stay in cache, but so many that each weight is used
/// often when it has been read.
fn together(layer: &Layer, input: InputShape) -> Result<Together> {
    /// Uses of a weight that are worth reading it from memory.
    const USES: usize = 192;
    /// Values that are read from cache anyway.
    const CACHED: usize = 1 << 16;
    let most = |layers: &Sequential| {
        let mut shape = input;
        let mut most = Together::Images(1);
        for layer in &layers.0 {
            most = most.max(together(layer, shape)?);
            shape = layer.output(shape)?;
        }
        Ok(most)
    };
    Ok(match layer {
        Layer::Linear(_) => Together::Batch,
        Layer::Conv(conv) => {
            let output = layer.output(input)?;
            // Winograd's tiles of 4 x 4 pixels use each of four times as many weights once.
            let is_3x3 = conv.weight.dims().ends_with(&[3, 3]) && conv.weight.rank() == 4;
            let (pixels, factor) = if is_3x3 && conv.config.groups == 1 { (16, 4) } else { (1, 1) };
            let uses = (output.height * output.width / pixels).max(1);
            let by_weights =
                if conv.weight.elem_count() * factor <= CACHED { 1 } else { USES.div_ceil(uses) };
            let by_values = CACHED.div_ceil(input.len() + output.len());
            Together::Images(by_weights.max(by_values).next_power_of_two())
        }
        Layer::Residual { body, shortcut, .. } => most(body)?.max(most(shortcut)?),
        Layer::Concat(branches) => {
            let each = branches.iter().map(most).collect::<Result<Vec<_>>>()?;
            each.into_iter().max().unwrap_or(Together::Images(1))
        }
        Layer::Gate(gate) => most(gate)?,
        _ => Together::Images(1),
    })
}

/// A value of one image.
#[derive(Debug, Clone, Copy)]
struct Value {
    id: usize,
    shape: InputShape,
}

/// A step between values.
struct Draft {
    op: Op,
    from: usize,
    other: Option<usize>,
    to: usize,
    offset: usize,
}

struct Compiler {
    drafts: Vec<Draft>,
    /// Values of one image, by value.
    lens: Vec<usize>,
}

impl Compiler {
    fn new(input: InputShape) -> Self {
        Self { drafts: Vec::new(), lens: vec![input.len()] }
    }

    fn value(&mut self, shape: InputShape) -> Value {
        self.lens.push(shape.len());
        Value { id: self.lens.len() - 1, shape }
    }

    fn push(&mut self, op: Op, from: Value, other: Option<Value>, to: Value) -> Value {
        let other = other.map(|other| other.id);
        self.drafts.push(Draft { op, from: from.id, other, to: to.id, offset: 0 });
        to
    }

    fn sequential(&mut self, layers: &[Layer], x: Value) -> Result<Value> {
        layers.iter().try_fold(x, |x, layer| self.layer(layer, x))
    }

    fn layer(&mut self, layer: &Layer, x: Value) -> Result<Value> {
        let shape = layer.output(x.shape)?;
        let InputShape { height, width, channels, .. } = x.shape;
        let op = match layer {
            Layer::Dropout(_) => return Ok(x),
            Layer::Flatten if height * width == 1 => return Ok(Value { shape, ..x }),
            Layer::Residual { body, shortcut, activation } => {
                let sum = self.sequential(&body.0, x)?;
                let other = self.sequential(&shortcut.0, x)?;
                let to = self.value(shape);
                return Ok(self.push(Op::Add(*activation), sum, Some(other), to));
            }
            Layer::Concat(branches) => return self.concat(branches, x, shape),
            Layer::Conv(conv) => Op::Conv(convolution(conv, x.shape, None)?),
            Layer::Linear(linear) => Op::Linear(Linear::new(linear)?),
            Layer::MaxPool(config) => {
                Op::MaxPool(MaxWindows::new((height, width, channels), *config)?)
            }
            Layer::AvgPool(config) => {
                Op::AvgPool(Grid::sliding((height, width), *config)?, (width, channels))
            }
            Layer::AdaptiveAvgPool(size) => {
                Op::AvgPool(Grid::adaptive((height, width), *size)?, (width, channels))
            }
            Layer::Norm(norm) => {
                let (scale, shift) = norm.scale_and_shift()?;
                let (scale, shift) = (scale.to_vec1()?, shift.to_vec1()?);
                Op::Norm { scale, shift, activation: norm.activation }
            }
            Layer::Activation(activation) => Op::Activation(*activation),
            Layer::Gate(gate) => {
                let gate = self.sequential(&gate.0, x)?;
                let to = self.value(shape);
                return Ok(self.push(Op::Gate, x, Some(gate), to));
            }
            Layer::Unary(unary) => Op::Unary(unary.operator().compiled([height, width, channels])?),
            Layer::Flatten => Op::Flatten(channels),
        };
        let to = self.value(shape);
        Ok(self.push(op, x, None, to))
    }

    /// Convolutions at the end of a branch write where their channels belong; what others computed is copied there.
    fn concat(&mut self, branches: &[Sequential], x: Value, shape: InputShape) -> Result<Value> {
        let to = self.value(shape);
        let mut offset = 0;
        for Sequential(branch) in branches {
            let (from, op, channels) = match branch.split_last() {
                Some((Layer::Conv(conv), before)) if !conv.activation.needs_input() => {
                    let x = self.sequential(before, x)?;
                    let convolution = convolution(conv, x.shape, Some(shape.channels))?;
                    let channels = convolution.geometry().out_channels;
                    (x, Op::Conv(convolution), channels)
                }
                _ => {
                    let x = self.sequential(branch, x)?;
                    let channels = x.shape.channels;
                    (x, Op::Copy { channels, pixel: shape.channels }, channels)
                }
            };
            self.drafts.push(Draft { op, from: from.id, other: None, to: to.id, offset });
            offset += channels;
        }
        Ok(to)
    }

    /// Gives every value a place; those that are not needed any more leave theirs to others.
    fn finish(mut self, mut output: Value, together: Together) -> Stage {
        if output.id == 0 {
            let len = output.shape.len();
            let to = self.value(output.shape);
            output = self.push(Op::Copy { channels: len, pixel: len }, output, None, to);
        }
        let mut last_use = vec![0; self.lens.len()];
        for (number, draft) in self.drafts.iter().enumerate() {
            last_use[draft.from] = number;
            draft.other.into_iter().for_each(|other| last_use[other] = number);
        }
        let mut places: Vec<Option<Place>> = vec![None; self.lens.len()];
        places[0] = Some(Place::Input);
        places[output.id] = Some(Place::Output);
        let (mut slots, mut free) = (0, Vec::new());
        let mut steps = Vec::new();
        for (number, Draft { op, from, other, to, offset }) in self.drafts.into_iter().enumerate() {
            let to_place = *places[to].get_or_insert_with(|| {
                Place::Slot(free.pop().unwrap_or_else(|| {
                    slots += 1;
                    slots - 1
                }))
            });
            let place = |value: usize| places[value].unwrap_or(Place::Input);
            let len = self.lens[to];
            let (from_place, other_place) = (place(from), other.map(place));
            steps.push(Step {
                op,
                from: from_place,
                other: other_place,
                to: to_place,
                len,
                offset,
            });
            let read = [Some((from, from_place)), other.zip(other_place)];
            let mut seen = None;
            for (value, place) in read.into_iter().flatten() {
                if let Place::Slot(slot) = place
                    && last_use[value] == number
                    && seen != Some(value)
                {
                    free.push(slot);
                    seen = Some(value);
                }
            }
        }
        let sizes = (self.lens[0], output.shape.len());
        Stage { steps, slots, together, sizes, arenas: Mutex::default() }
    }
}

/// With its weights packed; its output has `pixel` channels where others are written beside its own.
fn convolution(conv: &Conv2d, input: InputShape, pixel: Option<usize>) -> Result<Box<Convolution>> {
    let InputShape { height, width, channels, .. } = input;
    let dims = [1, height, width, channels];
    let (geometry, _) = Geometry::new(&dims, conv.weight.dims(), conv.config)?;
    let geometry = pixel.map_or(geometry, |pixel| geometry.among(pixel));
    let weight = conv.weight.flatten_all()?.to_vec1::<f32>()?;
    let bias = conv.bias.as_ref().map(|bias| bias.to_vec1::<f32>()).transpose()?;
    Ok(Box::new(Convolution::new(geometry, &weight, bias.as_deref(), conv.activation)))
}
