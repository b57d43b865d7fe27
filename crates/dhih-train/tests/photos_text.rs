//! Texts of a run that `photos` made: the run keeps its text tower, `encode --text` makes codes that can be compared with those of its pictures,
//! `export --text` writes the tower as an ONNX model, and a run without a text tower says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

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

fn tokenizer_file(family: TextFamily) -> PathBuf {
    let name = match family {
        TextFamily::Clip => "clip.json",
        TextFamily::Siglip => "siglip.json",
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dhih-model/tests/data/text").join(name)
}

/// A small text tower, whose vectors have as many numbers as the features of a small network.
fn tower_of(family: TextFamily) -> TextConfig {
    let input = InputShape::new(SIDE, SIDE, 3);
    let vocabulary = match family {
        TextFamily::Clip => 108,
        TextFamily::Siglip => 37,
    };
    TextConfig {
        family,
        vocabulary,
        context: 12,
        channels: 16,
        hidden: 24,
        heads: 4,
        depth: 2,
        features: Backbone::SMALL.size(input).unwrap().features,
    }
}

fn tower() -> TextConfig {
    tower_of(TextFamily::Clip)
}

fn part(tower: TextConfig) -> Option<TextPart> {
    let tokenizer = TextTokenizer::read(&tokenizer_file(tower.family), &tower).unwrap();
    Some(TextPart { tower, tokenizer })
}

/// Weights of both towers, and 30 pictures.
fn write(dir: &Path, family: TextFamily) -> Vec<PathBuf> {
    let input = InputShape::new(SIDE, SIDE, 3);
    let parameters = Parameters::seeded(7);
    let vb = parameters.builder(DType::F32, &Device::Cpu);
    Backbone::SMALL.build(input, vb.clone()).unwrap();
    TextTower::new(tower_of(family), &vb).unwrap();
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
    let family = text.as_ref().map_or(TextFamily::Clip, |text| text.tower.family);
    let pictures = write(dir, family);
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

    // As lines of a file the texts have the same codes.
    fs::write(dir.join("texts.txt"), "\u{FEFF}a red car\r\nA photo of a dog\ncats\n").unwrap();
    let file = ["encode", "--run", "moved", "--texts", "texts.txt", "--out", "f.safetensors"];
    stdout(&dhih_train(dir, &file));
    let of_file = CodeSet::read(dir.join("f.safetensors"), None).unwrap();
    assert_eq!(of_file.codes.as_bytes(), codes.codes.as_bytes());

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
fn the_end_of_a_long_text_does_not_count_and_encode_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    make(dir, "run", part(tower())).unwrap();
    let encode = |texts: &[&str]| {
        let mut arguments = vec!["encode", "--run", "run", "--out", "q.safetensors"];
        texts.iter().for_each(|text| arguments.extend(["--text", text]));
        let output = dhih_train(dir, &arguments);
        stdout(&output);
        let codes = CodeSet::read(dir.join("q.safetensors"), None).unwrap().codes;
        (codes, String::from_utf8(output.stderr).unwrap())
    };
    // The tower has 12 places, two of them for the start and the end.
    let (ten, said) = encode(&["a dog a dog a dog a dog a dog"]);
    assert!(!said.contains("NOTE"), "{said}");
    let (more, said) = encode(&["a dog a dog a dog a dog a dog cat", "a"]);
    assert!(said.contains("of 2: 1") && said.contains("dog cat"), "{said}");
    assert_eq!(more.iter().next(), ten.iter().next());
}

#[test]
fn files_whose_lines_are_no_texts_are_refused_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    make(dir, "run", part(tower())).unwrap();
    for (bytes, says) in [
        (&b"a\n\nb\n"[..], "line 2 of t.txt: the text cannot be used: it is empty"),
        (b"a\n\xFF\n", "line 2 of t.txt is not UTF-8"),
        (b"", "t.txt is empty"),
        (b"\n", "t.txt is empty"),
    ] {
        fs::write(dir.join("t.txt"), bytes).unwrap();
        let encode = ["encode", "--run", "run", "--texts", "t.txt", "--out", "x"];
        let error = refused(dir, &encode);
        assert!(error.contains(says), "{error}");
    }
    let none = refused(dir, &["encode", "--run", "run", "--texts", "none.txt", "--out", "x"]);
    assert!(none.contains("cannot read none.txt"), "{none}");
    refused(dir, &["encode", "--run", "run", "--texts", "t.txt", "--text", "a", "--out", "x"]);
    assert!(!dir.join("x").exists());
}

#[test]
fn a_text_tower_is_exported() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let run = make(dir, "run", part(tower())).unwrap();
    let export = ["export", "--run", "run", "--text", "--out", "text.onnx", "--json"];
    let report: Value = serde_json::from_str(&stdout(&dhih_train(dir, &export))).unwrap();
    let codes = CodeSet::read(run.join("codes.safetensors"), None).unwrap();
    assert_eq!(report["model_sha256"], Value::from(codes.model_sha256));
    assert_eq!(report["input"], Value::from(vec![12]));
    assert_eq!(report["bits"], Value::from(codes.codes.bits()));
    let bytes = fs::read(dir.join("text.onnx")).unwrap();
    let name = b"<|startoftext|>";
    assert!(bytes.windows(name.len()).any(|window| window == name), "the tokenizer is in it");
    fs::remove_file(run.join("text.safetensors")).unwrap();
    let error = refused(dir, &export);
    assert!(error.contains("run has no text tower"), "{error}");
}

#[test]
#[ignore = "needs DHIH_PYTHON, a Python with numpy and onnxruntime"]
fn codes_of_texts_are_those_of_onnxruntime() {
    let python = std::env::var("DHIH_PYTHON").expect("DHIH_PYTHON names no Python");
    for family in [TextFamily::Clip, TextFamily::Siglip] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let run = make(dir, "run", part(tower_of(family))).unwrap();
        stdout(&dhih_train(dir, &["export", "--run", "run", "--text", "--out", "text.onnx"]));
        let encoder = TextEncoder::load(&run.join("text.safetensors"), &Device::Cpu).unwrap();
        let config = tower_of(family);
        let tokenizer = TextTokenizer::read(&tokenizer_file(family), &config).unwrap();
        // Of all lengths, up to texts that are cut off.
        let texts: Vec<String> = (1..=15).map(|n| "a red dog the cat ".repeat(3 * n)).collect();
        let texts: Vec<&str> =
            texts.iter().enumerate().map(|(n, text)| &text[..=2 * n + 1]).collect();
        let encoded = encoder.encode_all(&texts).unwrap();
        let rows = |values: &[f32], size: usize| -> Value {
            values.chunks_exact(size).map(|row| Value::from(row.to_vec())).collect()
        };
        let tokens = texts.iter().map(|text| {
            let mut tokens = tokenizer.tokens(text).unwrap();
            let end = tokens[tokens.len() - 1];
            tokens.resize(config.context, end);
            Value::from(tokens)
        });
        let expected = serde_json::json!({
            "tokens": tokens.collect::<Value>(),
            "values": rows(&encoded.values, encoder.bits()),
            "vectors": rows(&encoded.features.unwrap(), config.features),
        });
        fs::write(dir.join("expected.json"), expected.to_string()).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnx_text.py");
        let flags = [script, "--model", "text.onnx", "--expected", "expected.json"];
        let output =
            std::process::Command::new(&python).args(flags).current_dir(dir).output().unwrap();
        let printed = stdout(&output);
        let compared: Value = serde_json::from_str(&printed).unwrap();
        assert!(compared["distinct_codes"].as_u64().unwrap() > 5, "{family:?}: {printed}");
    }
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
    let tokenizer = tokenizer_file(TextFamily::Clip);
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
