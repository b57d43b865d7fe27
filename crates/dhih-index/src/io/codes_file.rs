//! Codes files as safetensors: tensors `codes`, `ids`, `labels` and the metadata `dhih.*`, read
//! strictly and written atomically. What a set of codes is: `code_set.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::codes::Codes;
use crate::codes::bits;
use crate::codes::bytes::Source;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::io::tensor_file::{self, Tensor};

pub(crate) const BITS: &str = "dhih.bits";
pub(crate) const MODEL: &str = "dhih.model_sha256";
pub(crate) const CLASSES: &str = "dhih.classes";

/// Takes a safetensors codes file; `path` is for the messages.
pub(crate) fn parse(path: &Path, file: Source) -> Result<CodeSet> {
    let fail = |reason: String| Error::codes_file(path, reason);
    let broken =
        |error| fail(format!("{error:?}: it is no whole safetensors file; write it again"));
    let (head, header) = SafeTensors::read_metadata(&file).map_err(broken)?;
    let tensors = SafeTensors::deserialize(&file).map_err(broken)?;
    let metadata = |key| header.metadata().as_ref().and_then(|metadata| metadata.get(key));
    let tensor = |name| tensors.tensor(name).ok();

    let text = metadata(BITS).ok_or_else(|| fail(format!("it has no metadata `{BITS}`")))?;
    let bits = text.parse().map_err(|_| fail(format!("its `{BITS}` is {text:?}, no number")))?;
    let codes = tensor("codes").ok_or_else(|| fail("it has no tensor `codes`".into()))?;
    let (Dtype::U8, &[_, columns]) = (codes.dtype(), codes.shape()) else {
        return Err(wrong_tensor(path, "codes", "u8 [n, bytes]", &codes));
    };
    check_columns(path, bits, columns)?;
    // Before the tensors are a number of 8 bytes and the header.
    let place = header.info("codes").map_or((0, 0), |info| info.data_offsets);
    let place = 8 + head + place.0..8 + head + place.1;

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
    let classes = match metadata(CLASSES) {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| fail(format!("its `{CLASSES}` is no JSON list of names: {error}")))?,
        None => Vec::new(),
    };
    let model_sha256 = metadata(MODEL).cloned();
    let (ids, labels) = (ids.transpose()?, labels.transpose()?);
    let codes = Codes::of_bytes(bits, file.part(place))?;
    Ok(CodeSet { codes, ids, labels, classes, model_sha256 })
}

/// Refuses codes of `bits` bits in as many bytes, where they need others.
pub(crate) fn check_columns(path: &Path, bits: u32, columns: usize) -> Result<()> {
    if !(1..=bits::MAX_BITS).contains(&bits) {
        return Err(Error::Bits { bits });
    }
    let width = bits::bytes_per_code(bits);
    if columns != width {
        let reason = format!("its codes have {columns} bytes, codes of {bits} bits have {width}");
        return Err(Error::codes_file(path, reason));
    }
    Ok(())
}

/// Writes a safetensors codes file.
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
    Error::codes_file(path, format!("tensor `{name}` is {dtype:?} {shape:?}, not {expected}"))
}
