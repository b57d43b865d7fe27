//! CIFAR-100 and Pascal VOC in their published folders and files: intact, and with each kind of damage.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;

use common::columns::{Column, write};
use dhih_train::dataset::{Dataset, DatasetName};
use dhih_train::protocol::Protocol;
use image::ImageFormat;
use parquet::basic::Compression;

fn try_load(name: DatasetName, dir: &Path) -> dhih_train::Result<Dataset> {
    Dataset::load(name, &common::config(dir))
}

fn refusal(name: DatasetName, dir: &Path) -> String {
    let error = try_load(name, dir).unwrap_err().to_string();
    assert!(error.contains("--data-dir"), "no cure: {error}");
    error
}

#[test]
fn cifar100_has_fine_and_coarse_classes_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let (coarse, fine) = (|i: u8| i % 20, |i: u8| 5 * (i % 20) + i % 5);
    let record = |i: u8| -> Vec<u8> {
        let image = common::picture(i);
        let plane = |c: usize| image.pixels().map(move |pixel| pixel.0[c]).collect::<Vec<_>>();
        [vec![coarse(i), fine(i)], plane(0), plane(1), plane(2)].concat()
    };
    let folder = dir.path().join("binary/cifar-100-binary");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("train.bin"), (0..7).flat_map(record).collect::<Vec<_>>()).unwrap();
    std::fs::write(folder.join("test.bin"), (7..9).flat_map(record).collect::<Vec<_>>()).unwrap();
    for (name, rows) in [("train", 0..7u8), ("test", 7..9)] {
        let encode = |i: u8| common::encoded(common::picture(i), ImageFormat::Png);
        let numbers =
            |of: fn(u8) -> u8| rows.clone().map(|i| Some(i64::from(of(i)))).collect::<Vec<_>>();
        let columns = [
            ("img", Column::Pictures(rows.clone().map(|i| Some(encode(i))).collect())),
            ("", Column::integers("optional int64 fine_label", &numbers(fine))),
            ("", Column::integers("optional int64 coarse_label", &numbers(coarse))),
        ];
        let path = dir.path().join(format!("hub/cifar100/{name}-00000-of-00001.parquet"));
        write(&path, Compression::SNAPPY, &columns);
    }
    for (name, classes) in [(DatasetName::Cifar100, 100), (DatasetName::Cifar100Coarse, 20)] {
        let [binary, hub] =
            ["binary", "hub"].map(|version| try_load(name, &dir.path().join(version)).unwrap());
        assert_eq!(
            (binary.len(), binary.official_train, binary.classes.len()),
            (9, Some(7), classes)
        );
        assert_eq!((&binary.sha256, &binary.labels), (&hub.sha256, &hub.labels));
        assert_eq!(binary.image(3).unwrap()[(5 * 32 + 9) * 3..][..3], [72, 40, 3]);
        let split = Protocol::default_for(name).split(&binary, 0).unwrap();
        assert_eq!((split.train.len(), split.queries), (7, vec![7, 8]));
    }
    let binary = dir.path().join("binary");
    let fine = try_load(DatasetName::Cifar100, &binary).unwrap();
    let coarse = try_load(DatasetName::Cifar100Coarse, &binary).unwrap();
    assert_eq!((fine.labels.of(3), coarse.labels.of(3)), (&[18][..], &[3][..]));
    // The names as the sets' own lists have them, first, last and by number.
    assert_eq!(
        [&fine.classes[0], &fine.classes[18], &fine.classes[99]],
        ["apple", "caterpillar", "worm"]
    );
    assert_eq!([&coarse.classes[0], &coarse.classes[19]], ["aquatic_mammals", "vehicles_2"]);
    assert!(fine.classes.is_sorted() && coarse.classes.is_sorted());

    std::fs::write(folder.join("train.bin"), vec![0; 3073]).unwrap();
    assert!(refusal(DatasetName::Cifar100, &binary).contains("whole number of records"));
    assert!(refusal(DatasetName::Cifar100, dir.path()).contains("train-00000-of-00001.parquet"));
}

/// A year with these parts: pictures `PART0.jpg` and so on, 0 and 2 of which show a dog, 1 and 2 a cat, and 3 a cat that is hard to see.
fn voc_year(root: &Path, parts: &[&str]) {
    let main = root.join("ImageSets/Main");
    std::fs::create_dir_all(&main).unwrap();
    std::fs::create_dir_all(root.join("JPEGImages")).unwrap();
    for part in parts {
        std::fs::write(main.join(format!("{part}.txt")), "ignored\n").unwrap();
        for (class, marks) in [("dog", [1, -1, 1, -1]), ("cat", [-1, 1, 1, 0])] {
            let lines = (0..4).map(|i| format!("{part}{i} {:2}\n", marks[i])).collect::<String>();
            std::fs::write(main.join(format!("{class}_{part}.txt")), lines).unwrap();
        }
        for i in 0..4 {
            let bytes = common::encoded(common::picture(i), ImageFormat::Jpeg);
            std::fs::write(root.join(format!("JPEGImages/{part}{i}.jpg")), bytes).unwrap();
        }
    }
}

#[test]
fn pascal_voc_has_several_classes_a_picture_and_the_parts_of_its_lists() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("VOCdevkit/VOC2007");
    voc_year(&root, &["train", "trainval", "test", "val"]);
    for folder in [dir.path().to_owned(), dir.path().join("VOCdevkit"), root.clone()] {
        let dataset = try_load(DatasetName::PascalVoc, &folder).unwrap();
        assert_eq!(dataset.classes, ["cat", "dog"]);
        let labels: Vec<&[u32]> = (0..8).map(|row| dataset.labels.of(row)).collect();
        assert_eq!(
            labels,
            [[&[1][..], &[0], &[0, 1], &[]], [&[1][..], &[0], &[0, 1], &[]]].concat()
        );
        let split = Protocol::default_for(dataset.name).split(&dataset, 0).unwrap();
        assert_eq!((split.train.len(), split.queries), (4, vec![4, 5, 6, 7]));
    }
    // A year without a published test part.
    let later = dir.path().join("VOCdevkit/VOC2012");
    voc_year(&later, &["train", "trainval", "val"]);
    let dataset = try_load(DatasetName::PascalVoc, &later).unwrap();
    assert_eq!((dataset.len(), dataset.official_train), (8, Some(4)));
    let error = refusal(DatasetName::PascalVoc, dir.path());
    assert!(error.contains("VOC2007, VOC2012"), "{error}");
    std::fs::write(later.join("ImageSets/Main/cat_val.txt"), "val0 1\nval1 2\n").unwrap();
    let error = refusal(DatasetName::PascalVoc, &later);
    assert!(error.contains("cat_val.txt") && error.contains("line 2"), "{error}");
    std::fs::remove_file(later.join("ImageSets/Main/cat_val.txt")).unwrap();
    assert!(refusal(DatasetName::PascalVoc, &later).contains("cat_val.txt"));
    assert!(refusal(DatasetName::PascalVoc, &dir.path().join("no")).contains("ImageSets/Main"));
}
