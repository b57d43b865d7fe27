//! Perceptual hashes equal those of other programs, bit for bit: `data/perceptual/golden.jsonl` has the hashes of its pictures by `pdqhash` and
//! `imagehash`, written by `golden.py`. `DHIH_PERCEPTUAL` names another folder with such a file.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use std::path::{Path, PathBuf};

use dhih_model::image::{Limits, Picture, decode};
use dhih_model::perceptual::{Pdq, SYMMETRIES, dhash};
use serde_json::Value;

/// Signs as hexadecimal text of their bits, the least significant bit of a byte first.
fn hexadecimal(values: &[f32]) -> String {
    let byte = |bits: &[f32]| {
        bits.iter().rev().fold(0_u8, |byte, value| byte << 1 | u8::from(*value > 0.0))
    };
    values.chunks(8).map(|bits| format!("{:02x}", byte(bits))).collect()
}

/// A picture in another size, made by repeating or leaving out pixels.
fn resampled(picture: &Picture, width: usize, height: usize) -> Picture {
    let (columns, rows) = (picture.width(), picture.height());
    let pixel = |at: usize| {
        let (row, column) = (at / width * rows / height, at % width * columns / width);
        picture.pixels()[3 * (row * columns + column)..][..3].to_vec()
    };
    Picture::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
}

fn check(folder: &Path) -> usize {
    let lines = std::fs::read_to_string(folder.join("golden.jsonl")).unwrap();
    for line in lines.lines() {
        let golden: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| golden[name].as_str().unwrap().to_owned();
        let number = |name: &str| golden[name].as_u64().unwrap() as usize;
        let bytes = std::fs::read(folder.join(text("file"))).unwrap();
        let picture = decode(&bytes, &Limits::default()).unwrap();
        let picture = resampled(&picture, number("width"), number("height"));
        let pdq = Pdq::of(&picture);
        assert_eq!(hexadecimal(&pdq.values()), text("pdq"), "{line}");
        assert_eq!(pdq.quality() as usize, number("quality"), "{line}");
        let expected = golden["symmetries"].as_array().unwrap().iter();
        for ((values, expected), name) in pdq.symmetries().iter().zip(expected).zip(SYMMETRIES) {
            // For pictures of 64 x 64, that package filters only the symmetries, with a window of one pixel.
            assert_eq!(hexadecimal(values), *expected.as_str().unwrap(), "{name}: {line}");
        }
        assert_eq!(hexadecimal(&dhash(&picture)), text("dhash"), "{line}");
    }
    lines.lines().count()
}

#[test]
fn hashes_are_those_of_other_programs() {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/perceptual"));
    assert!(check(&own) >= 30);
    if let Some(folder) = std::env::var_os("DHIH_PERCEPTUAL") {
        println!("{} pictures of DHIH_PERCEPTUAL", check(Path::new(&folder)));
    }
}
