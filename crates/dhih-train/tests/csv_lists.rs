//! Lists of pictures as spreadsheets, pandas and annotation tools write them.
//!
//! A picture with two labels on two lines once became two pictures, one of which could be a query and the other a training image.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;

use dhih_train::dataset::{ClassLabels, Dataset, DatasetConfig, DatasetName, Warning};
use dhih_train::protocol::Protocol;
use image::ImageFormat;

fn try_load(dir: &Path, min_class_images: usize) -> dhih_train::Result<Dataset> {
    let config = DatasetConfig { min_class_images, ..common::config(dir) };
    Dataset::load(DatasetName::Csv, &config)
}

/// A folder with ten pictures `0.png` and so on, and a list.
struct List(tempfile::TempDir);

impl List {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..10 {
            let bytes = common::encoded(common::picture(20 * i), ImageFormat::Png);
            std::fs::write(dir.path().join(format!("{i}.png")), bytes).unwrap();
        }
        Self(dir)
    }

    fn read(&self, text: &str) -> Dataset {
        std::fs::write(self.0.path().join("labels.csv"), text).unwrap();
        try_load(self.0.path(), 0).unwrap()
    }

    fn refusal(&self, text: &[u8]) -> String {
        std::fs::write(self.0.path().join("labels.csv"), text).unwrap();
        let error = try_load(self.0.path(), 0).unwrap_err().to_string();
        assert!(error.contains("labels.csv") && error.contains("--data-dir"), "{error}");
        error
    }
}

fn labels(dataset: &Dataset) -> Vec<&[u32]> {
    (0..dataset.len()).map(|row| dataset.labels.of(row)).collect()
}

#[test]
fn the_lines_of_a_picture_are_joined_however_its_path_is_spelt() {
    let list = List::new();
    let absolute = list.0.path().join("0.png");
    let text = format!(
        "image,label\n0.png,cat\n1.png,dog\n./0.png,animal\nx/../1.png,dog\n{},cat\n",
        absolute.display()
    );
    let dataset = list.read(&text);
    assert_eq!(dataset.classes, ["animal", "cat", "dog"]);
    assert_eq!(labels(&dataset), [&[0, 1][..], &[2]]);
    // Repeating a label does not add a second one.
    let dataset = list.read("image,label\n0.png,cat\n1.png,dog\n0.png,cat\n");
    assert!(matches!(dataset.labels, ClassLabels::Single(_)));
}

#[test]
fn columns_may_be_separated_and_saved_in_several_ways() {
    let list = List::new();
    let expected = list.read("image,label\n0.png,cat\n1.png,dog\n2.png,\"dog, small\"\n");
    assert_eq!(expected.classes, ["cat", "dog", "dog, small"]);
    for text in [
        "\u{feff}image,label\r\n0.png,cat\r\n1.png,dog\r\n2.png,\"dog, small\"\r\n",
        "image;label\n0.png;cat\n1.png;dog\n2.png;dog, small\n",
        "Image\tLabel\tnote\n0.png\tcat\t\n1.png\tdog\ta, b; c\n2.png\tdog, small\t\n",
        "note,label,file\n\"a\nb\",cat,0.png\n,dog,1.png\n,\"dog, small\",2.png\n",
    ] {
        let dataset = list.read(text);
        assert_eq!(
            (&dataset.classes, &dataset.sha256),
            (&expected.classes, &expected.sha256),
            "{text:?}"
        );
    }
}

/// "Salt; Pepper" is a single label in a column `label`, and a picture without a label there is left out.
#[test]
fn a_single_label_is_not_split_and_an_empty_one_is_no_class() {
    let list = List::new();
    let dataset = list.read("image,label\n0.png,Salt; Pepper\n1.png,Sugar\n2.png,\n3.png,\"  \"\n");
    assert_eq!(dataset.classes, ["Salt; Pepper", "Sugar"]);
    assert!(matches!(&dataset.labels, ClassLabels::Single(labels) if *labels == [0, 1]));
    let path = list.0.path().join("labels.csv");
    assert_eq!(dataset.warnings, [Warning::Unlabelled { path, count: 2, first: 4 }]);
    let dataset = list.read("image,labels\n0.png,Salt; Pepper\n1.png,Salt\n2.png,\n");
    assert_eq!(labels(&dataset), [&[0, 1][..], &[1], &[]]);
    assert_eq!(dataset.warnings, [Warning::WithoutClass { count: 1 }]);
    let dataset = list.read("image;labels\n0.png;Salt, Pepper\n1.png;\"Salt;Sugar\"\n");
    assert_eq!(labels(&dataset), [&[0, 1][..], &[1, 2]]);
}

/// A file system may store an accented letter as one character or as two, and so may a list: it is the same class.
#[test]
fn classes_are_compared_in_one_normal_form() {
    let list = List::new();
    let dataset = list.read("image,label\n0.png,Caf\u{e9}\n1.png,Cafe\u{301}\n2.png,bar\n");
    assert_eq!(dataset.classes, ["Caf\u{e9}", "bar"]);
    assert_eq!(labels(&dataset), [&[0], &[0], &[1]]);
    let dataset = list.read("image,labels\n0.png,Caf\u{e9};Cafe\u{301}\n1.png,bar\n");
    assert_eq!(labels(&dataset), [&[0], &[1]]);
}

/// Sets with several labels are often published as a table of 0 and 1, which once was not supported.
#[test]
fn a_column_for_each_class_is_read_where_there_is_no_column_of_labels() {
    let list = List::new();
    let expected = list.read("image,labels\n0.png,Bare soil;sea\n1.png,sea\n2.png,\n");
    for text in [
        "image,sea,Bare soil\n0.png,1,1\n1.png,1,0\n2.png,0,0\n",
        "IMAGE\\LABEL\tBare soil\tsea\n0\t1\t1\n1\t0\t1\n2\t0\t0\n",
        "sea;file;Bare soil\n1;0.png;0\n0;./0.png;1\n1;1;0\n0;2.png;0\n",
    ] {
        let dataset = list.read(text);
        assert_eq!(dataset.classes, ["Bare soil", "sea"], "{text:?}");
        assert_eq!(dataset.sha256, expected.sha256, "{text:?}");
    }
    let text = "image,a,b,part\n0.png,1,0,train\n1.png,0,1,train\n2.png,1,1,test\n";
    let split = Protocol::Official.split(&list.read(text), 0).unwrap();
    assert_eq!((split.train, split.queries), (vec![0, 1], vec![2]));
    for (text, parts) in [
        ("image,class,note\n0.png,cat,\n", &["line 2", "`class`", "\"cat\"", "0 or 1"][..]),
        ("image,a,b\n0.png,1,0\n1.png,0,2\n", &["line 3", "`b`", "\"2\""]),
        ("image,a,a\n0.png,1,0\n", &["two columns `a`"]),
        (",image,a,b\n0,0.png,1,0\n", &["column 1", "no name"]),
    ] {
        let error = list.refusal(text.as_bytes());
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    }
    std::fs::create_dir(list.0.path().join("more")).unwrap();
    std::fs::copy(list.0.path().join("1.png"), list.0.path().join("more/1.png")).unwrap();
    let error = list.refusal(b"image,label\n0,a\n1,b\n");
    assert!(error.contains("line 3") && error.contains("more/1.png"), "{error}");
}

#[test]
fn a_column_of_parts_is_the_protocol() {
    let list = List::new();
    let text = "image,label,part\n0.png,a,train\n1.png,b,train\n2.png,a,val\n3.png,b,test\n4.png,a,Query\n";
    let dataset = list.read(text);
    assert_eq!(Protocol::default_in(DatasetName::Csv, list.0.path()), Protocol::Official);
    let split = Protocol::Official.split(&dataset, 0).unwrap();
    assert_eq!(
        (&split.train, &split.database, &split.queries),
        (&vec![0, 1], &vec![0, 1], &vec![3, 4])
    );
    assert_eq!(split.hold_out(&dataset, 0.1).unwrap().validation, [2]);
    // A training image that is also searched has a line for each part.
    let text = format!("{text}0.png,a,database\n5.png,b,database\n");
    let split = Protocol::Official.split(&list.read(&text), 0).unwrap();
    assert_eq!((split.train, split.database), (vec![0, 1], vec![0, 5]));

    let error = list.refusal(format!("{text}./3.png,b,train\n").as_bytes());
    assert!(error.contains("line 9") && error.contains("line 5"), "{error}");
    let error = list.refusal(b"image,label,part\n0.png,a,train\n1.png,b,both\n");
    assert!(error.contains("line 3") && error.contains("\"both\""), "{error}");
}

#[test]
fn a_refusal_names_the_line_and_the_columns() {
    let list = List::new();
    for (text, parts) in [
        (&b"picture;class\n0.png;a\n"[..], &["no column `image`", "picture, class"][..]),
        (b"image,class\n0.png,a\n", &["no column `label`", "image, class"]),
        (b"image,label,labels\n0.png,a,b\n", &["both columns `label` and `labels`"]),
        (b"image,label\n0.png,a\n\"\",b\n", &["line 3 names no image"]),
        (b"image,label\n0.png,a\n1.png,b,c\n", &["line: 3"]),
        (b"image,label\n0.png,\xff\n", &["line 2", "utf-8"]),
        (b"\xff\xfei\0m\0a\0g\0e\0", &["UTF-8"]),
        (b"", &["no column `image`"]),
    ] {
        let error = list.refusal(text);
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    }
}

/// Tags that occur on one picture only are useless for training; they once were an error.
#[test]
fn small_classes_are_dropped_where_that_is_asked_for() {
    let list = List::new();
    let text =
        "image,labels\n0.png,a\n1.png,a;rare\n2.png,b\n3.png,b\n4.png,rarer\n5.png,\n6.png,b;a\n";
    let all = list.read(text);
    assert_eq!((all.len(), all.classes.len()), (7, 4));
    let dataset = try_load(list.0.path(), 2).unwrap();
    assert_eq!(dataset.classes, ["a", "b"]);
    assert_eq!(labels(&dataset), [&[0][..], &[0], &[1], &[1], &[], &[0, 1]]);
    let rows: Vec<usize> = (0..6).collect();
    assert_eq!(dataset.gather(&rows).unwrap(), all.gather(&[0, 1, 2, 3, 5, 6]).unwrap());
    let classes = vec!["rare".to_owned(), "rarer".to_owned()];
    assert!(dataset.warnings.contains(&Warning::SmallClasses { classes, images: 1 }));
    let error = try_load(list.0.path(), 4).unwrap_err().to_string();
    assert!(error.contains("at least 4") && error.contains("--min-class-images"), "{error}");
    let text = "image,label,part\n0.png,a,train\n4.png,c,train\n1.png,b,train\n2.png,a,test\n3.png,b,test\n";
    list.read(text);
    let dataset = try_load(list.0.path(), 2).unwrap();
    let split = Protocol::Official.split(&dataset, 0).unwrap();
    assert_eq!((split.train, split.queries), (vec![0, 1], vec![2, 3]));
}
