//! From a file of vectors to a codec and to codes, by the program; and what it refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;

use common::{dhih_train, stdout};
use dhih_index::CodeSet;
use dhih_model::codec::Codec;
use rand::Rng;

/// An `.npy` array of f32.
fn npy(dir: &Path, name: &str, columns: usize, values: &[f32]) {
    let shape = (values.len() / columns, columns);
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape:?}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    let values = values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let bytes = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &values].concat();
    std::fs::write(dir.join(name), bytes).unwrap();
}

fn drawn(n: usize, columns: usize) -> Vec<f32> {
    let mut rng = dhih_model::named_rng(3, "vectors");
    (0..n * columns).map(|_| rng.random_range(-1.0..1.0f32)).collect()
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn vectors_become_codes_of_every_method() {
    let dir = tempfile::tempdir().unwrap();
    let values = drawn(400, 20);
    npy(dir.path(), "v.npy", 20, &values);
    for method in ["sign", "pca-sign", "rotation", "itq"] {
        let fit =
            format!("codec --vectors v.npy --bits 12 --method {method} --out c.safetensors --json");
        let told = stdout(&dhih_train(dir.path(), &words(&fit)));
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!((&told["method"], &told["vectors"]), (&method.into(), &400.into()));
        let encode = "encode --codec c.safetensors --vectors v.npy --out codes.safetensors --json";
        let told = stdout(&dhih_train(dir.path(), &words(encode)));
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["encoded"], 400);
        let set = CodeSet::read(dir.path().join("codes.safetensors"), None).unwrap();
        let codec = Codec::load(&dir.path().join("c.safetensors")).unwrap();
        assert_eq!(set.model_sha256.as_deref(), Some(codec.sha256()));
        assert_eq!((set.codes.len(), set.codes.bits()), (400, 12));
        let expected = codec.encode(&values[..20]).unwrap();
        let bit = |k: usize| set.codes.get(0)[k / 8] >> (k % 8) & 1 == 1;
        assert!((0..12).all(|k| bit(k) == (expected[k] >= 0.0)), "{method}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    npy(dir.path(), "v.npy", 20, &drawn(100, 20));
    npy(dir.path(), "other.npy", 7, &drawn(100, 7));
    let mut with_nan = drawn(100, 20);
    with_nan[43] = f32::NAN;
    npy(dir.path(), "nan.npy", 20, &with_nan);
    std::fs::write(dir.path().join("text.npy"), b"no array").unwrap();
    stdout(&dhih_train(dir.path(), &words("codec --vectors v.npy --bits 8")));
    let refused = |text: &str, part: &str| {
        let output = dhih_train(dir.path(), &words(text));
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && err.contains(part), "{text}: {err}");
        assert!(!dir.path().join("out.safetensors").exists(), "{text}");
    };
    refused("codec --vectors nan.npy --bits 8 --out out.safetensors", "row 2 has NaN at 3");
    refused("codec --vectors text.npy --out out.safetensors", "text.npy");
    refused("codec --vectors absent.npy --out out.safetensors", "absent.npy");
    refused("codec --vectors v.npy --bits 21 --out out.safetensors", "1 to 20");
    refused("codec --vectors v.npy --method itqq --out out.safetensors", "itq");
    let encode = "encode --codec codec.safetensors --out out.safetensors";
    refused(&format!("{encode} --vectors other.npy"), "vectors of 20 numbers");
    refused(&format!("{encode} --vectors nan.npy"), "row 2 has NaN at 3");
    refused(encode, "--vectors");
    refused(
        "encode --vectors v.npy --out out.safetensors --codec v.npy",
        "not a usable checkpoint",
    );
    refused(&format!("{encode} --vectors v.npy --input v.npy"), "--input");
}
