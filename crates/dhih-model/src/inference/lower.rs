//! Layers to steps between values.
//!
//! Invariants: values are numbered in the order in which they are made, 0 being the input; steps are in an order in which they can be
//! computed. Convolutions are offered to [`Sites`] in the same order whatever the precision, so that a calibration fits.

use candle_core::{Result, Tensor};

use super::linear::Linear;
use super::sites::Sites;
use super::step::Op;
use crate::config::InputShape;
use crate::layer::{Layer, Sequential};
use crate::ops::{Conv2d, Convolution, Filters, Geometry, Grid, MaxWindows};

/// A value of one image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub(super) id: usize,
    pub(super) shape: InputShape,
}

/// A step between values.
pub(super) struct Draft {
    pub(super) op: Op,
    pub(super) from: usize,
    pub(super) other: Option<usize>,
    pub(super) to: usize,
    pub(super) offset: usize,
    /// The number of a convolution that can be computed in integers.
    pub(super) site: Option<usize>,
}

/// The steps of a stage, as they are made.
pub(super) struct Lowering<'a, 'b> {
    pub(super) drafts: Vec<Draft>,
    /// Values of one image, by value.
    pub(super) lens: Vec<usize>,
    /// Whether value 0 is the network's input.
    is_first: bool,
    sites: &'a mut Sites<'b>,
}

impl<'a, 'b> Lowering<'a, 'b> {
    pub(super) fn new(input: InputShape, is_first: bool, sites: &'a mut Sites<'b>) -> Self {
        Self { drafts: Vec::new(), lens: vec![input.len()], is_first, sites }
    }

    pub(super) fn value(&mut self, shape: InputShape) -> Value {
        self.lens.push(shape.len());
        Value { id: self.lens.len() - 1, shape }
    }

    pub(super) fn push(&mut self, op: Op, from: Value, other: Option<Value>, to: Value) -> Value {
        let other = other.map(|other| other.id);
        self.drafts.push(Draft { op, from: from.id, other, to: to.id, offset: 0, site: None });
        to
    }

    pub(super) fn sequential(&mut self, layers: &[Layer], x: Value) -> Result<Value> {
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
            Layer::Conv(conv) => {
                let (op, site) = self.convolution(conv, x, None)?;
                let to = self.value(shape);
                self.drafts.push(Draft { site, ..Draft::new(op, x, to) });
                return Ok(to);
            }
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
        if let Some(conv) = merged(branches)? {
            return self.layer(&Layer::Conv(conv), x);
        }
        let to = self.value(shape);
        let mut offset = 0;
        for Sequential(branch) in branches {
            let (from, (op, site), channels) = match branch.split_last() {
                Some((Layer::Conv(conv), before)) if !conv.activation.needs_input() => {
                    let x = self.sequential(before, x)?;
                    (x, self.convolution(conv, x, Some(shape.channels))?, conv.weight.dims()[0])
                }
                _ => {
                    let x = self.sequential(branch, x)?;
                    let channels = x.shape.channels;
                    (x, (Op::Copy { channels, pixel: shape.channels }, None), channels)
                }
            };
            self.drafts.push(Draft { offset, site, ..Draft::new(op, from, to) });
            offset += channels;
        }
        Ok(to)
    }

    /// Packs the weights of a convolution, and returns its number, too, where it can be computed in integers. Its output has `pixel` channels
    /// where other channels are written beside its own.
    fn convolution(
        &mut self,
        conv: &Conv2d,
        x: Value,
        pixel: Option<usize>,
    ) -> Result<(Op, Option<usize>)> {
        let InputShape { height, width, channels, .. } = x.shape;
        let dims = [1, height, width, channels];
        let (geometry, _) = Geometry::new(&dims, conv.weight.dims(), conv.config)?;
        let geometry = pixel.map_or(geometry, |pixel| geometry.among(pixel));
        let weight = conv.weight.flatten_all()?.to_vec1::<f32>()?;
        let bias = conv.bias.as_ref().map(|bias| bias.to_vec1::<f32>()).transpose()?;
        let filters =
            Filters { weight: &weight, bias: bias.as_deref(), activation: conv.activation };
        let is_on_input = self.is_first && x.id == 0;
        let site = if is_on_input { None } else { self.sites.number(&geometry, &weight) };
        if let Some(quantized) = site.and_then(|site| self.sites.quantized(site, geometry, filters))
        {
            return Ok((Op::Quantized(Box::new(quantized)), site));
        }
        let Filters { weight, bias, activation } = filters;
        let convolution = Convolution::new(geometry, weight, bias, activation);
        Ok((Op::Conv(Box::new(convolution)), site))
    }
}

impl Draft {
    fn new(op: Op, from: Value, to: Value) -> Self {
        Self { op, from: from.id, other: None, to: to.id, offset: 0, site: None }
    }
}

/// One convolution in place of branches that are a convolution of single pixels each, such as those to queries, keys and values: the
/// input is read once. Each output is the same sum as before.
fn merged(branches: &[Sequential]) -> Result<Option<Conv2d>> {
    let mut convs = Vec::with_capacity(branches.len());
    for Sequential(branch) in branches {
        match &branch[..] {
            [Layer::Conv(conv)] => convs.push(conv),
            _ => return Ok(None),
        }
    }
    let Some(first) = convs.first() else { return Ok(None) };
    let is_alike = |conv: &&Conv2d| {
        let of_pixels = conv.weight.rank() == 2 || conv.weight.dims().ends_with(&[1, 1]);
        of_pixels
            && conv.weight.rank() == first.weight.rank()
            && conv.config == first.config
            && conv.config.groups == 1
            && conv.activation == first.activation
            && conv.bias.is_some() == first.bias.is_some()
    };
    if !convs.iter().all(is_alike) {
        return Ok(None);
    }
    let weights: Vec<&Tensor> = convs.iter().map(|conv| &conv.weight).collect();
    let biases: Vec<&Tensor> = convs.iter().filter_map(|conv| conv.bias.as_ref()).collect();
    let bias = if biases.is_empty() { None } else { Some(Tensor::cat(&biases, 0)?) };
    let (config, activation) = (first.config, first.activation);
    Ok(Some(Conv2d { weight: Tensor::cat(&weights, 0)?, bias, config, activation }))
}
