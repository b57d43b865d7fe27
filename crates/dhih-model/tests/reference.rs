//! The losses agree with independent float64 values and gradients. `DHIH_REFERENCE` names the folder with these, which by default lies beside
//! the repository. Where it is absent, the test says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

use std::path::PathBuf;

use candle_core::{Device, Result, Tensor, Var};
use dhih_model::codewords::Scheme;
use dhih_model::loss::{
    Centres, Classifier, Csq, Dpn, Dpsh, Dsh, GreedyHash, HashNet, Hi, HiClasses, HiMode, Loss,
    Ortho, Softmax, Ssdh, Supervision, csq, dpn, dpsh, dsh, greedyhash, hashnet, hi, ortho_arc,
    ortho_cos, softmax, ssdh,
};
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

/// The inputs of the losses in the file.
struct Inputs {
    v: Var,
    w: Var,
    bias: Var,
    one_hot: Tensor,
    multi_hot: Tensor,
    centres: Centres,
}

impl Inputs {
    fn read(reference: &Value) -> Self {
        let size = |name: &str| reference[name].as_u64().unwrap() as usize;
        let (n, bits, classes) = (size("n"), size("bits"), size("classes"));
        let tensor = |name: &str, shape: &[usize]| {
            Tensor::from_vec(floats(&reference[name]), shape, &Device::Cpu).unwrap()
        };
        let var = |name: &str, shape: &[usize]| Var::from_tensor(&tensor(name, shape)).unwrap();
        let mut one_hot = vec![0f64; n * classes];
        for (i, label) in floats(&reference["labels"]).into_iter().enumerate() {
            one_hot[i * classes + label as usize] = 1.0;
        }
        let codes = tensor("codewords", &[classes, bits]);
        Self {
            v: var("v", &[n, bits]),
            w: var("w", &[classes, bits]),
            bias: var("bias", &[classes]),
            one_hot: Tensor::from_vec(one_hot, (n, classes), &Device::Cpu).unwrap(),
            multi_hot: tensor("multi_hot", &[n, classes]),
            centres: Centres { tie: codes.get(0).unwrap(), codes },
        }
    }

    fn loss(&self, case: &Value) -> Result<Tensor> {
        let number = |name: &str| case["params"][name].as_f64().unwrap();
        let (v, w, centres) = (self.v.as_tensor(), self.w.as_tensor(), &self.centres);
        let labels = Supervision::of(&self.one_hot);
        let classes = HiClasses::Weights(w.clone());
        let (codewords, codeword_seed) = (Scheme::Auto, 0);
        let config = || Hi {
            mode: match case["params"]["mode"].as_str().unwrap() {
                "global" => HiMode::Global,
                _ => HiMode::Target,
            },
            alpha: number("alpha"),
            lambda_q: number("lambda_q"),
            mu: 0.0,
            ..Hi::default()
        };
        let ortho =
            || Ortho { margin: number("margin"), scale: number("scale"), codewords, codeword_seed };
        match case["name"].as_str().unwrap() {
            "hi" => hi(v, &classes, labels, &config()),
            "hi-multilabel" => hi(v, &classes, Supervision::of(&self.multi_hot), &config()),
            "softmax" => softmax(v, w, labels, &Softmax { lambda_q: number("lambda_q") }),
            "ssdh" => {
                let config = Ssdh { binary: number("binary"), balance: number("balance") };
                let (weight, bias) = (w.clone(), self.bias.as_tensor().clone());
                ssdh(v, &Classifier { weight, bias }, labels, &config)
            }
            "greedyhash" => greedyhash(v, w, labels, &GreedyHash { penalty: number("penalty") }),
            "csq" => {
                csq(v, centres, labels, &Csq { lambda: number("lambda"), codewords, codeword_seed })
            }
            "dpn" => {
                dpn(v, centres, labels, &Dpn { margin: number("margin"), codewords, codeword_seed })
            }
            "ortho-cos" => ortho_cos(v, centres, labels, &ortho()),
            "ortho-arc" => ortho_arc(v, centres, labels, &ortho()),
            "dsh" => dsh(v, labels, &Dsh { margin: number("margin"), alpha: number("alpha") }),
            "dpsh" => dpsh(v, labels, &Dpsh { eta: number("eta") }),
            "hashnet" => {
                let (alpha, beta) = (number("alpha"), number("beta"));
                hashnet(v, labels, &HashNet { alpha, beta, growth: 50.0 })
            }
            other => panic!("no loss {other}"),
        }
    }
}

#[test]
fn losses_agree_with_the_reference() {
    let Some(reference) = reference("losses.json") else { return };
    let inputs = Inputs::read(&reference);
    let (mut cases, mut gradients_compared) = (0, 0);
    for case in reference["cases"].as_array().unwrap() {
        let what = format!("{} {}", case["name"], case["params"]);
        let loss = inputs.loss(case).unwrap();
        let expected = case["loss"].as_f64().unwrap();
        assert_close(&what, &[loss.to_scalar::<f64>().unwrap()], &[expected]);
        let gradients = loss.backward().unwrap();
        for (name, var) in
            [("grad_v", &inputs.v), ("grad_w", &inputs.w), ("grad_bias", &inputs.bias)]
        {
            let expected = case[name].as_array().is_some();
            assert_eq!(gradients.get(var).is_some(), expected, "{what} {name}");
            if let Some(gradient) = gradients.get(var) {
                let got = gradient.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                assert_close(&format!("{what} {name}"), &got, &floats(&case[name]));
                gradients_compared += 1;
            }
        }
        cases += 1;
    }
    assert_eq!((cases, gradients_compared), (19, 32), "cases and gradients in the reference");
}

/// The constants in the file for 16 bits are the defaults.
#[test]
fn defaults_agree_with_the_reference() {
    let Some(reference) = reference("losses.json") else { return };
    let mut compared = 0;
    for case in reference["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        if name.starts_with("hi") {
            continue;
        }
        let loss = Loss::named(name, 16).unwrap();
        let defaults = serde_json::to_value(loss).unwrap();
        for (constant, value) in case["params"].as_object().unwrap() {
            assert_eq!(defaults[constant].as_f64(), value.as_f64(), "{name} {constant}");
            compared += 1;
        }
    }
    assert_eq!(compared, 15, "constants in the reference");
}
