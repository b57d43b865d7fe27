//! Codes in integers: a calibrated run's agree with those in f32, and what cannot be computed in integers is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;

use common::{dhih_train, stdout};
use dhih_index::CodeSet;
use serde_json::Value;

fn json(dir: &Path, words: &str) -> Value {
    let output = dhih_train(dir, &words.split(' ').collect::<Vec<_>>());
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn refusal(dir: &Path, words: &str) -> String {
    let output = dhih_train(dir, &words.split(' ').collect::<Vec<_>>());
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_calibrated_run_makes_codes_like_those_in_f32() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let train = "--dataset demo --demo-images 2000 --image-side 32 --bits 32 --epochs 3 --device cpu --run-dir run";
    stdout(&dhih_train(dir, &train.split(' ').collect::<Vec<_>>()));

    let hint = "dhih-train calibrate --run run";
    for command in ["encode --input pictures --out int8.safetensors", "evaluate"] {
        std::fs::create_dir_all(dir.join("pictures")).unwrap();
        let device = if command.starts_with("encode") { " --device cpu" } else { "" };
        let error = refusal(dir, &format!("{command} --run run --precision int8{device}"));
        assert!(error.contains("no calibration") && error.contains(hint), "{error}");
    }

    let report = json(dir, "calibrate --run run --count 100 --json");
    let number = |report: &Value, name: &str| report[name].as_f64().unwrap();
    assert_eq!(number(&report, "images"), 100.0);
    assert!(number(&report, "layers") >= 2.0);
    assert!(number(&report, "agreement") >= 0.98, "{report}");
    let (exact, close) = (number(&report, "map_f32"), number(&report, "map_int8"));
    assert!(exact > 0.2 && (exact - close).abs() < 0.02, "{report}");

    let [f32, int8] = ["f32", "int8"]
        .map(|precision| json(dir, &format!("evaluate --run run --precision {precision} --json")));
    let (exact, close) = (number(&f32, "map"), number(&int8, "map"));
    assert!((exact - close).abs() < 0.02, "{exact} {close}");
    // Figures of the classifier were measured in f32, and are not mixed with those of other codes.
    assert_eq!((&f32["precision"], &int8["precision"]), (&"f32".into(), &"int8".into()));
    for figure in ["class_code_map", "posterior_map", "accuracy"] {
        assert!(f32[figure].is_number() && int8[figure].is_null(), "{figure}");
    }

    // Pictures in both precisions: the files say which they are, and few bits differ.
    for number in 0..40 {
        let picture = common::encoded(common::picture(6 * number), image::ImageFormat::Png);
        std::fs::write(dir.join(format!("pictures/{number:02}.png")), picture).unwrap();
    }
    let [f32, int8] = ["f32", "int8"].map(|precision| {
        let out = format!("{precision}.safetensors");
        let words = format!(
            "encode --run run --device cpu --precision {precision} --input pictures --out {out}"
        );
        stdout(&dhih_train(dir, &words.split(' ').collect::<Vec<_>>()));
        CodeSet::read(dir.join(out), None).unwrap()
    });
    assert_eq!((f32.precision.as_deref(), int8.precision.as_deref()), (None, Some("int8")));
    assert_eq!(f32.model_sha256, int8.model_sha256);
    let pairs = f32.codes.as_bytes().iter().zip(int8.codes.as_bytes());
    let differ: u32 = pairs.map(|(a, b)| (a ^ b).count_ones()).sum();
    assert!(differ <= 40 * 32 / 20, "{differ} bits differ");
    int8.write(dir.join("int8.parquet")).unwrap();
    assert_eq!(CodeSet::read(dir.join("int8.parquet"), None).unwrap().precision, int8.precision);

    let error = refusal(
        dir,
        "encode --run run --device cpu --dtype f16 --precision int8 --input pictures --out x.safetensors",
    );
    assert!(error.contains("--precision int8 is for the CPU"), "{error}");
}

#[test]
fn a_run_is_calibrated_with_pictures_of_a_folder_where_its_data_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    common::folder(&dir.join("photos"), 20);
    let train = "--dataset folder --data-dir photos --image-side 16 --bits 12 --epochs 2 --batch-size 8 --device cpu --run-dir run";
    stdout(&dhih_train(dir, &train.split(' ').collect::<Vec<_>>()));
    std::fs::rename(dir.join("photos"), dir.join("moved")).unwrap();
    let error = refusal(dir, "calibrate --run run");
    assert!(error.contains("photos"), "{error}");
    let report = json(dir, "calibrate --run run --images moved --count 10 --json");
    assert_eq!((report["images"].as_u64(), report["compared"].as_u64()), (Some(10), Some(30)));
    assert!(report["map_f32"].is_null());

    // Pictures that cannot be used are told; one of more pixels than a stranger may send can be used.
    std::fs::write(dir.join("moved/dark/000.png"), "no picture").unwrap();
    std::fs::create_dir(dir.join("large")).unwrap();
    for number in 0..2 {
        let large = image::RgbImage::from_pixel(9000, 8, image::Rgb([20 * number, 90, 200]));
        large.save(dir.join(format!("large/{number}.png"))).unwrap();
    }
    let words = "calibrate --run run --images moved large --json";
    let output = dhih_train(dir, &words.split(' ').collect::<Vec<_>>());
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["left_out"], serde_json::json!({"not_a_picture": 1}), "{report}");
    assert_eq!(report["images"].as_u64().unwrap() + report["compared"].as_u64().unwrap(), 41);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("skipped moved/dark/000.png: not a picture"), "{told}");
    std::fs::create_dir(dir.join("empty")).unwrap();
    let error = refusal(dir, "calibrate --run run --images empty");
    assert!(error.contains("empty: there is no image to calibrate with"), "{error}");
    let error = refusal(dir, "calibrate --run run --count 0");
    assert!(error.contains("images is 0"), "{error}");
}
