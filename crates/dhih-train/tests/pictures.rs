//! Sets of pictures with one or several labels, in memory and streamed; SVHN and NUS-WIDE in the formats they are published in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::io::Write;
use std::path::Path;

use dhih_model::InputShape;
use dhih_train::dataset::{ClassLabels, Dataset, DatasetConfig, DatasetName};
use dhih_train::protocol::Protocol;
use dhih_train::run::{self, Evaluation};
use dhih_train::{Progress, RunDir, TrainOptions};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::ImageFormat;

fn config(dir: &Path, memory: usize) -> DatasetConfig {
    let picture_shape = InputShape::new(16, 16, 3);
    DatasetConfig { dir: dir.to_owned(), picture_shape, memory, ..DatasetConfig::default() }
}

fn load(name: DatasetName, dir: &Path) -> Dataset {
    Dataset::load(name, &config(dir, usize::MAX)).unwrap()
}

fn refusal(name: DatasetName, dir: &Path) -> String {
    let error = Dataset::load(name, &config(dir, usize::MAX)).unwrap_err().to_string();
    assert!(error.contains("--data-dir"), "no cure: {error}");
    error
}

/// 12 photographs `images/0.png` and so on, and what they show: dark, light, both, or nothing.
fn photographs(dir: &Path) -> [&'static str; 12] {
    std::fs::create_dir_all(dir.join("images")).unwrap();
    for i in 0..12u8 {
        let bytes = common::encoded(common::picture(20 * i), ImageFormat::Png);
        std::fs::write(dir.join(format!("images/{i}.png")), bytes).unwrap();
    }
    [
        "dark",
        "light",
        "dark;light",
        "dark",
        "light",
        "",
        "dark",
        "light",
        "dark",
        "light",
        "dark",
        "light",
    ]
}

#[test]
fn a_list_has_one_label_or_several() {
    let dir = tempfile::tempdir().unwrap();
    let shown = photographs(dir.path());
    let list = |lines: &[String]| {
        let text = format!("image,labels\n{}\n", lines.join("\n"));
        std::fs::write(dir.path().join("labels.csv"), text).unwrap();
    };
    let lines: Vec<String> =
        shown.iter().enumerate().map(|(i, shown)| format!("images/{i}.png,{shown}")).collect();
    list(&lines);
    let dataset = load(DatasetName::Csv, dir.path());
    assert_eq!(dataset.classes, ["dark", "light"]);
    let labels: Vec<&[u32]> = (0..6).map(|i| dataset.labels.of(i)).collect();
    assert_eq!(labels, [&[0][..], &[1], &[0, 1], &[0], &[1], &[]]);

    // One label for each picture is not multi-hot. Unreadable files are listed.
    let mut single: Vec<String> = lines
        .iter()
        .enumerate()
        .filter(|(i, _)| ![2, 5].contains(i))
        .map(|(_, line)| line.clone())
        .collect();
    single.push("images/absent.png,dark".to_owned());
    list(&single);
    let dataset = load(DatasetName::Csv, dir.path());
    assert_eq!((dataset.len(), dataset.skipped.len()), (10, 1));
    assert!(matches!(&dataset.labels, ClassLabels::Single(labels) if labels[..3] == [0, 1, 0]));

    list(&["images/0.png,dark".to_owned()]);
    assert!(refusal(DatasetName::Csv, dir.path()).contains("1 classes"));
    list(&["images/0.png,dark".to_owned(), "absent.png,light".to_owned()]);
    assert!(refusal(DatasetName::Csv, dir.path()).contains("class \"light\" has no usable image"));
    list(&["images/0.png,dark".to_owned(), ",light".to_owned()]);
    assert!(refusal(DatasetName::Csv, dir.path()).contains("line 3"));
    std::fs::write(dir.path().join("labels.csv"), "a,b\n1,2\n").unwrap();
    assert!(refusal(DatasetName::Csv, dir.path()).contains("no column `image`"));
    std::fs::remove_file(dir.path().join("labels.csv")).unwrap();
    assert!(refusal(DatasetName::Csv, dir.path()).contains("labels.csv"));
}

#[test]
fn streamed_images_are_those_in_memory_and_a_lost_one_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(dir.path(), 20);
    let kept = load(DatasetName::Folder, &data);
    let streamed = Dataset::load(DatasetName::Folder, &config(&data, 1000)).unwrap();
    assert!(streamed.is_streamed() && !kept.is_streamed());
    let rows: Vec<usize> = (0..kept.len()).rev().collect();
    assert_eq!(kept.gather(&rows).unwrap(), streamed.gather(&rows).unwrap());
    assert_eq!(kept.labels, streamed.labels);
    let again = Dataset::load(DatasetName::Folder, &config(&data, 1000)).unwrap();
    assert_eq!(streamed.sha256, again.sha256);
    std::fs::copy(data.join("dark/001.png"), data.join("dark/000.png")).unwrap();
    let changed = Dataset::load(DatasetName::Folder, &config(&data, 1000)).unwrap();
    assert_ne!(streamed.sha256, changed.sha256);
    std::fs::remove_file(data.join("dark/000.png")).unwrap();
    let error = streamed.gather(&rows).unwrap_err().to_string();
    assert!(error.contains("000.png") && error.contains("restore"), "{error}");
}

#[test]
fn several_labels_train_and_are_measured_as_sets() {
    let dir = tempfile::tempdir().unwrap();
    common::folder(&dir.path().join("set"), 20);
    let lines = (0..40).map(|i| {
        let (class, other) = if i < 20 { ("dark", "low") } else { ("light", "high") };
        let both = if i % 2 == 0 { format!(";{other}") } else { String::new() };
        format!("set/{class}/{:03}.png,{class}{both}\n", i % 20)
    });
    let text = format!("image,labels\n{}", lines.collect::<String>());
    std::fs::write(dir.path().join("labels.csv"), text).unwrap();
    for loss in ["hi", "csq", "dpsh"] {
        let options = TrainOptions {
            dataset: Some("csv".into()),
            data_dir: Some(dir.path().to_owned()),
            image_side: Some(16),
            bits: Some(16),
            epochs: Some(3),
            batch_size: Some(8),
            loss: Some(loss.parse().unwrap()),
            validation: Some(0.2),
            ..TrainOptions::default()
        };
        let path = dir.path().join(loss);
        let config = options.resolve().unwrap();
        let (run, evaluation) = run::start(&config, Some(&path), Progress::Silent).unwrap();
        assert!(evaluation.metrics.map > 0.7, "{loss}: {}", evaluation.metrics.map);
        let read: Evaluation = run.read_json(RunDir::EVALUATION).unwrap();
        assert_eq!(read.dataset.name, DatasetName::Csv);
    }
}

#[test]
fn shards_are_read_where_their_pictures_lie() {
    let dir = tempfile::tempdir().unwrap();
    let shard = |name: &str, members: &[(String, Vec<u8>)]| {
        let mut tar = tar::Builder::new(std::fs::File::create(dir.path().join(name)).unwrap());
        for (path, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            tar.append_data(&mut header, path, &bytes[..]).unwrap();
        }
        tar.into_inner().unwrap().flush().unwrap();
    };
    let sample = |i: u8| {
        let picture = common::encoded(common::picture(i), ImageFormat::Png);
        [
            (format!("a.b/{i:04}.png"), picture),
            (format!("a.b/{i:04}.cls"), (i % 3).to_string().into_bytes()),
        ]
    };
    shard("one.tar", &(0..5).flat_map(sample).collect::<Vec<_>>());
    shard("two.tar", &(5..9).flat_map(sample).collect::<Vec<_>>());
    let dataset = Dataset::load(DatasetName::WebDataset, &config(dir.path(), 0)).unwrap();
    assert!(dataset.is_streamed());
    assert_eq!(dataset.labels, vec![0, 1, 2, 0, 1, 2, 0, 1, 2].into());
    assert_eq!(dataset.classes, ["0", "1", "2"]);
    let kept = load(DatasetName::WebDataset, dir.path());
    assert_eq!(kept.gather(&[7, 0]).unwrap(), dataset.gather(&[7, 0]).unwrap());
    std::fs::write(dir.path().join("classes.txt"), "x\ny\nz\n").unwrap();
    assert_eq!(load(DatasetName::WebDataset, dir.path()).classes, ["x", "y", "z"]);
    std::fs::write(dir.path().join("classes.txt"), "x\ny\n").unwrap();
    assert!(refusal(DatasetName::WebDataset, dir.path()).contains("label 2"));
    std::fs::remove_file(dir.path().join("classes.txt")).unwrap();
    shard("two.tar", &sample(5)[..1]);
    let dataset = load(DatasetName::WebDataset, dir.path());
    let left_out = serde_json::to_value(&dataset.left_out).unwrap();
    assert_eq!((dataset.len(), left_out), (5, serde_json::json!({"no_class": 1})));
    shard("two.tar", &[sample(5)[0].clone(), ("a.b/0005.cls".into(), b"cat".to_vec())]);
    assert!(refusal(DatasetName::WebDataset, dir.path()).contains("\"cat\""));
    let whole = std::fs::read(dir.path().join("one.tar")).unwrap();
    std::fs::write(dir.path().join("two.tar"), &whole[..700]).unwrap();
    assert!(refusal(DatasetName::WebDataset, dir.path()).contains("two.tar"));
}

#[test]
fn parquet_of_the_hub_has_parts() {
    let dir = tempfile::tempdir().unwrap();
    let row = |i: u8| (common::encoded(common::picture(i), ImageFormat::Png), i64::from(i % 2));
    common::parquet(&dir.path().join("data/train-0.parquet"), &(0..8).map(row).collect::<Vec<_>>());
    let dataset = load(DatasetName::Parquet, dir.path());
    assert_eq!((dataset.len(), dataset.official_train), (8, None));
    let error = Protocol::Official.split(&dataset, 0).unwrap_err().to_string();
    assert!(error.contains("no test part"), "{error}");
    common::parquet(&dir.path().join("data/test-0.parquet"), &(8..12).map(row).collect::<Vec<_>>());
    let dataset = load(DatasetName::Parquet, dir.path());
    let split = Protocol::Official.split(&dataset, 0).unwrap();
    assert_eq!((split.train.len(), split.queries), (8, vec![8, 9, 10, 11]));
}

/// An element of a MATLAB file, with its padding.
fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn mat(images: &[u8], labels: &[u8]) -> Vec<u8> {
    let n = labels.len() as u32;
    let mut file = vec![b' '; 124];
    file.extend([0, 1, b'I', b'M']);
    for (name, dims, values) in [(b"X", &[32, 32, 3, n][..], images), (b"y", &[n, 1], labels)] {
        let dims: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        let parts = [
            element(6, &[9, 0, 0, 0, 0, 0, 0, 0]),
            element(5, &dims),
            element(1, name),
            element(2, values),
        ];
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&element(14, &parts.concat())).unwrap();
        let packed = encoder.finish().unwrap();
        file.extend(15u32.to_le_bytes());
        file.extend((packed.len() as u32).to_le_bytes());
        file.extend(packed);
    }
    file
}

/// Both versions of SVHN have the same pixels at the same positions.
#[test]
fn svhn_of_matlab_and_of_the_hub_agree_with_known_pixels() {
    let dir = tempfile::tempdir().unwrap();
    let row = |i: u8| (common::encoded(common::picture(i), ImageFormat::Png), i64::from(i % 10));
    let folder = dir.path().join("hub/cropped_digits");
    let write = |name: &str, rows: std::ops::Range<u8>| {
        common::parquet(&folder.join(name), &rows.map(row).collect::<Vec<_>>());
    };
    write("train-00000-of-00001.parquet", 0..11);
    write("test-00000-of-00001.parquet", 11..13);
    let published = dir.path().join("published");
    std::fs::create_dir(&published).unwrap();
    let columns = |i: u8| {
        let image = common::picture(i);
        let at = move |c: usize, x: u32, y: u32| image.get_pixel(x, y).0[c];
        (0..3)
            .flat_map(move |c| {
                let at = at.clone();
                (0..32).flat_map(move |x| {
                    let at = at.clone();
                    (0..32).map(move |y| at(c, x, y))
                })
            })
            .collect::<Vec<u8>>()
    };
    for (name, rows) in [("train_32x32.mat", 0..11u8), ("test_32x32.mat", 11..13)] {
        let images: Vec<u8> = rows.clone().flat_map(columns).collect();
        let labels: Vec<u8> = rows.map(|i| if i % 10 == 0 { 10 } else { i % 10 }).collect();
        std::fs::write(published.join(name), mat(&images, &labels)).unwrap();
    }
    let [a, b] =
        [published.clone(), dir.path().join("hub")].map(|dir| load(DatasetName::Svhn, &dir));
    assert_eq!((a.len(), a.official_train, a.verified), (13, Some(11), Some(false)));
    assert_eq!((&a.labels, &a.sha256), (&b.labels, &b.sha256));
    assert_eq!(a.labels.of(10), [0]);
    assert_eq!(a.image(3).unwrap()[(5 * 32 + 9) * 3..][..3], [72, 40, 3]);
    let split = Protocol::SvhnFull.split(&a, 0).unwrap();
    assert_eq!((split.train.len(), split.queries.len()), (11, 2));

    let (zeros, path) = (vec![0; 3072], published.join("test_32x32.mat"));
    let whole = mat(&zeros, &[1]);
    for (bytes, part) in [
        (mat(&zeros, &[11]), "label 11"),
        (mat(&zeros, &[0]), "label 0"),
        (mat(&zeros[1..], &[1]), "3071 values"),
        (whole[..whole.len() - 3].to_vec(), "cut short"),
        (b"no matlab".to_vec(), "cut short"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = refusal(DatasetName::Svhn, &published);
        assert!(error.contains(part) && error.contains("test_32x32.mat"), "{part}: {error}");
    }
}

#[test]
fn nus_wide_lists_are_the_parts_and_missing_images_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    photographs(dir.path());
    let line = |i: usize| {
        let marks = (0..21).map(|concept| if concept % 12 == i { "1" } else { "0" });
        format!("./data/nuswide/images/{i}.png {}\n", marks.collect::<Vec<_>>().join(" "))
    };
    let list = |part: &str, rows: std::ops::Range<usize>| {
        let path = dir.path().join(format!("nuswide_21_{part}.txt"));
        std::fs::write(path, rows.map(line).collect::<String>()).unwrap();
    };
    list("train", 0..6);
    list("test", 9..13);
    assert!(refusal(DatasetName::NusWide21, dir.path()).contains("nuswide_21_database.txt"));
    list("database", 0..9);
    let dataset = load(DatasetName::NusWide21, dir.path());
    // The last query has no image.
    assert_eq!((dataset.len(), dataset.skipped.len(), dataset.classes.len()), (12, 1, 21));
    assert_eq!(dataset.labels.of(1), [1, 13]);
    let split = Protocol::NusWide21.split(&dataset, 0).unwrap();
    assert_eq!((split.train, split.queries), ((0..6).collect(), vec![9, 10, 11]));
    assert_eq!(split.database, (0..9).collect::<Vec<_>>());
    for (text, part) in [
        ("images/0.png 1 0\n", "2 marks"),
        (&line(0).replace(" 1 ", " 7 "), "\"7\""),
        (&line(0).replace("images/0", "images/1"), "other labels"),
    ] {
        std::fs::write(dir.path().join("nuswide_21_database.txt"), format!("{}{text}", line(3)))
            .unwrap();
        let error = refusal(DatasetName::NusWide21, dir.path());
        assert!(error.contains(part) && error.contains("line 2"), "{part}: {error}");
    }
}

#[test]
fn unseen_classes_are_searched_and_never_trained_on() {
    let options = TrainOptions { demo_images: Some(500), ..TrainOptions::default() };
    let demo = options.resolve().unwrap().dataset_config();
    let dataset = Dataset::load(DatasetName::Demo, &demo).unwrap();
    let split = Protocol::UnseenClasses.split(&dataset, 3).unwrap();
    let classes = |rows: &[usize]| {
        let mut classes: Vec<u32> = rows.iter().map(|row| dataset.labels.of(*row)[0]).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    };
    let (seen, unseen) = (classes(&split.train), classes(&split.database));
    assert_eq!((seen.len(), unseen.len()), (7, 3));
    assert!(seen.iter().all(|class| !unseen.contains(class)));
    assert_eq!(unseen, classes(&split.queries));
    assert_eq!(split.train.len() + split.database.len() + split.queries.len(), 500);
    assert_ne!(split, Protocol::UnseenClasses.split(&dataset, 4).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let two = load(DatasetName::Folder, &common::folder(dir.path(), 4));
    let error = Protocol::UnseenClasses.split(&two, 0).unwrap_err().to_string();
    assert!(error.contains("at least 4"), "{error}");
}
