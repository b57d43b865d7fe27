//! Checkpoints of any content, with the digest that makes them whole: the configuration is whatever the bytes say.
#![no_main]

use std::fs;

use dhih_model::checkpoint::{self, Contents};
use libfuzzer_sys::fuzz_target;

#[path = "../support.rs"]
mod support;

fuzz_target!(|bytes: &[u8]| {
    let path = support::folder().join("model.safetensors");
    fs::write(&path, bytes).expect("a file");
    let _ = checkpoint::read(&path);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let contents = Contents { metadata: [("dhih.config".to_owned(), text.to_owned())].into(), ..Contents::default() };
    checkpoint::write(&contents, &path).expect("a file");
    let _ = checkpoint::load(&path, &candle_core::Device::Cpu);
});
