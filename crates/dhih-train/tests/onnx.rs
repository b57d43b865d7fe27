//! Exported networks give the codes of `dhih-train encode` in onnxruntime, except for bits whose values are 0 within rounding. Ignored where
//! onnxruntime is not installed: `DHIH_PYTHON` names a Python that has it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

use std::path::Path;
use std::process::{Command, Output};

fn dhih_train(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dhih-train")).args(args).output().unwrap()
}

fn succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Trains a little, on 1,000 images of 32 x 32, which are the database too.
/// Whether a network has 20 million weights and more, of which each step takes its time: it trains on fewer images.
fn is_large(backbone: &str) -> bool {
    ["convnext", "dinov2", "siglip"].iter().any(|name| backbone.starts_with(name))
}

fn train(run: &str, backbone: &str, epochs: &str, views: &[&str]) {
    let args = ["train", "--run-dir", run, "--backbone", backbone, "--epochs", epochs];
    let images = if is_large(backbone) { "1160" } else { "2000" };
    let data = ["--dataset", "demo", "--demo-images", images, "--image-side", "32"];
    let steps = ["--batch-size", "16", "--learning-rate", "0.002"];
    succeeded(&dhih_train(&[&args[..], &data, &steps, views].concat()));
}

fn export(run: &str, out: &Path) -> serde_json::Value {
    let out = out.to_str().unwrap();
    let printed = succeeded(&dhih_train(&["export", "--run", run, "--out", out, "--json"]));
    serde_json::from_str(&printed).unwrap()
}

#[test]
fn a_run_is_exported_and_what_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (dir.path().join("run"), dir.path().join("model.onnx"));
    train(run.to_str().unwrap(), "small", "1", &[]);
    let report = export(run.to_str().unwrap(), &out);
    assert_eq!((&report["bits"], &report["input"]), (&48.into(), &serde_json::json!([32, 32, 3])));
    let bytes = std::fs::read(&out).unwrap();
    let sha256 = report["model_sha256"].as_str().unwrap().as_bytes();
    assert!(bytes.windows(sha256.len()).any(|window| window == sha256));
    let nowhere = dir.path().join("nowhere");
    let out = out.to_str().unwrap();
    let refused = dhih_train(&["export", "--run", nowhere.to_str().unwrap(), "--out", out]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("dhih-train train"));
    // A file that cannot be written leaves the older one as it was.
    let below = format!("{out}/model.onnx");
    let refused = dhih_train(&["export", "--run", run.to_str().unwrap(), "--out", &below]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(std::fs::read(out).unwrap(), bytes);
}

#[test]
#[ignore = "needs DHIH_PYTHON, a Python with numpy and onnxruntime"]
fn codes_are_those_of_onnxruntime() {
    let python = std::env::var("DHIH_PYTHON").expect("DHIH_PYTHON names no Python");
    let dir = tempfile::tempdir().unwrap();
    // Some take the mean of several views of an image.
    for (backbone, views) in [
        ("small", &["--mirror", "--feature-norm"][..]),
        ("cifarnet", &["--mirror", "--shifted-views"]),
        ("cifarnet-deep", &[]),
        ("dsh-cnn", &["--shifted-views"]),
        ("squeezenet1-1", &[]),
        ("mobilenet-v2", &[]),
        ("efficientnet-lite0", &["--feature-norm"]),
        ("resnet18", &[]),
        ("efficientnet-b0", &[]),
        ("mobilenet-v3", &[]),
        ("convnext-tiny", &[]),
        ("dinov2-small-registers", &[]),
        ("siglip-base", &[]),
    ] {
        let run = dir.path().join(backbone);
        train(run.to_str().unwrap(), backbone, "2", views);
        let model = run.join("model.onnx");
        let report = export(run.to_str().unwrap(), &model);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnx.py");
        let output = Command::new(&python)
            .args([script, "--model", model.to_str().unwrap(), "--run", run.to_str().unwrap()])
            .output()
            .unwrap();
        let printed = succeeded(&output);
        let compared: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(compared["model_sha256"], report["model_sha256"]);
        let images = if is_large(backbone) { 160 } else { 1000 };
        assert_eq!(compared["images"], images, "{backbone}: {printed}");
        // Whether two epochs of training are enough for some networks is chance, but their codes do differ between images.
        assert!(compared["distinct_codes"].as_u64().unwrap() > 20, "{backbone}: {printed}");
    }
}
