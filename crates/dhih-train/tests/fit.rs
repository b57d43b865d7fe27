//! How pictures are brought to a network's size is recorded in the run, and is the same for training and all later uses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::Path;

use candle_core::Device;
use common::{dhih_train, stdout};
use dhih_index::CodeSet;
use dhih_model::Encoder;
use dhih_train::{Error, RunDir, TrainOptions};
use image::{Rgb, RgbImage};

/// Two classes of pictures whose borders and middles differ.
fn pictures(dir: &Path) {
    for class in 0..2u32 {
        let folder = dir.join(["a", "b"][class as usize]);
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..12u32 {
            let image = RgbImage::from_fn(40 + number, 33, |x, y| {
                let wave = |by: u32| ((x * (number + 3) + y * by * (class + 1) * 9) % 256) as u8;
                Rgb([wave(1), wave(2), (y * 7) as u8])
            });
            image.save(folder.join(format!("{number:02}.png"))).unwrap();
        }
    }
}

#[test]
fn training_and_encoding_see_the_same_pixels_and_each_fit_sees_others() {
    let dir = tempfile::tempdir().unwrap();
    pictures(&dir.path().join("data"));
    let mut all = Vec::new();
    for fit in ["linear middle", "linear", "bicubic 0.5", "bicubic whole"] {
        let run = fit.replace(' ', "-");
        let train =
            ["--dataset", "folder", "--data-dir", "data", "--image-side", "16", "--fit", fit];
        let rest = ["--epochs", "1", "--bits", "16", "--device", "cpu", "--run-dir", &run];
        stdout(&dhih_train(dir.path(), &[&train[..], &rest].concat()));
        let config = std::fs::read_to_string(dir.path().join(&run).join(RunDir::CONFIG)).unwrap();
        assert!(config.contains(&format!("fit = \"{fit}\"")), "{config}");
        let model = dir.path().join(&run).join(RunDir::MODEL);
        let encoder = Encoder::load(&model, &Device::Cpu).unwrap();
        assert_eq!(encoder.input().fit, fit.parse().unwrap());
        let encode = ["encode", "--run", &run, "--input", "data", "--out", "all.safetensors"];
        stdout(&dhih_train(dir.path(), &encode));
        let read = |path: &Path| CodeSet::read(path, None).unwrap().codes;
        let sorted = |sets: &[dhih_index::Codes]| {
            let mut codes: Vec<Vec<u8>> =
                sets.iter().flat_map(|set| set.iter().map(<[u8]>::to_vec)).collect();
            codes.sort();
            codes
        };
        let of_run =
            [RunDir::CODES, RunDir::QUERIES].map(|it| read(&dir.path().join(&run).join(it)));
        let again = sorted(&[read(&dir.path().join("all.safetensors"))]);
        assert_eq!(sorted(&of_run), again, "{fit}");
        all.push(again);
    }
    for (number, codes) in all.iter().enumerate() {
        assert!(!all[..number].contains(codes), "two fits made the same codes");
    }
}

#[test]
fn the_default_is_that_of_the_weights_and_what_is_no_fit_is_refused() {
    let of = |text: &str| {
        let table: toml::Table = toml::from_str(text).unwrap();
        TrainOptions::of_table(table, "the test").unwrap().resolve()
    };
    let fit = |text: &str| of(text).unwrap().fit.to_string();
    assert_eq!(fit("backbone = 'dinov2-small'\nweights = 'w'"), "bicubic 0.875");
    assert_eq!(fit("backbone = 'siglip-base'\nweights = 'w'"), "bicubic whole");
    assert_eq!(fit("backbone = 'dinov2-small'"), "linear middle");
    assert_eq!(fit("weights = 'w'\nfit = 'linear whole'"), "linear whole");
    for text in ["cubic", "bicubic 2", "linear most"] {
        let error = of(&format!("fit = '{text}'")).unwrap_err();
        assert!(matches!(&error, Error::Setting { origin, .. } if origin == "fit"), "{error}");
        assert!(error.to_string().contains(text.split(' ').next_back().unwrap()), "{error}");
    }
}
