//! A manifest of any bytes.
#![no_main]

use std::fs;

use dhih_index::{Index, IndexWriter};
use libfuzzer_sys::fuzz_target;

#[path = "../support.rs"]
mod support;

fuzz_target!(|bytes: &[u8]| {
    let dir = support::folder();
    fs::write(dir.join("manifest.json"), bytes).expect("a file");
    let _ = (Index::open(&dir).map(drop), IndexWriter::open(&dir).map(drop));
});
