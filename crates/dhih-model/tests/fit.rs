//! Pictures as networks see them, compared with the image processors of transformers and torchvision: see `data/fit/golden.py`.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::path::Path;

use dhih_model::image::{Fit, Limits, Picture, PictureReader, decode};
use dhih_model::{Backbone, InputShape};
use safetensors::SafeTensors;

const SIDE: usize = 56;
/// The left, upper, right and lower border, as in `golden.py`.
const PARTS: [(&str, [usize; 4]); 4] = [
    ("whole", [0, 0, 128, 128]),
    ("wide", [0, 20, 128, 100]),
    ("tall", [10, 0, 87, 128]),
    ("small", [40, 50, 83, 81]),
];

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn part(picture: &Picture, [left, upper, right, lower]: [usize; 4]) -> Picture {
    let rows = picture.pixels().chunks_exact(3 * picture.width()).take(lower).skip(upper);
    let pixels = rows.flat_map(|row| row[3 * left..3 * right].to_vec()).collect();
    Picture::new(right - left, lower - upper, pixels).unwrap()
}

/// Pillow rounds to bytes between columns and rows; this crate rounds at the end only.
#[test]
fn pictures_are_those_of_the_processors_of_others() {
    let bytes = data("fit/expected.safetensors");
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let mut compared = 0;
    let file = data("perceptual/harbor.webp");
    let whole = decode(&file, &Limits::default()).unwrap();
    for (part_name, borders) in PARTS {
        let picture = part(&whole, borders);
        for fit in ["bicubic 0.875", "bicubic", "bicubic whole", "linear 0.875", "linear 0.966"] {
            let shape = InputShape::new(SIDE, SIDE, 3).with_fit(fit.parse().unwrap());
            let (name, got) = (format!("{part_name}, {fit}"), picture.fit(shape));
            let expected = expected.tensor(&name).unwrap();
            assert_eq!(expected.data().len(), got.len());
            let pairs = got.iter().zip(expected.data());
            let off: Vec<u8> = pairs.map(|(a, b)| a.abs_diff(*b)).collect();
            let mean = off.iter().map(|x| f64::from(*x)).sum::<f64>() / off.len() as f64;
            let most = off.into_iter().max().unwrap();
            println!("{name}: off by {mean:.3} in the mean, {most} at most");
            assert!(mean < 0.3 && most <= 4, "{name}: {mean} in the mean, {most} at most");
            compared += 1;
        }
    }
    assert_eq!(compared, expected.len());
}

#[test]
fn encoders_have_the_fit_of_their_publishers() {
    for (name, fit) in [
        ("dinov2-small", "bicubic 0.875"),
        ("dinov2-base-registers", "bicubic 0.875"),
        ("clip-vit-b32", "bicubic"),
        ("siglip-base", "bicubic whole"),
        ("resnet50", "linear 0.875"),
        ("mobilenet-v3", "linear 0.875"),
        ("convnext-tiny", "linear 0.949"),
        ("efficientnet-b0", "bicubic 0.875"),
        ("efficientnet-lite0", "bicubic 0.875"),
        ("small", "linear middle"),
    ] {
        assert_eq!(Backbone::named(name).unwrap().pretrained_fit().to_string(), fit, "{name}");
    }
}

/// Files from before there was a choice do not have the field, and mean what they always meant.
#[test]
fn shapes_of_older_files_have_the_fit_of_then() {
    let old = r#"{"height":4,"width":6,"channels":3}"#;
    let shape: InputShape = serde_json::from_str(old).unwrap();
    assert_eq!(shape, InputShape::new(4, 6, 3));
    assert_eq!(serde_json::to_string(&shape).unwrap(), old);
    let text = r#"{"height":4,"width":6,"channels":3,"fit":"bicubic whole"}"#;
    let shape: InputShape = serde_json::from_str(text).unwrap();
    assert_eq!(shape.fit, "bicubic whole".parse::<Fit>().unwrap());
    assert_eq!(serde_json::to_string(&shape).unwrap(), text);
    assert!(serde_json::from_str::<InputShape>(&text.replace("whole", "most")).is_err());
}

/// A picture that is scaled while it is decoded must be large enough for the part that is cut out of it.
#[test]
fn large_pictures_are_nearly_the_same_by_way_of_the_reader() {
    let file = data("jpeg/large-progressive.jpg");
    let picture = decode(&file, &Limits::files()).unwrap();
    let reader = PictureReader::new(Limits::files());
    for fit in ["linear middle", "bicubic 0.3", "bicubic whole", "bicubic 0.875"] {
        let shape = InputShape::new(SIDE, SIDE, 3).with_fit(fit.parse().unwrap());
        let (got, whole) = (reader.fitted(&file, shape).unwrap(), picture.fit(shape));
        let off: u32 = got.iter().zip(&whole).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let mean = f64::from(off) / got.len() as f64;
        assert!(mean < 3.0, "{fit}: {mean}");
    }
}
