//! Codes files of any bytes: what is read can be written, and is then read as the same.
#![no_main]

use std::fs;

use dhih_index::CodeSet;
use libfuzzer_sys::fuzz_target;

#[path = "../support.rs"]
mod support;

fuzz_target!(|bytes: &[u8]| {
    let dir = support::folder();
    let (npy, other) = (dir.join("codes.npy"), dir.join("codes.safetensors"));
    fs::write(&npy, bytes).expect("a file");
    fs::write(&other, bytes).expect("a file");
    for set in [CodeSet::read(&npy, Some(12)), CodeSet::read(&other, None)].into_iter().flatten() {
        let again = dir.join("again.safetensors");
        set.write(&again).expect("what was read can be written");
        assert_eq!(CodeSet::read(&again, None).expect("what was written can be read"), set);
    }
    let labels = dir.join("labels.npy");
    fs::write(&labels, bytes).expect("a file");
    if let Ok(set) = CodeSet::read(&npy, Some(12)) {
        let _ = set.with_labels(&labels);
    }
});
