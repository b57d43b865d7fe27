//! Pretrained weights in several files: nothing in the index is trusted, and the result is the same as from one file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use dhih_model::{Error, Pretrained};
use serde_json::json;

const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";

fn floats(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

/// Two files with three tensors of floating-point numbers and one of integers.
fn write(dir: &Path) {
    let ids = Tensor::arange(0i64, 4, &Device::Cpu).unwrap();
    let first: HashMap<&str, Tensor> =
        [("a.weight", floats(&[1.0, 2.0])), ("position_ids", ids)].into();
    let halves = floats(&[4.0]).to_dtype(DType::F16).unwrap();
    let second: HashMap<&str, Tensor> = [("a.bias", floats(&[3.0])), ("fc.bias", halves)].into();
    candle_core::safetensors::save(&first, dir.join(FIRST)).unwrap();
    candle_core::safetensors::save(&second, dir.join(SECOND)).unwrap();
    index(
        dir,
        &[("a.weight", FIRST), ("position_ids", FIRST), ("a.bias", SECOND), ("fc.bias", SECOND)],
    );
}

fn index(dir: &Path, map: &[(&str, &str)]) {
    let map: HashMap<&str, &str> = map.iter().copied().collect();
    let json = json!({"metadata": {"total_size": 46}, "weight_map": map});
    std::fs::write(dir.join(Pretrained::INDEX), json.to_string()).unwrap();
}

#[test]
fn several_files_are_read_as_one_by_their_index_or_their_folder() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let read = Pretrained::read(&dir.path().join(Pretrained::INDEX)).unwrap();
    let values: Vec<(&str, Vec<f32>)> = read
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.to_vec1::<f32>().unwrap()))
        .collect();
    let expected = [("a.bias", vec![3.0]), ("a.weight", vec![1.0, 2.0]), ("fc.bias", vec![4.0])];
    assert_eq!(values, expected);
    let folder = Pretrained::read(dir.path()).unwrap();
    assert_eq!(folder.sha256(), read.sha256());
    // Where there is a single file, it is read and the index is not.
    std::fs::copy(dir.path().join(FIRST), dir.path().join(Pretrained::FILE)).unwrap();
    assert_eq!(Pretrained::read(dir.path()).unwrap().tensors().len(), 1);
}

#[test]
fn the_digest_stands_for_every_byte_and_is_that_of_sha256sum() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let digest = || Pretrained::read(dir.path()).unwrap().sha256().to_owned();
    let before = digest();
    let script = format!("sha256sum {FIRST} {SECOND} {} | sha256sum", Pretrained::INDEX);
    if let Ok(output) = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output()
        && output.status.success()
    {
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.split_whitespace().next(), Some(&*before));
    }
    let path = dir.path().join(SECOND);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_ne!(digest(), before);
}

#[test]
fn an_index_that_does_not_fit_its_files_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let whole =
        [("a.weight", FIRST), ("position_ids", FIRST), ("a.bias", SECOND), ("fc.bias", SECOND)];
    let refused = |expected: &str| {
        let error = Pretrained::read(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Pretrained { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    };
    refused("the folder has no model.safetensors or model.safetensors.index.json");
    write(dir.path());
    index(dir.path(), &[&whole[..], &[("b", SECOND)]].concat());
    refused("model-00002-of-00002.safetensors: the index has tensors there that it lacks: b");
    index(dir.path(), &whole[..3]);
    refused("model-00002-of-00002.safetensors: it holds tensors that the index has not: fc.bias");
    index(dir.path(), &[&whole[1..], &[("a.weight", SECOND)]].concat());
    refused("model-00001-of-00002.safetensors: it holds tensors that the index has not: a.weight");
    for outside in ["../x.safetensors", "/x.safetensors", ".x.safetensors", "a\\b", ""] {
        index(dir.path(), &[("a", outside)]);
        refused("no name of a file beside the index");
    }
    index(dir.path(), &[]);
    refused("weight_map is empty");
    std::fs::write(dir.path().join(Pretrained::INDEX), "{\"weight_map\": 3}").unwrap();
    refused("no index of safetensors files");
    index(dir.path(), &whole);
    std::fs::write(dir.path().join(FIRST), b"<html>").unwrap();
    refused("model-00001-of-00002.safetensors: ");
    std::fs::remove_file(dir.path().join(FIRST)).unwrap();
    refused("model-00001-of-00002.safetensors cannot be read");
}

#[test]
fn files_of_integers_alone_are_no_fault_but_give_no_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let ids = Tensor::arange(0i64, 4, &Device::Cpu).unwrap();
    let only: HashMap<&str, Tensor> = [("position_ids", ids)].into();
    candle_core::safetensors::save(&only, dir.path().join(FIRST)).unwrap();
    index(dir.path(), &[("position_ids", FIRST)]);
    let error = Pretrained::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("no tensors of floating-point numbers"), "{error}");
    let second: HashMap<&str, Tensor> = [("a", floats(&[3.0]))].into();
    candle_core::safetensors::save(&second, dir.path().join(SECOND)).unwrap();
    index(dir.path(), &[("position_ids", FIRST), ("a", SECOND)]);
    assert_eq!(Pretrained::read(dir.path()).unwrap().tensors().len(), 1);
}
