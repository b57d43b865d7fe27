//! The operators that only some networks have, as ONNX operators.

use candle_core::Result;

use super::graph::{GraphBuilder, Value};
use crate::image::InputShape;
use crate::ops::{Attention, LayerNorm, Probe, Scale, Tokens, Unary};

/// Adds an operator on images `[n, channels, height, width]` and returns the name of its output.
pub(super) fn unary(graph: &mut GraphBuilder, unary: &Unary, x: &Value) -> Result<String> {
    match unary {
        Unary::LayerNorm(norm) => layer_norm(graph, norm, x),
        Unary::Scale(Scale { weight }) => {
            let factors = per_channel(graph, &weight.flatten_all()?.to_vec1()?);
            Ok(graph.node("Mul", &[&x.name, &factors]))
        }
        Unary::Tokens(tokens) => row_of_tokens(graph, tokens, x),
        Unary::Attention(attention) => Ok(attend(graph, *attention, x)),
        Unary::Probe(probe) => one_query(graph, probe, x),
        Unary::FirstToken(_) => {
            let row = sliced(graph, &x.name, 2, [0, 1]);
            Ok(sliced(graph, &row, 3, [0, 1]))
        }
    }
}

fn per_channel(graph: &mut GraphBuilder, values: &[f32]) -> String {
    graph.floats(&[values.len(), 1, 1], values)
}

/// The positions from `start` to `end` along an axis.
pub(super) fn sliced(
    graph: &mut GraphBuilder,
    x: &str,
    axis: i64,
    [start, end]: [i64; 2],
) -> String {
    let (start, end, axis) = (graph.ints(&[start]), graph.ints(&[end]), graph.ints(&[axis]));
    graph.node("Slice", &[x, &start, &end, &axis])
}

fn reshaped(graph: &mut GraphBuilder, x: &str, dims: &[usize]) -> String {
    // In ONNX a size of 0 keeps the size of the input, here the number of images.
    let dims: Vec<i64> = std::iter::once(0).chain(dims.iter().map(|dim| *dim as i64)).collect();
    let dims = graph.ints(&dims);
    graph.node("Reshape", &[x, &dims])
}

fn layer_norm(graph: &mut GraphBuilder, norm: &LayerNorm, x: &Value) -> Result<String> {
    let mean =
        |graph: &mut GraphBuilder, x: &str| graph.node_with("ReduceMean", &[x], &[("axes", &[1])]);
    let centre = mean(graph, &x.name);
    let centred = graph.node("Sub", &[&x.name, &centre]);
    let squares = graph.node("Mul", &[&centred, &centred]);
    let variance = mean(graph, &squares);
    let eps = graph.floats(&[], &[norm.eps as f32]);
    let sum = graph.node("Add", &[&variance, &eps]);
    let deviation = graph.node("Sqrt", &[&sum]);
    let normalised = graph.node("Div", &[&centred, &deviation]);
    let weight = per_channel(graph, &norm.weight.to_vec1()?);
    let bias = per_channel(graph, &norm.bias.to_vec1()?);
    let scaled = graph.node("Mul", &[&normalised, &weight]);
    Ok(graph.node("Add", &[&scaled, &bias]))
}

/// Transposes `[tokens, channels]` to a constant `[channels, 1, tokens]`.
fn by_channel(graph: &mut GraphBuilder, rows: &[f32], channels: usize) -> String {
    let tokens = rows.len() / channels;
    let value = |at: usize| rows[at % tokens * channels + at / tokens];
    let values: Vec<f32> = (0..rows.len()).map(value).collect();
    graph.floats(&[channels, 1, tokens], &values)
}

fn row_of_tokens(graph: &mut GraphBuilder, tokens: &Tokens, x: &Value) -> Result<String> {
    let InputShape { height, width, channels, .. } = x.shape;
    let (learnt, of_pixels) = tokens.learnt(channels)?;
    let row = reshaped(graph, &x.name, &[channels, 1, height * width]);
    let places = by_channel(graph, &of_pixels, channels);
    let pixels = graph.node("Add", &[&row, &places]);
    if learnt.is_empty() {
        return Ok(pixels);
    }
    let count = learnt.len() / channels;
    let learnt = by_channel(graph, &learnt, channels);
    let images = graph.node_with("Shape", &[&x.name], &[("start", &[0]), ("end", &[1])]);
    let sides = graph.ints(&[channels as i64, 1, count as i64]);
    let shape = graph.node_with("Concat", &[&images, &sides], &[("axis", &[0])]);
    let learnt = graph.node("Expand", &[&learnt, &shape]);
    Ok(graph.node_with("Concat", &[&learnt, &pixels], &[("axis", &[3])]))
}

fn attend(graph: &mut GraphBuilder, attention: Attention, x: &Value) -> String {
    let Attention { heads, causal } = attention;
    let InputShape { height, width, channels, .. } = x.shape;
    let (tokens, dims) = (height * width, channels / (3 * heads));
    let all = reshaped(graph, &x.name, &[3 * heads, dims, tokens]);
    let heads = heads as i64;
    let query = sliced(graph, &all, 1, [0, heads]);
    let key = sliced(graph, &all, 1, [heads, 2 * heads]);
    let value = sliced(graph, &all, 1, [2 * heads, 3 * heads]);
    let turned = [("perm", &[0i64, 1, 3, 2][..])];
    let query = graph.node_with("Transpose", &[&query], &turned);
    let scale = graph.floats(&[], &[1.0 / (dims as f32).sqrt()]);
    let query = graph.node("Mul", &[&query, &scale]);
    let mut scores = graph.node("MatMul", &[&query, &key]);
    if causal {
        let hidden = later_tokens(graph, tokens);
        scores = graph.node("Add", &[&scores, &hidden]);
    }
    let shares = graph.node_with("Softmax", &[&scores], &[("axis", &[-1])]);
    let shares = graph.node_with("Transpose", &[&shares], &turned);
    let y = graph.node("MatMul", &[&value, &shares]);
    reshaped(graph, &y, &[channels / 3, height, width])
}

/// What is added to the scores of causal attention, `[tokens, tokens]`: minus infinity where a token would attend to a later one.
fn later_tokens(graph: &mut GraphBuilder, tokens: usize) -> String {
    let score = |at: usize| if at % tokens > at / tokens { f32::NEG_INFINITY } else { 0.0 };
    let scores: Vec<f32> = (0..tokens * tokens).map(score).collect();
    graph.floats(&[tokens, tokens], &scores)
}

fn one_query(graph: &mut GraphBuilder, probe: &Probe, x: &Value) -> Result<String> {
    let InputShape { height, width, channels, .. } = x.shape;
    let (tokens, dims) = (height * width, channels / probe.heads);
    let weight = probe.weight.flatten_all()?.to_vec1::<f32>()?;
    let bias = probe.bias.to_vec1::<f32>()?;
    let query = graph.floats(&[probe.heads, 1, dims], &probe.query()?);
    let weight = graph.floats(&[2 * channels, channels, 1, 1], &weight[channels * channels..]);
    let bias = graph.floats(&[2 * channels], &bias[channels..]);
    let both = graph.node("Conv", &[&x.name, &weight, &bias]);
    let both = reshaped(graph, &both, &[2 * probe.heads, dims, tokens]);
    let heads = probe.heads as i64;
    let key = sliced(graph, &both, 1, [0, heads]);
    let value = sliced(graph, &both, 1, [heads, 2 * heads]);
    let scores = graph.node("MatMul", &[&query, &key]);
    let shares = graph.node_with("Softmax", &[&scores], &[("axis", &[-1])]);
    let shares = graph.node_with("Transpose", &[&shares], &[("perm", &[0, 1, 3, 2])]);
    let y = graph.node("MatMul", &[&value, &shares]);
    Ok(reshaped(graph, &y, &[channels, 1, 1]))
}
