//! Export of a trained network as an ONNX model, which takes pixels and returns packed codes. `text.rs` exports text towers.
//!
//! The input is `images`: u8 `[n, height, width, channels]`, as for [`Encoder`](crate::Encoder). The outputs are `codes`: u8
//! `[n, ceil(bits / 8)]`, packed as by [`Encoder::encode_packed_into`](crate::Encoder::encode_packed_into), and `values`: f32 `[n, bits]`, whose
//! signs are the bits. The metadata are `dhih.bits`, `dhih.model_sha256` and `dhih.config`.

mod graph;
mod layers;
mod operators;
mod proto;
mod text;

use std::path::Path;

use prost::Message;

use self::graph::{GraphBuilder, Value};
use self::proto::{FLOAT, Model, OperatorSet, Property, UINT8};
pub use self::text::{text_to_bytes, write_text};
use crate::config::NetworkConfig;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::image::InputShape;
use crate::network::Network;
use crate::views::View;

/// The versions of the operator set and of the file format. They are those of 2022, so that older runtimes read them, too.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// Writes the network under `path`, which appears only when it is complete. `model_sha256` is the SHA-256 of its checkpoint.
///
/// # Errors
/// As [`to_bytes`], and when the file cannot be written.
pub fn write(network: &Network, model_sha256: &str, path: &Path) -> Result<()> {
    write_atomically(path, &to_bytes(network, model_sha256)?)
}

/// The network as the bytes of an ONNX file; the same network gives the same bytes.
///
/// # Errors
/// [`Error::Config`] where the backbone is not made of layers.
pub fn to_bytes(network: &Network, model_sha256: &str) -> Result<Vec<u8>> {
    let Some(layers) = network.layers() else {
        let (name, got) = ("backbone", network.config().backbone.name().to_owned());
        let expected = "one that is made of layers: export it with its own library".to_owned();
        return Err(Error::Config { name, got, expected });
    };
    let NetworkConfig { input, normalization, bits, views, .. } = network.config();
    let views = views.of(*input);
    let InputShape { height, width, channels, .. } = *input;
    let mut graph = GraphBuilder::default();
    graph.input("images", UINT8, &[height, width, channels]);
    let images = of_views(&mut graph, "images", &views, *input);
    let name = layers::pixels(&mut graph, &images, normalization);
    let x = Value { name, shape: *input, is_vector: false };
    let values = layers::sequential(&mut graph, &layers.folded()?, x)?.name;
    let values = weighted_mean(&mut graph, &values, &views, *bits);
    graph.output("codes", UINT8, &[bits.div_ceil(8)], |graph| pack(graph, &values, *bits));
    graph.output("values", FLOAT, &[*bits], |graph| graph.node("Identity", &[&values]));
    let config = serde_json::to_string(network.config()).map_err(|error| Error::Config {
        name: "config",
        got: error.to_string(),
        expected: "one that has a JSON form".to_owned(),
    })?;
    let metadata =
        [("bits", bits.to_string()), ("model_sha256", model_sha256.to_owned()), ("config", config)];
    Ok(model(graph, metadata))
}

/// The bytes of a file with this graph and these metadata, whose names get the prefix `dhih.`.
fn model<const N: usize>(graph: GraphBuilder, metadata: [(&str, String); N]) -> Vec<u8> {
    let property = |(key, value): (&str, String)| Property {
        key: Some(format!("dhih.{key}")),
        value: Some(value),
    };
    let model = Model {
        ir_version: Some(IR_VERSION),
        producer_name: Some("dhih".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(graph.finish("dhih")),
        opset_import: vec![OperatorSet { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: metadata.map(property).to_vec(),
    };
    model.encode_to_vec()
}

/// All views of the images, one view after the other along the first dimension.
fn of_views(graph: &mut GraphBuilder, images: &str, views: &[View], shape: InputShape) -> String {
    if let [_] = views {
        return images.to_owned();
    }
    let mut of_view = |view: &View| {
        let mut taken = |from: &str, sources: Vec<usize>, axis: i64| {
            let sources: Vec<i64> = sources.into_iter().map(|source| source as i64).collect();
            let sources = graph.ints(&sources);
            graph.node_with("Gather", &[from, &sources], &[("axis", &[axis])])
        };
        let rows = taken(images, view.rows(shape), 1);
        taken(&rows, view.columns(shape), 2)
    };
    let names: Vec<String> = views.iter().map(&mut of_view).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    graph.node_with("Concat", &names, &[("axis", &[0])])
}

/// The weighted mean over the views of each image, from rows in the order of [`of_views`].
fn weighted_mean(graph: &mut GraphBuilder, values: &str, views: &[View], bits: usize) -> String {
    if let [_] = views {
        return values.to_owned();
    }
    let shape = graph.ints(&[views.len() as i64, -1, bits as i64]);
    let by_view = graph.node("Reshape", &[values, &shape]);
    let weights: Vec<f32> = views.iter().map(|view| view.weight).collect();
    let weights = graph.floats(&[views.len(), 1, 1], &weights);
    let weighted = graph.node("Mul", &[&by_view, &weights]);
    let first = graph.ints(&[0]);
    graph.node_with("ReduceSum", &[&weighted, &first], &[("keepdims", &[0])])
}

/// Packs eight signs into a byte, the first one into the lowest bit.
fn pack(graph: &mut GraphBuilder, values: &str, bits: usize) -> String {
    let zero = graph.floats(&[], &[0.0]);
    let set = graph.node("GreaterOrEqual", &[values, &zero]);
    let mut set = graph.cast(&set, FLOAT);
    let missing = bits.next_multiple_of(8) - bits;
    if missing > 0 {
        let pads = graph.ints(&[0, 0, 0, missing as i64]);
        set = graph.node("Pad", &[&set, &pads]);
    }
    let shape = graph.ints(&[0, bits.div_ceil(8) as i64, 8]);
    let bytes = graph.node("Reshape", &[&set, &shape]);
    let places = graph.floats(&[8], &std::array::from_fn::<f32, 8, _>(|bit| (1u8 << bit).into()));
    let placed = graph.node("Mul", &[&bytes, &places]);
    let last = graph.ints(&[2]);
    let sums = graph.node_with("ReduceSum", &[&placed, &last], &[("keepdims", &[0])]);
    graph.cast(&sums, UINT8)
}

#[cfg(test)]
mod tests;
