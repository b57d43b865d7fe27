//! Layers as ONNX operators. Images inside the graph are `[n, channels, height, width]`, the layout of ONNX.

use candle_core::{Result, Tensor};

use super::graph::{GraphBuilder, Value};
use super::operators;
use super::proto::FLOAT;
use crate::image::InputShape;
use crate::layer::{Layer, Linear, Sequential};
use crate::ops::{Activation, BatchNorm, Conv2d, Grid, Pool2dConfig, filters};
use crate::preprocess::Normalization;

/// Normalises u8 images, by the same operations in the same order as [`Normalization::apply`].
pub(super) fn pixels(
    graph: &mut GraphBuilder,
    images: &str,
    normalization: &Normalization,
) -> String {
    let Normalization { mean, std } = normalization;
    let x = graph.cast(images, FLOAT);
    let white = graph.floats(&[], &[255.0]);
    let x = graph.node("Div", &[&x, &white]);
    let mean = graph.floats(&[mean.len()], mean);
    let x = graph.node("Sub", &[&x, &mean]);
    let std = graph.floats(&[std.len()], std);
    let x = graph.node("Div", &[&x, &std]);
    graph.node_with("Transpose", &[&x], &[("perm", &[0, 3, 1, 2])])
}

/// Adds folded layers and returns their output.
pub(super) fn sequential(graph: &mut GraphBuilder, layers: &Sequential, x: Value) -> Result<Value> {
    layers.0.iter().try_fold(x, |x, layer| {
        let is_vector = x.is_vector || matches!(layer, Layer::Flatten);
        Ok(Value { shape: layer.output(x.shape)?, name: one(graph, layer, x)?, is_vector })
    })
}

fn one(graph: &mut GraphBuilder, layer: &Layer, x: Value) -> Result<String> {
    Ok(match layer {
        Layer::Conv(conv) => convolution(graph, conv, &x)?,
        Layer::Linear(linear) => fully_connected(graph, linear, &x.name)?,
        Layer::Norm(norm) => normalization(graph, norm, &x)?,
        Layer::Activation(activation) => activated(graph, *activation, x.name),
        Layer::MaxPool(config) => pool(graph, "MaxPool", *config, &x)?,
        Layer::AvgPool(config) => pool(graph, "AveragePool", *config, &x)?,
        Layer::AdaptiveAvgPool(size) => means(graph, *size, x)?,
        Layer::Dropout(_) => x.name,
        Layer::Flatten => graph.node_with("Flatten", &[&x.name], &[("axis", &[1])]),
        Layer::Residual { body, shortcut, activation } => {
            let sum = sequential(graph, body, x.clone())?;
            let other = sequential(graph, shortcut, x)?;
            let sum = graph.node("Add", &[&sum.name, &other.name]);
            activated(graph, *activation, sum)
        }
        Layer::Concat(branches) => {
            let branches = branches.iter().map(|branch| sequential(graph, branch, x.clone()));
            let branches = branches.collect::<Result<Vec<_>>>()?;
            let names: Vec<&str> = branches.iter().map(|branch| branch.name.as_str()).collect();
            graph.node_with("Concat", &names, &[("axis", &[1])])
        }
        Layer::Gate(gate) => {
            let gate = sequential(graph, gate, x.clone())?;
            graph.node("Mul", &[&x.name, &gate.name])
        }
        Layer::Unary(unary) => operators::unary(graph, unary, &x)?,
    })
}

/// Adds the values of a tensor as a constant.
pub(super) fn constant(graph: &mut GraphBuilder, tensor: &Tensor) -> Result<String> {
    Ok(graph.floats(tensor.dims(), &tensor.flatten_all()?.to_vec1::<f32>()?))
}

fn convolution(graph: &mut GraphBuilder, conv: &Conv2d, x: &Value) -> Result<String> {
    let Conv2d { weight, bias, config, activation } = conv;
    let [stride, dilation, groups] =
        [config.stride, config.dilation, config.groups].map(|size| size as i64);
    let shape @ [_, _, kernel_height, kernel_width] = filters(weight.dims())?;
    let [top, bottom] = config.border(x.shape.height, kernel_height).map(|size| size as i64);
    let [left, right] = config.border(x.shape.width, kernel_width).map(|size| size as i64);
    let weight = weight.flatten_all()?.to_vec1::<f32>()?;
    let mut inputs = vec![x.name.clone(), graph.floats(&shape, &weight)];
    if let Some(bias) = bias {
        inputs.push(constant(graph, bias)?);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let attributes: [(&str, &[i64]); 4] = [
        ("strides", &[stride; 2]),
        ("pads", &[top, left, bottom, right]),
        ("dilations", &[dilation; 2]),
        ("group", &[groups]),
    ];
    let y = graph.node_with("Conv", &inputs, &attributes);
    Ok(activated(graph, *activation, y))
}

fn fully_connected(graph: &mut GraphBuilder, linear: &Linear, x: &str) -> Result<String> {
    let Linear { weight, bias, activation } = linear;
    let mut inputs = vec![x.to_owned(), constant(graph, weight)?];
    if let Some(bias) = bias {
        inputs.push(constant(graph, bias)?);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let y = graph.node_with("Gemm", &inputs, &[("transB", &[1])]);
    Ok(activated(graph, *activation, y))
}

/// Batch norm that could not be folded into a layer before it.
fn normalization(graph: &mut GraphBuilder, norm: &BatchNorm, x: &Value) -> Result<String> {
    let (scale, shift) = norm.scale_and_shift()?;
    let channels = x.shape.channels;
    let dims: &[usize] = if x.is_vector { &[channels] } else { &[channels, 1, 1] };
    let scale = graph.floats(dims, &scale.to_vec1()?);
    let shift = graph.floats(dims, &shift.to_vec1()?);
    let scaled = graph.node("Mul", &[&x.name, &scale]);
    let shifted = graph.node("Add", &[&scaled, &shift]);
    Ok(activated(graph, norm.activation, shifted))
}

fn activated(graph: &mut GraphBuilder, activation: Activation, x: String) -> String {
    match activation {
        Activation::Identity => x,
        Activation::Relu => graph.node("Relu", &[&x]),
        Activation::Relu6 => {
            let (low, high) = (graph.floats(&[], &[0.0]), graph.floats(&[], &[6.0]));
            graph.node("Clip", &[&x, &low, &high])
        }
        Activation::Gelu => {
            let scaled = times(graph, &x, std::f32::consts::FRAC_1_SQRT_2);
            let erf = graph.node("Erf", &[&scaled]);
            let one = graph.floats(&[], &[1.0]);
            let sum = graph.node("Add", &[&erf, &one]);
            let product = graph.node("Mul", &[&x, &sum]);
            times(graph, &product, 0.5)
        }
        Activation::GeluTanh => {
            let cube = graph.node("Mul", &[&x, &x]);
            let cube = graph.node("Mul", &[&cube, &x]);
            let cube = times(graph, &cube, 0.044_715);
            let sum = graph.node("Add", &[&x, &cube]);
            let inner = times(graph, &sum, (8.0 / std::f32::consts::PI).sqrt());
            times_sigmoid(graph, &x, &inner)
        }
        Activation::QuickGelu => {
            let inner = times(graph, &x, 1.702);
            times_sigmoid(graph, &x, &inner)
        }
        Activation::Silu => times_sigmoid(graph, &x, &x),
        Activation::Sigmoid => graph.node("Sigmoid", &[&x]),
        Activation::HardSwish => {
            let ramp = ramp(graph, &x);
            graph.node("Mul", &[&x, &ramp])
        }
        Activation::HardSigmoid => ramp(graph, &x),
    }
}

fn times(graph: &mut GraphBuilder, x: &str, factor: f32) -> String {
    let factor = graph.floats(&[], &[factor]);
    graph.node("Mul", &[x, &factor])
}

fn times_sigmoid(graph: &mut GraphBuilder, x: &str, inner: &str) -> String {
    let sigmoid = graph.node("Sigmoid", &[inner]);
    graph.node("Mul", &[x, &sigmoid])
}

/// The value of `min(max(x + 3, 0), 6) / 6`.
fn ramp(graph: &mut GraphBuilder, x: &str) -> String {
    let (three, low, high) =
        (graph.floats(&[], &[3.0]), graph.floats(&[], &[0.0]), graph.floats(&[], &[6.0]));
    let sum = graph.node("Add", &[x, &three]);
    let clipped = graph.node("Clip", &[&sum, &low, &high]);
    times(graph, &clipped, 1.0 / 6.0)
}

/// Pooling. A last window that reaches over the far border becomes explicit padding, because runtimes differ in how they round sizes up.
fn pool(
    graph: &mut GraphBuilder,
    op_type: &str,
    config: Pool2dConfig,
    x: &Value,
) -> Result<String> {
    let Pool2dConfig { kernel, stride, padding, .. } = config;
    let behind = |size: usize| -> Result<i64> {
        let covered = (config.positions(size)? - 1) * stride + kernel;
        Ok(covered.saturating_sub(size + padding) as i64)
    };
    let before = padding as i64;
    let pads = [before, before, behind(x.shape.height)?, behind(x.shape.width)?];
    let mut attributes: Vec<(&str, &[i64])> = Vec::new();
    let (kernel, stride) = ([kernel as i64; 2], [stride as i64; 2]);
    attributes.extend([
        ("kernel_shape", &kernel[..]),
        ("strides", &stride[..]),
        ("pads", &pads[..]),
    ]);
    if op_type == "AveragePool" {
        attributes.push(("count_include_pad", &[0]));
    }
    Ok(graph.node_with(op_type, &[&x.name], &attributes))
}

/// Adaptive average pooling: no operator where the size does not change, one for a single window, else a matrix product along each side.
fn means(graph: &mut GraphBuilder, size: (usize, usize), x: Value) -> Result<String> {
    let InputShape { height, width, .. } = x.shape;
    if size == (height, width) {
        return Ok(x.name);
    }
    if size == (1, 1) {
        return Ok(graph.node("GlobalAveragePool", &[&x.name]));
    }
    let Grid { rows, columns } = Grid::adaptive((height, width), size)?;
    let share = |window: &std::ops::Range<usize>, at: usize| {
        if window.contains(&at) { 1.0 / window.len() as f32 } else { 0.0 }
    };
    let by_row: Vec<f32> =
        rows.iter().flat_map(|window| (0..height).map(move |at| share(window, at))).collect();
    let by_column: Vec<f32> =
        (0..width).flat_map(|at| columns.iter().map(move |window| share(window, at))).collect();
    let (by_row, by_column) =
        (graph.floats(&[size.0, height], &by_row), graph.floats(&[width, size.1], &by_column));
    let x = graph.node("MatMul", &[&x.name, &by_column]);
    Ok(graph.node("MatMul", &[&by_row, &x]))
}
