//! Codes files as safetensors: the tensors `codes`, `ids` and `labels`, and the metadata `dhih.*`. What a set of codes is:
//! `codes/set.rs`; how tensors are written: `tensor_file.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::codes::Codes;
use crate::codes::bytes::FileBytes;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::io::check_columns;
use crate::io::fault::{Fault, at};
use crate::io::metadata::{self, BITS, CLASSES, MODEL};
use crate::io::tensor_file::{self, Tensor};

/// Reads a codes file that is in memory or mapped; `path` is for the messages.
pub(crate) fn parse(path: &Path, file: FileBytes) -> Result<CodeSet> {
    let fail = |reason: &str| Fault::from(reason).at(path);
    let broken = |error| {
        Fault::caused("it is not a complete safetensors file: write it again", error).at(path)
    };
    let (head, header) = SafeTensors::read_metadata(&file).map_err(broken)?;
    let tensors = SafeTensors::deserialize(&file).map_err(broken)?;
    let metadata = |key| header.metadata().as_ref().and_then(|metadata| metadata.get(key));
    let tensor = |name| tensors.tensor(name).ok();

    let text = metadata(BITS).ok_or_else(|| fail("it has no metadata `dhih.bits`"))?;
    let bits = metadata::parse_bits(text).map_err(at(path))?;
    let codes = tensor("codes").ok_or_else(|| fail("it has no tensor `codes`"))?;
    let (Dtype::U8, &[_, columns]) = (codes.dtype(), codes.shape()) else {
        return Err(wrong_tensor(path, "codes", "u8 [n, bytes]", &codes));
    };
    check_columns(path, bits, columns)?;
    // The tensors follow the length of the header, a number of 8 bytes, and the header.
    let (start, end) = header.info("codes").map_or((0, 0), |info| info.data_offsets);
    let range = 8 + head + start..8 + head + end;

    let ids = tensor("ids").map(|ids| match (ids.dtype(), ids.shape()) {
        (Dtype::U64, &[_]) => Ok(words(ids.data()).map(u64::from_le_bytes).collect()),
        _ => Err(wrong_tensor(path, "ids", "u64 [n]", &ids)),
    });
    let labels = tensor("labels").map(|labels| match (labels.dtype(), labels.shape()) {
        (Dtype::I64, &[_]) => {
            Ok(Labels::Single(words(labels.data()).map(i64::from_le_bytes).collect()))
        }
        (Dtype::U8, &[_, classes]) => {
            Ok(Labels::MultiHot { classes, values: labels.data().to_vec() })
        }
        _ => Err(wrong_tensor(path, "labels", "i64 [n] or u8 [n, classes]", &labels)),
    });
    let classes = metadata(CLASSES).map(String::as_str);
    let classes = metadata::parse_classes(classes).map_err(at(path))?;
    let model_sha256 = metadata(MODEL).cloned();
    let (ids, labels) = (ids.transpose()?, labels.transpose()?);
    let codes = Codes::of_bytes(bits, file.slice(range))?;
    Ok(CodeSet { codes, ids, labels, classes, model_sha256 })
}

/// Writes a codes file.
pub(crate) fn write(path: &Path, set: &CodeSet) -> Result<()> {
    let CodeSet { codes, ids, labels, classes, model_sha256 } = set;
    let mut metadata = BTreeMap::from([(BITS, codes.bits().to_string())]);
    if let Some(model) = model_sha256 {
        metadata.insert(MODEL, model.clone());
    }
    if !classes.is_empty() {
        metadata.insert(CLASSES, serde_json::json!(classes).to_string());
    }
    let shape = [codes.len(), codes.bytes_per_code()];
    let mut tensors = vec![Tensor::u8("codes", &shape, codes.as_bytes())];
    if let Some(ids) = ids {
        tensors.push(Tensor::u64("ids", vec![ids.len() as u64], ids.iter().copied()));
    }
    match labels {
        Some(Labels::Single(labels)) => tensors.push(Tensor::i64("labels", labels)),
        Some(Labels::MultiHot { classes, values }) => {
            tensors.push(Tensor::u8("labels", &[codes.len(), *classes], values));
        }
        None => {}
    }
    tensor_file::write(path, &metadata, tensors)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 8]> {
    bytes.as_chunks::<8>().0.iter().copied()
}

fn wrong_tensor(path: &Path, name: &str, expected: &str, found: &TensorView) -> Error {
    let (dtype, shape) = (found.dtype(), found.shape());
    Fault::from(format!("its tensor `{name}` is {dtype:?} {shape:?}, not {expected}")).at(path)
}
