//! Texts of a run that `photos` made: the run keeps its text tower, `encode --text` makes codes that can be compared with those of its pictures,
//! and a run without a text tower says so.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use common::{dhih_train, stdout};
use dhih_index::{CodeSet, Codes};
use dhih_model::codec::Method;
use dhih_model::image::{Limits, PictureReader};
use dhih_model::text::{TextConfig, TextEncoder, TextFamily, TextTokenizer, TextTower};
use dhih_model::walk::LeftOut;
use dhih_model::{Backbone, InputShape, Parameters, Pretrained};
use dhih_train::photos::{PhotosConfig, TextPart, build};
use dhih_train::{NewRun, Progress};
use image::{Rgb, RgbImage};
use serde_json::Value;

const SIDE: usize = 16;

fn tokenizer_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dhih-model/tests/data/text/clip.json")
}

/// A small network's features, and a small text tower with as many.
fn tower() -> TextConfig {
    let input = InputShape::new(SIDE, SIDE, 3);
    TextConfig {
        family: TextFamily::Clip,
        vocabulary: 108,
        context: 12,
        channels: 16,
        hidden: 24,
        heads: 4,
        depth: 2,
        features: Backbone::SMALL.size(input).unwrap().features,
    }
}

fn part(tower: TextConfig) -> Option<TextPart> {
    let tokenizer = TextTokenizer::read(&tokenizer_file(), &tower).unwrap();
    Some(TextPart { tower, tokenizer })
}

/// Weights of both towers, and 30 pictures.
fn write(dir: &Path) -> Vec<PathBuf> {
    let input = InputShape::new(SIDE, SIDE, 3);
    let parameters = Parameters::seeded(7);
    let vb = parameters.builder(DType::F32, &Device::Cpu);
    Backbone::SMALL.build(input, vb.clone()).unwrap();
    TextTower::new(tower(), &vb).unwrap();
    let tensors: HashMap<String, Tensor> = parameters.snapshot().unwrap().into_iter().collect();
    candle_core::safetensors::save(&tensors, dir.join("weights.safetensors")).unwrap();
    let file = |number: u32| {
        let path = dir.join(format!("{number:02}.png"));
        let pixel = |x, y| Rgb([(x * number * 7 % 256) as u8, (y * 16) as u8, (number * 8) as u8]);
        RgbImage::from_fn(SIDE as u32, SIDE as u32, pixel).save(&path).unwrap();
        path
    };
    (0..30).map(file).collect()
}

fn config(text: Option<TextPart>) -> PhotosConfig {
    PhotosConfig {
        encoder: Backbone::SMALL,
        image_side: SIDE,
        bits: None,
        method: Method::Itq,
        vectors: None,
        seed: 0,
        reader: PictureReader::new(Limits::of_files(100, 10_000)),
        device: "cpu".to_owned(),
        text,
    }
}

fn make(dir: &Path, name: &str, text: Option<TextPart>) -> dhih_train::Result<PathBuf> {
    let pictures = write(dir);
    let weights = Pretrained::read(&dir.join("weights.safetensors"))?;
    let place = NewRun::At(dir.join(name));
    let mut left_out = LeftOut::default();
    let made = build(&pictures, &weights, &config(text), &place, &mut left_out, Progress::Silent)?;
    Ok(made.run.path().to_owned())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = dhih_train(dir, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_run_keeps_its_text_tower_and_encodes_texts_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let run = make(dir, "run", part(tower())).unwrap();
    assert_eq!(json(&run.join("photos.json"))["text"], "clip");
    // The run is moved and its sources are deleted: it has everything it needs.
    fs::rename(&run, dir.join("moved")).unwrap();
    fs::remove_file(dir.join("weights.safetensors")).unwrap();
    let texts = ["a red car", "A photo of a dog\n", "cats"];
    let mut arguments = vec!["encode", "--run", "moved", "--out", "q.safetensors", "--json"];
    texts.iter().for_each(|text| arguments.extend(["--text", text]));
    let output = dhih_train(dir, &[&arguments[..], &["--values", "v.safetensors"]].concat());
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&report["encoded"], &report["out"]), (&3.into(), &"q.safetensors".into()));
    let encoder = TextEncoder::load(&dir.join("moved/text.safetensors"), &Device::Cpu).unwrap();
    let expected = encoder.encode(&texts).unwrap();
    let values = candle_core::safetensors::load(dir.join("v.safetensors"), &Device::Cpu).unwrap();
    let values = values["values"].to_vec2::<f32>().unwrap();
    for (got, expected) in values.iter().flatten().zip(&expected) {
        assert!((got - expected).abs() < 1e-5, "{got} for {expected}");
    }
    let codes = CodeSet::read(dir.join("q.safetensors"), None).unwrap();
    let of_run = CodeSet::read(dir.join("moved/codes.safetensors"), None).unwrap();
    assert_eq!(codes.model_sha256, of_run.model_sha256, "codes of texts are compared with them");
    let flat: Vec<f32> = values.into_iter().flatten().collect();
    let signs = Codes::from_real(of_run.codes.bits(), &flat).unwrap();
    assert_eq!(codes.codes.as_bytes(), signs.as_bytes());
    let names = fs::read_to_string(dir.join("q.safetensors.files.txt")).unwrap();
    assert_eq!(names, "a red car\nA photo of a dog\\x0A\ncats\n");
    // Codes of texts are centred at the mean of texts, so that few bits are the same for all texts.
    let alike = (0..encoder.bits()).filter(|bit| {
        let set = codes.codes.iter().filter(|code| code[bit / 8] >> (bit % 8) & 1 == 1).count();
        set == 0 || set == 3
    });
    assert!(alike.count() < encoder.bits(), "all texts have the same code");

    for text in ["", "  "] {
        let error = refused(dir, &["encode", "--run", "moved", "--out", "x", "--text", text]);
        assert!(error.contains("it is empty") && error.contains("cannot encode"), "{error}");
    }
    let long = "a".repeat(5000);
    let error = refused(dir, &["encode", "--run", "moved", "--out", "x", "--text", &long]);
    assert!(error.contains("5000 bytes; give at most 4096"), "{error}");
    assert!(!dir.join("x").exists());
    refused(dir, &["encode", "--run", "moved", "--out", "x", "--text", "a", "--input", "01.png"]);
}

#[test]
fn what_has_no_text_tower_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let run = make(dir, "run", None).unwrap();
    assert!(!run.join("text.safetensors").exists());
    assert_eq!(json(&run.join("photos.json"))["text"], Value::Null);
    let error = refused(dir, &["encode", "--run", "run", "--out", "x", "--text", "a red car"]);
    assert!(error.contains("run has no text tower") && error.contains("photos"), "{error}");
    let tokenizer = tokenizer_file();
    let photos = |encoder: &str| {
        let flags = ["photos", ".", "--encoder", encoder, "--weights", "weights.safetensors"];
        refused(dir, &[&flags[..], &["--tokenizer", tokenizer.to_str().unwrap()]].concat())
    };
    let error = photos("small");
    assert!(error.contains("small has no text tower") && error.contains("siglip-base"), "{error}");
    // The tower in these weights is not that of the encoder: its vocabulary is smaller.
    let error = photos("clip-vit-b32");
    assert!(error.contains("do not fit"), "{error}");
    candle_core::safetensors::save(
        &HashMap::from([("x", Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap())]),
        dir.join("weights.safetensors"),
    )
    .unwrap();
    let error = photos("clip-vit-b32");
    assert!(error.contains("the weights have no text tower"), "{error}");
}

#[test]
fn towers_that_do_not_fit_each_other_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let other = TextConfig { features: 9, ..tower() };
    let error = make(dir.path(), "run", part(other)).unwrap_err().to_string();
    assert!(error.contains("features of the text tower is 9, expected"), "{error}");
    let deeper = TextConfig { depth: 3, ..tower() };
    let error = make(dir.path(), "run", part(deeper)).unwrap_err().to_string();
    assert!(error.contains("text_model.encoder.layers.2.layer_norm1.weight"), "{error}");
    assert!(!dir.path().join("run").exists());
}

#[test]
fn a_text_tower_that_is_damaged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let run = make(dir, "run", part(tower())).unwrap();
    let file = run.join("text.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let error = refused(dir, &["encode", "--run", "run", "--out", "x", "--text", "a"]);
    assert!(error.contains("text.safetensors") && error.contains("digest"), "{error}");
}
