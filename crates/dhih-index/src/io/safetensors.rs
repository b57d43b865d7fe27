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
use crate::io::metadata::{self, BITS, CLASSES, MODEL, PRECISION};
use crate::io::tensor_file::{self, Tensor};
use crate::io::whole_numbers::WholeNumber;

/// Reads a codes file that is in memory or mapped; `path` is for the messages.
pub(crate) fn parse(path: &Path, file: FileBytes) -> Result<CodeSet> {
    let fail = |reason: &str| Fault::from(reason).at(path);
    let broken = |error| {
        let reason = match path.extension() {
            Some(kind) if !kind.eq_ignore_ascii_case("safetensors") => {
                "it is not a complete safetensors file, and its name does not end in .npy, .parquet, .hex or .txt"
            }
            _ => "it is not a complete safetensors file: write it again",
        };
        Fault::caused(reason, error).at(path)
    };
    let (head, header) = SafeTensors::read_metadata(&file).map_err(broken)?;
    let tensors = SafeTensors::deserialize(&file).map_err(broken)?;
    let metadata = |key| header.metadata().as_ref().and_then(|metadata| metadata.get(key));
    let tensor = |name| tensors.tensor(name).ok();

    let text = metadata(BITS).ok_or_else(|| fail("it has no metadata `dhih.bits`"))?;
    let bits = metadata::parse_bits(text).map_err(at(path))?;
    let codes = tensor("codes").ok_or_else(|| fail("it has no tensor `codes`"))?;
    let (Dtype::U8, &[_, columns]) = (codes.dtype(), codes.shape()) else {
        let expected =
            "u8 [n, bytes], as `np.packbits(codes > 0, axis=1, bitorder=\"little\")` makes them";
        return Err(wrong_tensor(path, "codes", expected, &codes));
    };
    check_columns(path, bits, columns)?;
    // The tensors follow the length of the header, a number of 8 bytes, and the header.
    let (start, end) = header.info("codes").map_or((0, 0), |info| info.data_offsets);
    let range = 8 + head + start..8 + head + end;

    let in_tensor = |name: &str, reason: String| fail(&format!("in its tensor `{name}`, {reason}"));
    let ids = tensor("ids").map(|ids| match (whole_number(ids.dtype()), ids.shape()) {
        (Some(number), &[_]) => number
            .read_as(ids.data(), "an id must not be negative")
            .map_err(|reason| in_tensor("ids", reason)),
        _ => Err(wrong_tensor(path, "ids", "whole numbers [n]", &ids)),
    });
    let labels =
        tensor("labels").map(|labels| match (whole_number(labels.dtype()), labels.shape()) {
            (Some(number), &[_]) => number
                .read_as(labels.data(), "a label must be below 2^63")
                .map(Labels::Single)
                .map_err(|reason| in_tensor("labels", reason)),
            (Some(WholeNumber { bytes: 1, .. }), &[_, classes]) => {
                Ok(Labels::MultiHot { classes, values: labels.data().to_vec() })
            }
            _ => {
                let expected = "whole numbers [n] or u8 [n, classes]";
                Err(wrong_tensor(path, "labels", expected, &labels))
            }
        });
    let classes = metadata(CLASSES).map(String::as_str);
    let classes = metadata::parse_classes(classes).map_err(at(path))?;
    let (model_sha256, precision) = (metadata(MODEL).cloned(), metadata(PRECISION).cloned());
    let (ids, labels) = (ids.transpose()?, labels.transpose()?);
    let codes = Codes::of_bytes(bits, file.slice(range))?;
    Ok(CodeSet { codes, ids, labels, classes, model_sha256, precision, vectors: None })
}

/// Writes a codes file.
pub(crate) fn write(path: &Path, set: &CodeSet) -> Result<()> {
    let CodeSet { codes, ids, labels, classes, model_sha256, precision, .. } = set;
    let mut metadata = BTreeMap::from([(BITS, codes.bits().to_string())]);
    if let Some(model) = model_sha256 {
        metadata.insert(MODEL, model.clone());
    }
    if let Some(precision) = precision {
        metadata.insert(PRECISION, precision.clone());
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

/// The whole numbers of a tensor's type; PyTorch has had no unsigned ones of 16 bits and more for long.
fn whole_number(dtype: Dtype) -> Option<WholeNumber> {
    let (is_signed, bytes) = match dtype {
        Dtype::BOOL | Dtype::U8 => (false, 1),
        Dtype::I8 => (true, 1),
        Dtype::U16 => (false, 2),
        Dtype::I16 => (true, 2),
        Dtype::U32 => (false, 4),
        Dtype::I32 => (true, 4),
        Dtype::U64 => (false, 8),
        Dtype::I64 => (true, 8),
        _ => return None,
    };
    Some(WholeNumber { is_signed, bytes })
}

fn wrong_tensor(path: &Path, name: &str, expected: &str, found: &TensorView) -> Error {
    let (dtype, shape) = (found.dtype(), found.shape());
    Fault::from(format!("its tensor `{name}` is {dtype:?} {shape:?}, not {expected}")).at(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of two codes of 8 bits and one more tensor.
    fn with_tensor(name: &str, dtype: Dtype, shape: &[usize], data: &[u8]) -> Result<CodeSet> {
        let codes = TensorView::new(Dtype::U8, vec![2, 1], &[1, 2]).unwrap();
        let other = TensorView::new(dtype, shape.to_vec(), data).unwrap();
        let metadata = [(BITS.to_owned(), "8".to_owned())].into();
        let tensors = [("codes", codes), (name, other)];
        let file = safetensors::serialize(tensors, Some(metadata)).unwrap();
        parse(Path::new("c.safetensors"), FileBytes::Read(file))
    }

    /// PyTorch saves ids and labels as I64, numpy often as I32 or U8: each type but one was once refused.
    #[test]
    fn ids_and_labels_may_be_whole_numbers_of_any_type() {
        for (dtype, bytes) in [
            (Dtype::U8, 1),
            (Dtype::I8, 1),
            (Dtype::U16, 2),
            (Dtype::I16, 2),
            (Dtype::U32, 4),
            (Dtype::I32, 4),
            (Dtype::U64, 8),
            (Dtype::I64, 8),
        ] {
            let data = [vec![7], vec![0; bytes - 1], vec![100], vec![0; bytes - 1]].concat();
            let set = with_tensor("ids", dtype, &[2], &data).unwrap();
            assert_eq!(set.ids, Some(vec![7, 100]), "{dtype:?}");
            let set = with_tensor("labels", dtype, &[2], &data).unwrap();
            assert_eq!(set.labels, Some(Labels::Single(vec![7, 100])), "{dtype:?}");
        }
        let low = 0_i64.to_le_bytes();
        let error = |name: &str, dtype: Dtype, second: [u8; 8]| {
            let data = [low, second].concat();
            with_tensor(name, dtype, &[2], &data).unwrap_err().to_string()
        };
        let found = error("ids", Dtype::I64, (-1_i64).to_le_bytes());
        assert!(found.contains("`ids`, row 1 is -1"), "{found}");
        let found = error("labels", Dtype::U64, u64::MAX.to_le_bytes());
        assert!(found.contains("`labels`, row 1 is 18446744073709551615"), "{found}");
        let found = error("ids", Dtype::F64, 1_f64.to_le_bytes());
        assert!(found.contains("F64 [2], not whole numbers [n]"), "{found}");
        let set = with_tensor("labels", Dtype::BOOL, &[2, 3], &[1, 0, 0, 1, 1, 0]).unwrap();
        assert_eq!(
            set.labels,
            Some(Labels::MultiHot { classes: 3, values: vec![1, 0, 0, 1, 1, 0] })
        );
    }
}
