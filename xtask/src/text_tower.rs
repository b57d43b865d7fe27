//! A small text tower with weights that are not trained, as the file `text.safetensors` of a run, which `docs/src/run-directory.md` describes.
//! Published towers have hundreds of megabytes, too many for tests of the page and of the Python package.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::workspace::Workspace;

/// Its tokenizer, whose tokens are 0 to 107.
const TOKENIZER: &str = "crates/dhih-model/tests/data/text/clip.json";
const VOCABULARY: usize = 108;
const CONTEXT: usize = 12;
const CHANNELS: usize = 16;
const HIDDEN: usize = 24;
const DEPTH: usize = 2;
const FEATURES: usize = 64;

/// The codes with which those of texts are compared.
#[derive(Debug, Clone)]
pub(crate) struct Codes {
    pub(crate) bits: usize,
    pub(crate) model_sha256: String,
}

/// The numbers of a tensor, and its sizes.
struct Tensor {
    dims: Vec<usize>,
    values: Vec<f32>,
}

/// Writes `text.safetensors` into a folder.
pub(crate) fn write(folder: &Path, codes: &Codes, workspace: &Workspace) -> Result<()> {
    let tokenizer = workspace.root().join(TOKENIZER);
    let about = || format!("cannot read {}", workspace.show(&tokenizer));
    let tokenizer = std::fs::read_to_string(&tokenizer).with_context(about)?;
    let tower = json!({
        "family": "clip", "vocabulary": VOCABULARY, "context": CONTEXT, "channels": CHANNELS, "hidden": HIDDEN, "heads": 4,
        "depth": DEPTH, "features": FEATURES,
    });
    let Codes { bits, model_sha256 } = codes;
    let codec = json!({"method": "rotation", "dims": FEATURES, "bits": bits, "normalize": true});
    let text = json!({"tower": tower, "model_sha256": model_sha256});
    let metadata =
        [("codec", codec.to_string()), ("text", text.to_string()), ("tokenizer", tokenizer)];
    let metadata: BTreeMap<String, String> =
        metadata.into_iter().map(|(name, text)| (format!("dhih.{name}"), text)).collect();
    let file = folder.join("text.safetensors");
    let bytes = to_bytes(metadata, &tensors(*bits));
    std::fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// The tensors by name.
fn tensors(bits: usize) -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    let mut drawn = |name: String, dims: &[usize]| {
        let seed = tensors.len() as f32;
        let wave = |at: usize| ((at as f32).mul_add(1.7, seed) + (at * at % 97) as f32).sin() / 2.0;
        let values = (0..dims.iter().product()).map(wave).collect();
        tensors.insert(name, Tensor { dims: dims.to_vec(), values });
    };
    drawn("matrix".to_owned(), &[bits, FEATURES]);
    drawn("centre".to_owned(), &[FEATURES]);
    drawn("tower.text_projection.weight".to_owned(), &[FEATURES, CHANNELS]);
    let mut of_text = |name: &str, dims: &[usize]| drawn(format!("tower.text_model.{name}"), dims);
    of_text("embeddings.token_embedding.weight", &[VOCABULARY, CHANNELS]);
    of_text("embeddings.position_embedding.weight", &[CONTEXT, CHANNELS]);
    let mut layer = |name: &str, outputs: usize, inputs: Option<usize>| {
        let weight: Vec<usize> = std::iter::once(outputs).chain(inputs).collect();
        of_text(&format!("{name}.weight"), &weight);
        of_text(&format!("{name}.bias"), &[outputs]);
    };
    layer("final_layer_norm", CHANNELS, None);
    for block in 0..DEPTH {
        let mut layer = |name: &str, outputs, inputs| {
            layer(&format!("encoder.layers.{block}.{name}"), outputs, inputs);
        };
        for name in ["layer_norm1", "layer_norm2"] {
            layer(name, CHANNELS, None);
        }
        for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            layer(&format!("self_attn.{name}"), CHANNELS, Some(CHANNELS));
        }
        layer("mlp.fc1", HIDDEN, Some(CHANNELS));
        layer("mlp.fc2", CHANNELS, Some(HIDDEN));
    }
    tensors
}

/// The bytes of the file, with version and digest in its metadata.
fn to_bytes(mut metadata: BTreeMap<String, String>, tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    metadata.insert("dhih.digest".to_owned(), digest(&metadata, tensors));
    metadata.insert("dhih.version".to_owned(), "2".to_owned());
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!(metadata))]);
    let mut values = Vec::new();
    for (name, Tensor { dims, values: of_tensor }) in tensors {
        let start = values.len();
        values.extend(of_tensor.iter().flat_map(|value| value.to_le_bytes()));
        let offsets = [start, values.len()];
        header
            .insert(name.clone(), json!({"dtype": "F32", "shape": dims, "data_offsets": offsets}));
    }
    let mut header = Value::Object(header).to_string();
    // The format aligns values to 8 bytes.
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &values].concat()
}

/// SHA-256, in hex, over metadata, names, shapes and values.
fn digest(metadata: &BTreeMap<String, String>, tensors: &BTreeMap<String, Tensor>) -> String {
    let mut hash = Sha256::new();
    for (name, text) in metadata {
        hash.update(format!("{name} {}\n{text}\n", text.len()));
    }
    for (name, Tensor { dims, values }) in tensors {
        hash.update(format!("{name} {dims:?}\n"));
        values.iter().for_each(|value| hash.update(value.to_le_bytes()));
    }
    hex(&hash.finalize())
}

/// SHA-256 of a file, in hex.
pub(crate) fn sha256_of(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
