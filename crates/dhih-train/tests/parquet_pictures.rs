//! Parquet files of pictures as other programs write them.
//!
//! A whole set once was unreadable because of a single type of label or a compression: labels in numpy's u8, text, or -1 for "no label" ended in
//! a message about a missing picture, Zstandard in "disabled feature", and a folder `test` was trained on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;

use common::columns::{Column, write};
use dhih_train::dataset::{Dataset, DatasetName, Warning};
use dhih_train::protocol::Protocol;
use image::ImageFormat;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};

fn try_load(dir: &Path) -> dhih_train::Result<Dataset> {
    Dataset::load(DatasetName::Parquet, &common::config(dir))
}

fn load(dir: &Path) -> Dataset {
    try_load(dir).unwrap()
}

fn refusal(dir: &Path) -> String {
    let error = try_load(dir).unwrap_err().to_string();
    assert!(error.contains("--data-dir"), "no cure: {error}");
    error
}

fn pictures(count: usize) -> Column {
    let picture = |i: usize| common::encoded(common::picture(i as u8), ImageFormat::Png);
    Column::Pictures((0..count).map(|i| Some(picture(i))).collect())
}

const SNAPPY: Compression = Compression::SNAPPY;

#[test]
fn labels_of_every_whole_number_type_are_class_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train-0.parquet");
    let values: Vec<Option<i64>> = (0..6).map(|i| Some(i % 3)).collect();
    for kind in [
        "int32 label (INTEGER(8,true))",
        "int32 label (INTEGER(8,false))",
        "int32 label (INTEGER(16,true))",
        "int32 label (UINT_16)",
        "int32 label (INTEGER(32,false))",
        "int32 label",
        "int64 label (INTEGER(64,false))",
        "int64 label (INT_64)",
        "int64 label",
    ] {
        for presence in ["optional", "required"] {
            let label = Column::integers(&format!("{presence} {kind}"), &values);
            write(&path, SNAPPY, &[("image", pictures(6)), ("label", label)]);
            let dataset = load(dir.path());
            assert_eq!(dataset.labels, vec![0, 1, 2, 0, 1, 2].into(), "{presence} {kind}");
        }
    }
    // 200 becomes -56 where an unsigned number of 8 bits is read as signed.
    let values = [Some(200), Some(255), Some(200), Some(255)];
    let label = Column::integers("required int32 label (INTEGER(8,false))", &values);
    write(&path, SNAPPY, &[("image", pictures(4)), ("label", label)]);
    let dataset = load(dir.path());
    assert_eq!(dataset.classes, ["200", "255"]);
    assert_eq!(dataset.warnings, [Warning::LabelsHaveGaps { missing: 254 }]);
}

#[test]
fn every_codec_is_read_and_gives_the_same_set() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train-0.parquet");
    let digest = |codec: Compression| {
        let label = Column::integers("optional int64 label", &[Some(0), Some(1), Some(0), Some(1)]);
        write(&path, codec, &[("image", pictures(4)), ("label", label)]);
        load(dir.path()).sha256
    };
    let plain = digest(Compression::UNCOMPRESSED);
    for codec in [
        SNAPPY,
        Compression::LZ4_RAW,
        Compression::LZ4,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        assert_eq!(digest(codec), plain, "{codec:?}");
    }
}

#[test]
fn text_is_the_names_of_classes_over_all_files() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, labels: &[Option<&str>]| {
        let label = Column::texts("optional binary label (STRING)", labels);
        let path = dir.path().join(name);
        write(&path, SNAPPY, &[("image", pictures(labels.len())), ("label", label)]);
    };
    // An accent is one class, whether it is one character or two.
    put("train-1.parquet", &[Some("Caf\u{e9}"), Some("Cafe\u{301}"), Some("owl")]);
    let dataset = load(dir.path());
    assert_eq!(dataset.classes, ["Caf\u{e9}", "owl"]);
    std::fs::remove_file(dir.path().join("train-1.parquet")).unwrap();
    put("train-2.parquet", &[Some("owl"), Some(" cat ")]);
    // Part 10 comes after part 2, not before it.
    put("train-10.parquet", &[Some("dog"), None, Some(""), Some("owl")]);
    let dataset = load(dir.path());
    assert_eq!(dataset.classes, ["cat", "dog", "owl"]);
    assert_eq!(dataset.labels, vec![2, 0, 1, 2].into());
    let path = dir.path().join("train-10.parquet");
    let unlabelled = Warning::Unlabelled { path: path.clone(), count: 2, first: 1 };
    assert_eq!(dataset.warnings, [unlabelled]);
    let label = Column::integers("optional int64 label", &[Some(0)]);
    write(&path, SNAPPY, &[("image", pictures(1)), ("label", label)]);
    assert!(refusal(dir.path()).contains("text"));
}

#[test]
fn rows_without_label_or_picture_are_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train-0.parquet");
    let labels = [Some(1), Some(-1), Some(2), None, Some(1), Some(2)];
    let Column::Pictures(mut bytes) = pictures(6) else { unreachable!() };
    bytes[2] = None;
    bytes[3] = None;
    let label = Column::integers("optional int64 label", &labels);
    write(&path, SNAPPY, &[("image", Column::Pictures(bytes)), ("label", label)]);
    let dataset = load(dir.path());
    assert_eq!((dataset.len(), &dataset.classes[..]), (3, &["1".to_owned(), "2".to_owned()][..]));
    assert_eq!(dataset.warnings.len(), 2, "{:?}", dataset.warnings);
    assert_eq!(dataset.warnings[0], Warning::Unlabelled { path, count: 2, first: 1 });
    assert_eq!(dataset.warnings[1], Warning::LabelsBeginAtOne);
    let left_out = serde_json::to_value(&dataset.left_out).unwrap();
    assert_eq!(left_out, serde_json::json!({"broken": 1, "no_class": 2}));
    let skipped: Vec<String> =
        dataset.skipped.iter().map(|(path, _)| path.display().to_string()).collect();
    assert!(skipped.len() == 1 && skipped[0].ends_with("train-0.parquet, row 2"), "{skipped:?}");
}

#[test]
fn lists_of_labels_may_be_empty_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    let labels = [Some(vec![2, 0]), Some(vec![]), None, Some(vec![1]), Some(vec![0, 0])];
    write(
        &dir.path().join("train.parquet"),
        SNAPPY,
        &[("image", pictures(5)), ("labels", Column::Lists(labels.to_vec()))],
    );
    let dataset = load(dir.path());
    let labels: Vec<&[u32]> = (0..4).map(|i| dataset.labels.of(i)).collect();
    assert_eq!(labels, [&[0, 2][..], &[], &[1], &[0]]);
    assert!(dataset.warnings.contains(&Warning::WithoutClass { count: 1 }));
}

#[test]
fn names_of_files_and_folders_tell_the_parts() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, count: usize| {
        let path = dir.path().join(name);
        let labels: Vec<Option<i64>> = (0..count as i64).map(|i| Some(i % 2)).collect();
        let label = Column::integers("optional int64 label", &labels);
        write(&path, SNAPPY, &[("image", pictures(count)), ("label", label)]);
    };
    put("default/train/0000.parquet", 8);
    assert_eq!(Protocol::default_in(DatasetName::Parquet, dir.path()), Protocol::Folder);
    for name in ["default/dev/0.parquet", "val-00000-of-00001.parquet", "x/validation.parquet"] {
        put(name, 4);
        assert_eq!(Protocol::default_in(DatasetName::Parquet, dir.path()), Protocol::Official);
        let split = Protocol::Official.split(&load(dir.path()), 0).unwrap();
        assert_eq!((split.train.len(), split.queries.len()), (8, 4), "{name}");
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    put("default/valid/0000.parquet", 4);
    for name in ["default/test/0000.parquet", "test-00000-of-00002.parquet", "a/Test.parquet"] {
        put(name, 6);
        let dataset = load(dir.path());
        let split = Protocol::Official.split(&dataset, 0).unwrap();
        assert_eq!(split.queries, (8..14).collect::<Vec<_>>(), "{name}");
        assert_eq!((split.train.len(), split.database.len()), (8, 8), "{name}");
        assert_eq!(dataset.official_validation_rows(), (14..18).collect::<Vec<_>>());
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    // ImageNet publishes its test part without labels, so that the validation part is tested on and does not train.
    let unlabelled = Column::integers("optional int64 label", &[Some(-1), Some(-1)]);
    let path = dir.path().join("default/test/0000.parquet");
    write(&path, SNAPPY, &[("image", pictures(2)), ("label", unlabelled)]);
    let dataset = load(dir.path());
    let split = Protocol::Official.split(&dataset, 0).unwrap();
    assert_eq!((split.train.len(), split.queries), (8, vec![8, 9, 10, 11]));
    assert!(dataset.official_validation_rows().is_empty());
    std::fs::remove_file(path).unwrap();
    // Only whole words count: `contest` is not a test part.
    put("contest/latest.parquet", 2);
    assert_eq!(load(dir.path()).official_train, Some(10));
    std::fs::remove_dir_all(dir.path().join("default/train")).unwrap();
    std::fs::remove_dir_all(dir.path().join("contest")).unwrap();
    assert!(refusal(dir.path()).contains("none that trains"));
}

#[test]
fn a_refusal_names_column_type_and_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.parquet");
    let refused = |columns: &[(&str, Column)], parts: &[&str]| {
        write(&path, SNAPPY, columns);
        let error = refusal(dir.path());
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    };
    let label = || Column::integers("optional int64 label", &[Some(0), Some(1)]);
    refused(&[("label", label())], &["no column of pictures", "`label` (INT64)"]);
    refused(&[("image", pictures(2))], &["no column of labels", "`image.bytes` (BYTE_ARRAY)"]);
    let double = Column::Doubles(vec![0.0, 1.0]);
    refused(&[("image", pictures(2)), ("label", double)], &["`label`", "DOUBLE", "whole numbers"]);
    let large = Column::integers("optional int64 label", &[Some(0), Some(1 << 33)]);
    refused(&[("image", pictures(2)), ("label", large)], &["`label`", "row 1", "8589934592"]);
    let text = Column::texts("optional binary image (STRING)", &[Some("a.jpg"), Some("b.jpg")]);
    refused(&[("image", text), ("label", label())], &["`image`", "UTF8", "bytes of pictures"]);
    std::fs::write(&path, b"PAR1 is not enough").unwrap();
    assert!(refusal(dir.path()).contains("not a complete Parquet file"));
    std::fs::remove_file(&path).unwrap();
    assert!(refusal(dir.path()).contains("no .parquet file"));
}

#[test]
fn no_damaged_byte_panics() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.parquet");
    let dot = |i: u8| {
        let dot = image::RgbImage::from_pixel(2, 2, image::Rgb([i; 3]));
        Some(common::encoded(dot, ImageFormat::Png))
    };
    let labels = Column::Lists(vec![Some(vec![0]), None, Some(vec![1, 2]), Some(vec![])]);
    let columns = [("image", Column::Pictures((0..4).map(dot).collect())), ("labels", labels)];
    write(&path, SNAPPY, &columns);
    assert_eq!(load(dir.path()).len(), 3);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for change in [1, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            std::fs::write(&path, &bytes).unwrap();
            // Either result is fine, as long as the process continues.
            let _ = try_load(dir.path());
        }
    }
    for end in 0..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        assert!(try_load(dir.path()).is_err(), "cut at {end}");
    }
}
