//! The losses agree with independent float64 values and gradients. The folder comes from `DHIH_REFERENCE`, or lies beside
//! the repository; where it is absent the test says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

use std::path::PathBuf;

use candle_core::{Device, Tensor, Var};
use dhih_model::{Hi, HiMode, hi};
use serde_json::Value;

fn reference(file: &str) -> Option<Value> {
    let beside =
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference"));
    let folder = std::env::var_os("DHIH_REFERENCE").map_or_else(beside, PathBuf::from);
    match std::fs::read(folder.join(file)) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(error) => {
            println!("skipped: {}: {error}", folder.join(file).display());
            None
        }
    }
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn assert_close(what: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= 1e-5 * e.abs().max(1e-3 * scale), "{what}: {g}, expected {e}");
    }
}

#[test]
fn hi_agrees_with_the_reference() {
    let Some(reference) = reference("losses.json") else { return };
    let size = |name: &str| reference[name].as_u64().unwrap() as usize;
    let (n, bits, classes) = (size("n"), size("bits"), size("classes"));
    let tensor = |name: &str, shape| {
        Tensor::from_vec(floats(&reference[name]), shape, &Device::Cpu).unwrap()
    };
    let v = Var::from_tensor(&tensor("v", (n, bits))).unwrap();
    let w = Var::from_tensor(&tensor("w", (classes, bits))).unwrap();
    let mut one_hot = vec![0f64; n * classes];
    for (i, label) in floats(&reference["labels"]).into_iter().enumerate() {
        one_hot[i * classes + label as usize] = 1.0;
    }
    let one_hot = Tensor::from_vec(one_hot, (n, classes), &Device::Cpu).unwrap();
    let multi_hot = tensor("multi_hot", (n, classes));

    let mut compared = 0;
    for case in reference["cases"].as_array().unwrap() {
        let labels = match case["name"].as_str().unwrap() {
            "hi" | "softmax" => &one_hot,
            "hi-multilabel" => &multi_hot,
            _ => continue,
        };
        let params = &case["params"];
        let config = Hi {
            mode: match params["mode"].as_str() {
                Some("global") => HiMode::Global,
                _ => HiMode::Target,
            },
            alpha: params["alpha"].as_f64().unwrap_or(1.0),
            lambda_q: params["lambda_q"].as_f64().unwrap(),
        };
        let loss = hi(v.as_tensor(), w.as_tensor(), labels, &config).unwrap();
        let gradients = loss.backward().unwrap();
        let flat = |var: &Var| {
            gradients.get(var).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        let what = format!("{} {params}", case["name"]);
        let expected = case["loss"].as_f64().unwrap();
        assert_close(&what, &[loss.to_scalar::<f64>().unwrap()], &[expected]);
        assert_close(&format!("{what} grad_v"), &flat(&v), &floats(&case["grad_v"]));
        assert_close(&format!("{what} grad_w"), &flat(&w), &floats(&case["grad_w"]));
        compared += 1;
    }
    assert_eq!(compared, 10, "cases in the reference");
}
