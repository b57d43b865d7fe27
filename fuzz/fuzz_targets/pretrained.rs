//! Pretrained weights of any bytes: safetensors, PyTorch's archives and its older files. What is read is no larger than a few times the file.
#![no_main]

use std::path::Path;

use dhih_model::Pretrained;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(pretrained) = Pretrained::from_bytes(bytes, Path::new("fuzz")) else { return };
    let values: usize = pretrained.tensors().values().map(|tensor| tensor.elem_count()).sum();
    // Four names a value, each of which has two bytes at least.
    assert!(values <= 2 * bytes.len() + 8);
});
