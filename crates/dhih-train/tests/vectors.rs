//! The program: from a file of vectors to a codec and to codes, and what it refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{
    FixedSizeListBuilder, Float16Builder, Float64Builder, LargeListBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float16Type, Float32Type};
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StringArray};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use common::{dhih_train, stdout};
use dhih_index::{CodeSet, Codes};
use dhih_model::codec::{Codec, FitConfig, Method, fit};
use dhih_train::arrow_stream::{Coder, Encoded, encode};
use rand::Rng;

/// An `.npy` array of f32.
fn npy(dir: &Path, name: &str, columns: usize, values: &[f32]) {
    let shape = format!("({}, {columns})", values.len() / columns);
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    array(&dir.join(name), ("<f4", &shape), &bytes);
}

/// An `.npy` array of whole numbers.
fn labels(dir: &Path, name: &str, values: &[i64]) {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    array(&dir.join(name), ("<i8", &format!("({},)", values.len())), &bytes);
}

fn array(path: &Path, (descr, shape): (&str, &str), bytes: &[u8]) {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    let bytes = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), bytes].concat();
    std::fs::write(path, bytes).unwrap();
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

/// Two classes that differ in the sign of one of the numbers.
#[test]
fn labels_train_a_codec_whose_first_bits_are_codes_too() {
    let dir = tempfile::tempdir().unwrap();
    let values = drawn(400, 20);
    npy(dir.path(), "v.npy", 20, &values);
    let classes: Vec<i64> = values.chunks(20).map(|v| i64::from(v[3] >= 0.0)).collect();
    labels(dir.path(), "y.npy", &classes);
    let told = |text: &str| -> serde_json::Value {
        serde_json::from_str(&stdout(&dhih_train(dir.path(), &words(text)))).unwrap()
    };
    // There are more bits than a vector has numbers.
    let train = "codec --vectors v.npy --labels y.npy --bits 24 --nested 4,8 --epochs 20 --batch-size 32 --validation 0.2 \
                 --loss csq --loss-param lambda=0.1 --hash-hidden 64 --json";
    let codec = told(train);
    assert_eq!((&codec["method"], &codec["vectors"]), (&"head".into(), &320.into()));
    assert_eq!(codec["nested"], serde_json::json!([4, 8]));
    assert!(codec["validation_map"].as_f64().unwrap() > 0.8, "{codec}");
    assert!(codec["validation_accuracy"].as_f64().unwrap() > 0.8, "{codec}");
    assert_eq!(told(train)["sha256"], codec["sha256"]);
    let short = told("codec --shorten codec.safetensors --bits 8 --out short.safetensors --json");
    assert_eq!((&short["bits"], &short["nested"]), (&8.into(), &serde_json::json!([4])));
    let codes = |codec: &str| {
        told(&format!("encode --codec {codec} --vectors v.npy --out codes.safetensors --json"));
        CodeSet::read(dir.path().join("codes.safetensors"), None).unwrap().codes
    };
    let (whole, short) = (codes("codec.safetensors"), codes("short.safetensors"));
    assert_eq!((whole.bits(), short.bits()), (24, 8));
    assert!((0..400).all(|row| whole.get(row)[0] == short.get(row)[0]));
}

/// The second view has the same first numbers, and others behind them.
#[test]
fn two_views_train_a_codec_that_encodes_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let (values, mut others) = (drawn(300, 12), drawn(600, 12).split_off(3600));
    for (other, vector) in others.chunks_mut(12).zip(values.chunks(12)) {
        other[..4].copy_from_slice(&vector[..4]);
    }
    npy(dir.path(), "v.npy", 12, &values);
    npy(dir.path(), "w.npy", 12, &others);
    let told = |text: &str| -> serde_json::Value {
        serde_json::from_str(&stdout(&dhih_train(dir.path(), &words(text)))).unwrap()
    };
    let train = "codec --vectors v.npy --views w.npy --bits 8 --nested 4 --epochs 20 --batch-size 64 --json";
    let codec = told(train);
    assert_eq!((&codec["method"], &codec["vectors"]), (&"head".into(), &300.into()));
    assert_eq!(told(&format!("{train} --method head --learning-rate 0.05")), codec);
    told("codec --vectors v.npy --bits 8 --nested 4 --out fitted.safetensors --json");
    let differing = |codec: &str| {
        let codes = |vectors: &str| {
            told(&format!(
                "encode --codec {codec} --vectors {vectors} --out codes.safetensors --json"
            ));
            CodeSet::read(dir.path().join("codes.safetensors"), None).unwrap().codes
        };
        let (first, second) = (codes("v.npy"), codes("w.npy"));
        (0..300).map(|row| (first.get(row)[0] ^ second.get(row)[0]).count_ones()).sum::<u32>()
    };
    let own =
        told("codec --vectors v.npy --views --bits 8 --epochs 2 --out own.safetensors --json");
    assert_eq!((&own["method"], &own["vectors"]), (&"head".into(), &300.into()));
    let (trained, fitted) = (differing("codec.safetensors"), differing("fitted.safetensors"));
    assert!(2 * trained < fitted, "{trained} of 2,400 bits differ, fitted {fitted}");
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
    labels(dir.path(), "y.npy", &[0; 100]);
    labels(dir.path(), "few.npy", &[0, 1, 1]);
    let codec = "codec --vectors v.npy --out out.safetensors";
    refused(&format!("{codec} --labels y.npy"), "number of classes is 1");
    refused(&format!("{codec} --labels few.npy"), "number of labels is 3, expected 100");
    refused(&format!("{codec} --labels v.npy"), "labels are whole numbers");
    refused(&format!("{codec} --labels absent.npy"), "absent.npy");
    refused(&format!("{codec} --method head"), "give --labels FILE, or --views FILE");
    refused(&format!("{codec} --method itq --labels y.npy"), "makes no use of labels");
    refused(&format!("{codec} --loss csq"), "--labels");
    npy(dir.path(), "few-views.npy", 20, &drawn(99, 20));
    let codec = format!("{codec} --bits 8");
    refused(&format!("{codec} --views few-views.npy"), "other views is 99, expected 100");
    refused(&format!("{codec} --views other.npy"), "length of other views is 7, expected 20");
    refused(&format!("{codec} --views nan.npy"), "of the other views, nan.npy");
    refused(&format!("{codec} --views absent.npy"), "absent.npy");
    refused(&format!("{codec} --views v.npy --labels y.npy"), "leave out --labels or --views");
    refused(&format!("{codec} --views v.npy --method itq"), "itq makes no use of views");
    refused(&format!("{codec} --views v.npy --loss csq"), "--labels");
    refused(&format!("{codec} --views v.npy --hash-hidden 64"), "--labels");
    refused(&format!("{codec} --epochs 3"), "--labels");
    refused(&format!("{codec} --nested 8"), "lengths of 1 to 7 bits");
    let shorten = "codec --shorten codec.safetensors --out out.safetensors";
    refused(&format!("{shorten} --bits 4"), "bits is 4, expected 8: the lengths of the codec");
    refused(shorten, "--bits");
    refused(&format!("{shorten} --bits 8 --vectors v.npy"), "--vectors");
    let encode = "encode --codec codec.safetensors --out out.safetensors";
    refused(&format!("{encode} --vectors other.npy"), "vectors of 20 numbers");
    refused(&format!("{encode} --vectors nan.npy"), "row 2 has NaN at 3");
    refused(encode, "--vectors");
    refused(
        "encode --vectors v.npy --out out.safetensors --codec v.npy",
        "not a usable checkpoint",
    );
    refused(&format!("{encode} --vectors v.npy --input v.npy"), "--input");
    let stream = "encode --codec codec.safetensors --arrow-stdin --arrow-stdout";
    refused(&format!("{stream} --vectors v.npy"), "--vectors");
    refused(&format!("{stream} --out out.safetensors"), "--out");
}

/// A stream of one batch with a column `vector`.
fn stream(column: ArrayRef) -> Vec<u8> {
    let names: ArrayRef = Arc::new(StringArray::from(vec!["x"; column.len()]));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("vector", column, true), ("name", names, true)]);
    let batch = batch.unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

/// A codec of vectors of four numbers.
fn codec_of_four() -> Codec {
    struct Drawn(Vec<f32>);
    impl dhih_model::codec::Rows for Drawn {
        fn len(&self) -> usize {
            self.0.len() / 4
        }
        fn dims(&self) -> usize {
            4
        }
        fn read(&self, rows: std::ops::Range<usize>, to: &mut Vec<f32>) -> dhih_model::Result<()> {
            to.extend_from_slice(&self.0[4 * rows.start..4 * rows.end]);
            Ok(())
        }
    }
    let config = FitConfig { method: Method::Itq, bits: 3, ..FitConfig::default() };
    fit(&Drawn(drawn(200, 4)), &config, &mut |_| ()).unwrap()
}

fn coded(codec: &Codec, column: ArrayRef) -> (RecordBatch, Encoded) {
    let mut out = Vec::new();
    let done = encode(&stream(column)[..], &mut out, Coder::Vectors(codec)).unwrap();
    let mut batches: Vec<_> =
        StreamReader::try_new(&out[..], None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    (batches.remove(0), done)
}

type Half = <Float16Type as ArrowPrimitiveType>::Native;

#[test]
fn vectors_of_a_stream_have_the_codes_of_a_file_in_lists_of_every_kind() {
    let (codec, values) = (codec_of_four(), drawn(300, 4));
    let halves: Vec<f32> = values.iter().map(|x| Half::from_f32(*x).to_f32()).collect();
    let lists = values.chunks(4).map(|v| Some(v.iter().map(|x| Some(*x)).collect::<Vec<_>>()));
    let small = ListArray::from_iter_primitive::<Float32Type, _, _>(lists);
    let mut large = LargeListBuilder::new(Float64Builder::new());
    let mut fixed = FixedSizeListBuilder::new(Float16Builder::new(), 4);
    for vector in values.chunks(4) {
        vector.iter().for_each(|x| large.values().append_value(f64::from(*x)));
        large.append(true);
        vector.iter().for_each(|x| fixed.values().append_value(Half::from_f32(*x)));
        fixed.append(true);
    }
    let columns: [(ArrayRef, &[f32]); 3] = [
        (Arc::new(small), &values),
        (Arc::new(large.finish()), &values),
        (Arc::new(fixed.finish()), &halves),
    ];
    for (column, values) in columns {
        let (batch, done) = coded(&codec, column);
        assert_eq!(done, Encoded { rows: 300, without_code: 0 });
        let expected = Codes::from_real(3, &codec.encode(values).unwrap()).unwrap();
        let codes = batch["code"].as_binary::<i32>();
        assert!((0..300).all(|row| codes.value(row) == expected.get(row)));
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["name", "code", "w0", "error"]);
        assert_eq!(schema.metadata()["dhih.model_sha256"], codec.sha256());
    }
}

#[test]
fn a_row_without_a_usable_vector_has_a_reason_in_place_of_a_code() {
    let codec = codec_of_four();
    let rows = [
        Some(vec![Some(1.0), Some(2.0), Some(3.0), Some(4.0)]),
        None,
        Some(vec![Some(1.0), None, Some(3.0), Some(4.0)]),
        Some(vec![Some(1.0)]),
        Some(vec![Some(f32::NAN); 4]),
        Some(vec![Some(0.0); 4]),
        Some(vec![Some(-1.0), Some(2.0), Some(0.5), Some(4.0)]),
    ];
    let column = ListArray::from_iter_primitive::<Float32Type, _, _>(rows);
    let (batch, done) = coded(&codec, Arc::new(column));
    assert_eq!(done, Encoded { rows: 7, without_code: 5 });
    let errors = batch["error"].as_string::<i32>();
    assert!(errors.is_null(0) && errors.is_null(6));
    let expected = codec.encode(&[-1.0, 2.0, 0.5, 4.0]).unwrap();
    let expected = Codes::from_real(3, &expected).unwrap();
    assert_eq!(batch["code"].as_binary::<i32>().value(6), expected.get(0));
    for (row, part) in [
        (1, "it is null"),
        (2, "a number that is null"),
        (3, "has 1 numbers; the codec takes 4"),
        (4, "the vector has a number that is not finite"),
        (5, "the vector has only zeros"),
    ] {
        assert!(batch["code"].is_null(row) && batch["w0"].is_null(row));
        assert!(errors.value(row).contains(part), "{}", errors.value(row));
    }
    // This is not a column of vectors.
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let error = encode(&stream(names)[..], Vec::new(), Coder::Vectors(&codec)).unwrap_err();
    assert!(error.to_string().contains("expected lists of 4 floats"), "{error}");
}
