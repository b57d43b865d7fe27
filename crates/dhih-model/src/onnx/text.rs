//! Export of a text tower, from the numbers of tokens to packed codes. The tokenizer itself has no operators in ONNX; its file is in the
//! metadata.
//!
//! The input is `tokens`: i64 `[n, context]`, padded with the token of the end. The outputs are `codes` and `values`, as of a network, and
//! `vectors`: f32 `[n, features]`, in the space of the features of pictures.

use std::path::Path;

use candle_core::Result as TensorResult;

use super::graph::{GraphBuilder, Value};
use super::operators::sliced;
use super::proto::{FLOAT, INT64, UINT8};
use super::{layers, model, pack};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::image::InputShape;
use crate::text::{Parts, TextEncoder, TextFamily, TextTower};

/// Writes the encoder of texts under `path`, which appears only when it is complete.
///
/// # Errors
/// As [`text_to_bytes`], and when the file cannot be written.
pub fn write_text(encoder: &TextEncoder, path: &Path) -> Result<()> {
    write_atomically(path, &text_to_bytes(encoder)?)
}

/// The encoder of texts as the bytes of an ONNX file; the same encoder gives the same bytes.
///
/// # Errors
/// [`Error::Config`] where the map to codes is not linear.
pub fn text_to_bytes(encoder: &TextEncoder) -> Result<Vec<u8>> {
    let Parts { tokenizer, tower, codec } = encoder.parts();
    let (config, bits) = (tower.config(), codec.bits());
    let mut graph = GraphBuilder::default();
    graph.input("tokens", INT64, &[config.context]);
    let tokens = hidden(&mut graph, tower)?;
    let chosen = match config.family {
        TextFamily::Clip => at_end(&mut graph, &tokens, tokenizer.end()),
        TextFamily::Siglip => {
            let last = config.context as i64;
            sliced(&mut graph, &tokens.name, 3, [last - 1, last])
        }
    };
    let shape = InputShape::new(1, 1, config.channels);
    let chosen = Value { name: chosen, shape, is_vector: false };
    let vectors = layers::sequential(&mut graph, &tower.head, chosen)?.name;
    let values = values(&mut graph, codec, &vectors)?;
    graph.output("codes", UINT8, &[bits.div_ceil(8)], |graph| pack(graph, &values, bits));
    graph.output("values", FLOAT, &[bits], |graph| graph.node("Identity", &[&values]));
    let features = [config.features];
    graph.output("vectors", FLOAT, &features, |graph| graph.node("Identity", &[&vectors]));
    let config = serde_json::to_string(config).map_err(|error| Error::Config {
        name: "text",
        got: error.to_string(),
        expected: "one that has a JSON form".to_owned(),
    })?;
    let metadata = [
        ("bits", bits.to_string()),
        ("model_sha256", encoder.model_sha256().to_owned()),
        ("text", config),
        ("tokenizer", tokenizer.json().to_owned()),
    ];
    Ok(model(graph, metadata))
}

/// The tokens behind all blocks, `[n, channels, 1, context]`.
fn hidden(graph: &mut GraphBuilder, tower: &TextTower) -> TensorResult<Value> {
    let config = tower.config();
    let (context, channels) = (config.context, config.channels);
    let embedding = layers::constant(graph, &tower.embedding)?;
    let positions = layers::constant(graph, &tower.positions)?;
    let x = graph.node_with("Gather", &[&embedding, "tokens"], &[("axis", &[0])]);
    let x = graph.node("Add", &[&x, &positions]);
    let x = graph.node_with("Transpose", &[&x], &[("perm", &[0, 2, 1])]);
    let row = graph.ints(&[0, channels as i64, 1, context as i64]);
    let name = graph.node("Reshape", &[&x, &row]);
    let x = Value { name, shape: InputShape::new(1, context, channels), is_vector: false };
    layers::sequential(graph, &tower.blocks, x)
}

/// The first token of each text that is the token of the end, `[n, channels, 1, 1]`: all further ones are padding.
fn at_end(graph: &mut GraphBuilder, x: &Value, end: u32) -> String {
    let context = x.shape.width as i64;
    let end = graph.ints(&[end.into()]);
    let is_end = graph.node("Equal", &["tokens", &end]);
    let is_end = graph.cast(&is_end, FLOAT);
    let first = graph.node_with("ArgMax", &[&is_end], &[("axis", &[1]), ("keepdims", &[1])]);
    let places = graph.ints(&(0..context).collect::<Vec<_>>());
    let is_first = graph.node("Equal", &[&first, &places]);
    let is_first = graph.cast(&is_first, FLOAT);
    let row = graph.ints(&[0, 1, 1, context]);
    let is_first = graph.node("Reshape", &[&is_first, &row]);
    let kept = graph.node("Mul", &[&x.name, &is_first]);
    let axis = graph.ints(&[3]);
    graph.node_with("ReduceSum", &[&kept, &axis], &[("keepdims", &[1])])
}

/// The real values behind the codes of vectors, `[n, bits]`, as [`Codec::encode`] computes them.
fn values(graph: &mut GraphBuilder, codec: &Codec, vectors: &str) -> Result<String> {
    let Some((weight, bias)) = codec.affine() else {
        let (name, got) = ("method", codec.config().method.name().to_owned());
        return Err(Error::Config { name, got, expected: "a linear method".to_owned() });
    };
    let mut x = vectors.to_owned();
    if codec.config().normalize {
        let squares = graph.node("Mul", &[&x, &x]);
        let axis = graph.ints(&[1]);
        let square = graph.node_with("ReduceSum", &[&squares, &axis], &[("keepdims", &[1])]);
        let length = graph.node("Sqrt", &[&square]);
        x = graph.node("Div", &[&x, &length]);
    }
    let weight = graph.floats(&[codec.bits(), codec.dims()], &weight);
    let bias = graph.floats(&[codec.bits()], &bias);
    Ok(graph.node_with("Gemm", &[&x, &weight, &bias], &[("transB", &[1])]))
}
