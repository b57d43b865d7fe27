//! Folders as they occur in practice, read by `folder`, `webdataset`, `parquet` and `encode`. The bugs: images in folders below the class
//! folders were ignored silently; a thumbnail folder of a network disk was a class without images, which ended the run; two class folders whose
//! names were not UTF-8 became one class; one dangling link ended `encode`; a line feed in a file's name put the list of names out of step with
//! the codes. `dhih-model` tests the walk itself.
#![allow(clippy::unwrap_used, reason = "a panic is the failure")]

mod common;

use std::path::{Path, PathBuf};

use common::{dhih_train, stdout};
use dhih_index::CodeSet;
use dhih_model::InputShape;
use dhih_train::dataset::{Dataset, DatasetConfig, DatasetName};
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

fn config(dir: &Path) -> DatasetConfig {
    let picture_shape = InputShape::new(8, 8, 3);
    DatasetConfig {
        dir: dir.to_owned(),
        demo_images: 0,
        picture_shape,
        memory: 1 << 20,
        ..DatasetConfig::default()
    }
}

fn load(dir: &Path) -> Dataset {
    Dataset::load(DatasetName::Folder, &config(dir)).unwrap()
}

/// Writes a picture in one colour.
fn put(dir: &Path, name: impl AsRef<Path>, level: u8) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage::from_pixel(8, 8, Rgb([level; 3]));
    std::fs::write(&path, common::encoded(image, ImageFormat::Png)).unwrap();
    path
}

/// The level of each picture, by row.
fn levels(dataset: &Dataset) -> Vec<u8> {
    (0..dataset.len()).map(|row| dataset.image(row).unwrap()[0]).collect()
}

fn left_out(dataset: &Dataset) -> Value {
    serde_json::to_value(&dataset.left_out).unwrap()
}

#[test]
fn images_of_any_depth_belong_to_the_folder_at_the_top() {
    let dir = tempfile::tempdir().unwrap();
    for (name, level) in
        [("cat/2019/07/a.png", 10), ("cat/2019/b.png", 11), ("cat/c.png", 12), ("dog/1/d.png", 20)]
    {
        put(dir.path(), name, level);
    }
    put(dir.path(), "beside.png", 99);
    let dataset = load(dir.path());
    assert_eq!(dataset.classes, ["cat", "dog"]);
    assert_eq!(dataset.labels, vec![0, 0, 0, 1].into());
    assert_eq!(levels(&dataset), [10, 11, 12, 20]);
    assert_eq!((left_out(&dataset), dataset.lists), (json!({"no_class": 1}), None));
}

#[test]
fn empty_hidden_and_helper_folders_are_no_classes() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "cat/a.png", 1);
    put(dir.path(), "dog/a.png", 2);
    for name in [".ipynb_checkpoints/x.png", "@eaDir/x.png", "__MACOSX/x.png"] {
        put(dir.path(), name, 99);
    }
    std::fs::create_dir_all(dir.path().join("empty/deep")).unwrap();
    std::fs::create_dir(dir.path().join("texts")).unwrap();
    std::fs::write(dir.path().join("texts/a.txt"), "no image").unwrap();
    let dataset = load(dir.path());
    assert_eq!(dataset.classes, ["cat", "dog"]);
    let expected = json!({"empty_class": 2, "helper_folder": 2, "hidden": 1, "other_file": 1});
    assert_eq!(left_out(&dataset), expected);
    let summary = dataset.left_out.summary().unwrap();
    assert!(summary.contains("2 empty class (empty, texts)"), "{summary}");
}

#[test]
fn two_spellings_of_an_accent_are_one_class() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "Cafe\u{301}/a.png", 1);
    put(dir.path(), "Caf\u{e9}/b.png", 2);
    put(dir.path(), "Dog/c.png", 3);
    let dataset = load(dir.path());
    assert_eq!(dataset.classes, ["Cafe\u{301}", "Dog"]);
    let of_level: Vec<_> =
        levels(&dataset).into_iter().zip((0..3).map(|row| dataset.labels.of(row)[0])).collect();
    assert_eq!(of_level, [(1, 0), (2, 0), (3, 1)]);
}

#[test]
fn folders_of_parts_hold_the_class_folders() {
    let dir = tempfile::tempdir().unwrap();
    for (name, level) in [
        ("train/n01/a.png", 1),
        ("train/n02/b/b.png", 2),
        ("val/n01/c.png", 3),
        ("test/n02/d.png", 4),
        ("test/n03/e.png", 5),
    ] {
        put(dir.path(), name, level);
    }
    put(dir.path(), "test/without.png", 99);
    let dataset = load(dir.path());
    assert_eq!(dataset.classes, ["n01", "n02", "n03"]);
    assert_eq!(levels(&dataset), [1, 2, 4, 5, 3]);
    assert_eq!(dataset.labels, vec![0, 1, 1, 2, 0].into());
    let lists = dataset.lists.clone().unwrap();
    assert_eq!((lists.train, lists.database), (vec![0, 1], vec![0, 1]));
    assert_eq!((lists.queries, lists.validation), (vec![2, 3], vec![4]));
    assert_eq!(left_out(&dataset), json!({"no_class": 1}));
    assert!(DatasetName::Folder.publishes_parts(dir.path()));
    // Without a test part, the validation part serves as test part, as is usual for ImageNet.
    std::fs::remove_dir_all(dir.path().join("test")).unwrap();
    let lists = load(dir.path()).lists.unwrap();
    assert_eq!((lists.train, lists.queries, lists.validation), (vec![0, 1], vec![2], vec![]));
    // With another folder beside them, these folders are classes.
    put(dir.path(), "bus/f.png", 6);
    let dataset = load(dir.path());
    assert_eq!((dataset.classes.len(), dataset.lists), (3, None));
    assert!(!DatasetName::Folder.publishes_parts(dir.path()));
}

#[test]
fn classes_named_train_and_test_stay_classes() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "train/a.png", 1);
    put(dir.path(), "test/a.png", 2);
    let dataset = load(dir.path());
    assert_eq!(
        (&dataset.classes[..], &dataset.lists),
        (&["test".into(), "train".into()][..], &None)
    );
    assert!(!DatasetName::Folder.publishes_parts(dir.path()));
}

#[test]
fn a_strict_run_refuses_what_others_pass_over() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(dir.path(), 3);
    std::fs::write(dir.path().join("dark/notes.txt"), "no image").unwrap();
    put(dir.path(), "dark/.hidden.png", 1);
    let strict = DatasetConfig { strict: true, ..config(dir.path()) };
    assert_eq!(Dataset::load(DatasetName::Folder, &strict).unwrap().len(), 6);
    std::fs::write(dir.path().join("dark/page.jpg"), "<html>").unwrap();
    let error = Dataset::load(DatasetName::Folder, &strict).unwrap_err().to_string();
    assert!(error.contains("page.jpg") && error.contains("--strict"), "{error}");
    let train =
        ["train", "--dataset", "folder", "--data-dir", ".", "--image-side", "16", "--strict"];
    let output = dhih_train(dir.path(), &train);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("page.jpg"));
}

/// A run of two classes in `run`, and a folder `in` of pictures to be encoded.
fn trained() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("photos"), 4);
    let train = "train --dataset folder --data-dir photos --image-side 8 --bits 16 --epochs 1 --run-dir run";
    stdout(&dhih_train(dir.path(), &train.split(' ').collect::<Vec<_>>()));
    dir
}

/// What `encode --json` reports of the folder `in`.
fn encoded(dir: &Path) -> Value {
    let encode = "encode --run run --input in --out o.safetensors --json";
    let report = stdout(&dhih_train(dir, &encode.split(' ').collect::<Vec<_>>()));
    serde_json::from_str(&report).unwrap()
}

#[test]
fn names_of_codes_stay_in_step_whatever_they_are() {
    let dir = trained();
    let names = ["a.png", "b\nc.png", r"d\x0A.png", "é.png"];
    for (name, level) in names.iter().zip(1..) {
        put(&dir.path().join("in"), name, level);
    }
    assert_eq!(encoded(dir.path())["encoded"], 4);
    let text = std::fs::read_to_string(dir.path().join("o.safetensors.files.txt")).unwrap();
    let expected = ["in/a.png", r"in/b\x0Ac.png", r"in/d\\x0A.png", "in/é.png"];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let json = std::fs::read_to_string(dir.path().join("o.safetensors.files.jsonl")).unwrap();
    let rows = json.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let expected = expected.iter().enumerate().map(|(row, path)| json!({"row": row, "path": path}));
    assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn what_cannot_be_encoded_is_counted_by_the_reason() {
    use std::os::unix::fs::symlink;

    let dir = trained();
    let input = dir.path().join("in");
    put(&input, "a/1.png", 1);
    put(&input, "a/2.JPG_large", 2);
    put(&input, "a/@eaDir/1.png", 3);
    put(&input, "a/._1.png", 4);
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    std::fs::write(input.join("a/phone.heic"), heic).unwrap();
    std::fs::write(input.join("a/notes.txt"), "no image").unwrap();
    std::fs::write(input.join("a/page.jpg"), "<html>").unwrap();
    let whole = std::fs::read(put(&input, "a/half.png", 5)).unwrap();
    std::fs::write(input.join("a/half.png"), &whole[..whole.len() / 2]).unwrap();
    symlink("/nowhere/gone.jpg", input.join("a/broken.jpg")).unwrap();
    symlink("..", input.join("a/up")).unwrap();
    let pipe = input.join("a/pipe.jpg");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let report = encoded(dir.path());
    let expected = json!({
        "broken": 2, "dangling_link": 1, "helper_folder": 1, "hidden": 1, "not_a_file": 1,
        "not_a_picture": 1, "other_file": 1, "repeated": 1,
    });
    assert_eq!((&report["encoded"], &report["left_out"]), (&json!(2), &expected));
    let skipped = report["skipped"].as_array().unwrap().iter();
    let mut skipped: Vec<&str> = skipped.map(|one| one["file"].as_str().unwrap()).collect();
    skipped.sort_unstable();
    let expected = ["broken.jpg", "half.png", "page.jpg", "phone.heic", "pipe.jpg"];
    assert_eq!(skipped, expected.map(|name| format!("in/a/{name}")));
    let phone =
        report["skipped"].as_array().unwrap().iter().find(|one| one["file"] == "in/a/phone.heic");
    let reason = phone.unwrap()["reason"].as_str().unwrap();
    assert!(reason.contains("heif-convert IN.heic OUT.jpg"), "{reason}");
    let codes = CodeSet::read(dir.path().join("o.safetensors"), None).unwrap();
    assert_eq!(codes.codes.len(), 2);
    std::fs::remove_file(dir.path().join("o.safetensors")).unwrap();
    let strict = "encode --run run --input in --out o.safetensors --strict";
    let output = dhih_train(dir.path(), &strict.split(' ').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    assert!(!dir.path().join("o.safetensors").exists());
    // A file that is named and is no picture is no fault, and counts once.
    let named =
        "encode --run run --input in/a/1.png in/a/notes.txt --out o.safetensors --strict --json";
    let report = stdout(&dhih_train(dir.path(), &named.split(' ').collect::<Vec<_>>()));
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["encoded"], &report["left_out"]), (&json!(1), &json!({"other_file": 1})));
}

#[cfg(unix)]
#[test]
fn class_folders_that_are_no_utf8_stay_two_classes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let dir = tempfile::tempdir().unwrap();
    for (name, level) in [(&b"caf\xe8"[..], 1), (b"caf\xe9", 2), (b"dog", 3)] {
        put(&dir.path().join(OsStr::from_bytes(name)), "a.png", level);
    }
    let dataset = load(dir.path());
    assert_eq!(dataset.classes, [r"caf\xE8", r"caf\xE9", "dog"]);
    assert_eq!(levels(&dataset), [1, 2, 3]);
}

#[test]
fn shards_come_in_the_natural_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let picture = |level: u8| {
        let image = RgbImage::from_pixel(8, 8, Rgb([level; 3]));
        common::encoded(image, ImageFormat::Png)
    };
    for number in [10, 2, 1] {
        let rows = [(picture(number), i64::from(number % 2))];
        common::parquet(&dir.path().join(format!("data/train-{number}.parquet")), &rows);
    }
    std::fs::write(dir.path().join("README.md"), "about the set").unwrap();
    let dataset = Dataset::load(DatasetName::Parquet, &config(dir.path())).unwrap();
    assert_eq!(levels(&dataset), [1, 2, 10]);
    assert_eq!(left_out(&dataset), json!({"other_file": 1}));
}
