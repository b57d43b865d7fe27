//! Pictures are decoded once, and a large set does not end a run. The bugs: a set was decoded anew in each run, and a run over a million
//! pictures was killed because it held thumbnails in memory, after training and before its evaluation was written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::path::{Path, PathBuf};

use dhih_model::InputShape;
use dhih_model::image::Limits;
use dhih_train::dataset::{Dataset, DatasetConfig, DatasetName};
use dhih_train::{GalleryChoice, Progress, RunDir, TrainOptions, run};
use image::ImageFormat;
use safetensors::SafeTensors;

/// A folder of two classes with 20 pictures each, and a file that is none.
fn pictures(dir: &Path) -> PathBuf {
    let data = common::folder(&dir.join("data"), 20);
    std::fs::write(data.join("dark/005-broken.png"), b"no picture").unwrap();
    data
}

fn config(data: &Path, memory: usize, cache: Option<&Path>) -> DatasetConfig {
    DatasetConfig {
        dir: data.to_owned(),
        picture_shape: InputShape::new(16, 16, 3),
        memory,
        cache: cache.map(Path::to_owned),
        ..DatasetConfig::default()
    }
}

fn load(config: &DatasetConfig) -> Dataset {
    Dataset::load(DatasetName::Folder, config).unwrap()
}

fn all_pixels(dataset: &Dataset) -> Vec<u8> {
    dataset.gather(&(0..dataset.len()).collect::<Vec<_>>()).unwrap()
}

fn caches(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_cache_gives_the_same_set_and_is_made_anew_when_it_is_stale_or_broken() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = (pictures(dir.path()), dir.path().join("cache"));
    for memory in [usize::MAX, 1000] {
        let plain = load(&config(&data, memory, None));
        let expected = (all_pixels(&plain), plain.sha256.clone(), plain.skipped.clone());
        assert_eq!((plain.len(), plain.skipped.len()), (40, 1));
        let check = |what: &str| {
            let got = load(&config(&data, memory, Some(&cache)));
            assert!(all_pixels(&got) == expected.0, "{what}: other pixels");
            assert_eq!(
                (got.sha256, got.skipped),
                (expected.1.clone(), expected.2.clone()),
                "{what}"
            );
        };
        check("made");
        let [file] = &caches(&cache)[..] else { panic!("one file: {:?}", caches(&cache)) };
        let made = file.metadata().unwrap().modified().unwrap();
        check("read");
        assert_eq!(file.metadata().unwrap().modified().unwrap(), made, "it is not made twice");
        let whole = std::fs::read(file).unwrap();
        for length in [0, 5, whole.len() / 2, whole.len() - 1] {
            std::fs::write(file, &whole[..length]).unwrap();
            check("cut off");
            assert!(std::fs::read(file).unwrap() == whole, "it is whole again");
        }
    }
    // Damaged pixels are noticed: a set in memory is decoded again, and another set reports what to do.
    let file = caches(&cache).remove(0);
    let whole = std::fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[700] ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    let streamed = load(&config(&data, 1000, Some(&cache)));
    let error = streamed.image(0).unwrap_err().to_string();
    assert!(error.contains("delete the file"), "{error}");
    load(&config(&data, usize::MAX, Some(&cache)));
    assert!(std::fs::read(&file).unwrap() == whole, "it is whole again");
}

/// Caches of pictures that had changed once filled the disk.
#[test]
fn a_source_has_one_cache_and_nothing_else_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = (pictures(dir.path()), dir.path().join("cache"));
    let other = common::folder(&dir.path().join("other"), 3);
    let config = |data: &Path| config(data, usize::MAX, Some(&cache));
    load(&config(&data));
    let first = caches(&cache).remove(0);
    load(&config(&other));
    // Files that only look like caches, and a cache of an older program, whose source is unknown.
    let source = first.file_name().unwrap().to_str().unwrap().split_once('-').unwrap().0;
    let strangers = [
        format!("{source}-{}.pixels", "a".repeat(32)),
        format!("{source}-notes.pixels"),
        format!("{}.pixels", "b".repeat(32)),
    ];
    for name in &strangers {
        std::fs::write(cache.join(name), b"not ours").unwrap();
    }
    std::fs::write(cache.join(&strangers[2]), std::fs::read(&first).unwrap()).unwrap();
    std::fs::create_dir(cache.join(format!("{source}-{}.pixels", "c".repeat(32)))).unwrap();
    // Another picture under the same name, and then another size of all.
    let changed = common::encoded(common::picture(99), ImageFormat::Png);
    std::fs::write(data.join("dark/000.png"), changed).unwrap();
    load(&config(&data));
    assert!(!first.exists() && caches(&cache).len() == 6, "{:?}", caches(&cache));
    let picture_shape = InputShape::new(24, 24, 3);
    load(&DatasetConfig { picture_shape, ..config(&data) });
    assert_eq!(caches(&cache).len(), 6, "{:?}", caches(&cache));
    assert!(strangers.iter().all(|name| cache.join(name).exists()));
    // The cache of the other folder is still used.
    let before = caches(&cache);
    load(&config(&other));
    assert_eq!(caches(&cache).len(), before.len());
}

/// The digest once depended on `--image-side`, and on whether the pixels were in memory: runs over the same pictures were told that they are not
/// to be compared.
#[test]
fn the_digest_is_that_of_the_pictures_whatever_a_run_makes_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = (pictures(dir.path()), dir.path().join("cache"));
    let expected = load(&config(&data, usize::MAX, None)).sha256;
    for (side, memory, cache) in [
        (32, usize::MAX, None),
        (16, 1000, None),
        (24, 1000, Some(&*cache)),
        (24, usize::MAX, Some(&*cache)),
    ] {
        let picture_shape = InputShape::new(side, side, 3);
        let other = load(&DatasetConfig { picture_shape, ..config(&data, memory, cache) });
        assert_eq!(other.sha256, expected, "{side} {memory} {cache:?}");
    }
    let names = ["dark/000.png", "dark/001.png"].map(|name| data.join(name));
    let [first, second] = [0, 1].map(|i| std::fs::read(&names[i]).unwrap());
    std::fs::write(&names[0], second).unwrap();
    std::fs::write(&names[1], first).unwrap();
    assert_ne!(load(&config(&data, usize::MAX, None)).sha256, expected, "another order");
}

/// Digests from version 0.1.0 of the same pictures, in memory and streamed.
#[test]
fn the_digests_of_older_programs_are_known() {
    use sha2::{Digest, Sha256};

    let dir = tempfile::tempdir().unwrap();
    let data = common::folder(&dir.path().join("data"), 3);
    let hex = |digest: Sha256| -> String {
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let mut head = Sha256::new();
    head.update("16 16 3 6\n");
    for label in [0u32, 0, 0, 1, 1, 1] {
        head.update(label.to_le_bytes());
    }
    let in_memory = load(&config(&data, usize::MAX, None));
    let older = hex(head.clone().chain_update(all_pixels(&in_memory)));
    assert!(in_memory.has_digest(&older) && in_memory.has_digest(&in_memory.sha256));
    let mut encoded = Sha256::new();
    for name in ["dark/000", "dark/001", "dark/002", "light/000", "light/001", "light/002"] {
        encoded.update(Sha256::digest(std::fs::read(data.join(format!("{name}.png"))).unwrap()));
    }
    let older = hex(head.chain_update(encoded.finalize()));
    let streamed = load(&config(&data, 1000, None));
    assert!(streamed.has_digest(&older) && !in_memory.has_digest(&older));
}

#[test]
fn a_picture_over_the_limits_is_skipped_with_the_flags_that_take_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = pictures(dir.path());
    let wide = image::RgbImage::from_pixel(400, 20, image::Rgb([200, 200, 200]));
    std::fs::write(data.join("light/wide.png"), common::encoded(wide, ImageFormat::Png)).unwrap();
    for limits in [Limits::of_files(399, 1_000_000), Limits::of_files(65_535, 7_999)] {
        let limited = load(&DatasetConfig { limits, ..config(&data, usize::MAX, None) });
        let (_, reason) =
            limited.skipped.iter().find(|(path, _)| path.ends_with("wide.png")).unwrap();
        assert!(reason.contains("--max-side") && reason.contains("400 x 20"), "{reason}");
    }
    let limits = Limits::of_files(400, 8_000);
    assert_eq!(load(&DatasetConfig { limits, ..config(&data, usize::MAX, None) }).len(), 41);
}

#[test]
fn thumbnails_are_those_that_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = pictures(dir.path());
    for (choice, expected) in [
        (None, Some([36, 4])),
        (Some(GalleryChoice::All), Some([36, 4])),
        (Some(GalleryChoice::Queries), Some([0, 4])),
        (Some(GalleryChoice::None), None),
    ] {
        let options = TrainOptions {
            dataset: Some("folder".into()),
            data_dir: Some(data.clone()),
            bits: Some(8),
            epochs: Some(1),
            batch_size: Some(20),
            gallery: choice,
            ..TrainOptions::default()
        };
        let path = dir.path().join(format!("{choice:?}"));
        let (run, _) =
            run::start(&options.resolve().unwrap(), Some(&path), Progress::Silent).unwrap();
        let counts = std::fs::read(run.file(RunDir::GALLERY)).ok().map(|bytes| {
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            ["database", "queries"].map(|name| tensors.tensor(name).unwrap().shape()[0])
        });
        assert_eq!(counts, expected, "{choice:?}");
    }
}

#[test]
fn a_run_whose_thumbnails_cannot_be_written_has_its_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    let data = pictures(dir.path());
    let options = TrainOptions {
        dataset: Some("folder".into()),
        data_dir: Some(data),
        bits: Some(8),
        epochs: Some(1),
        batch_size: Some(20),
        ..TrainOptions::default()
    };
    let config = options.resolve().unwrap();
    let path = dir.path().join("run");
    run::start(&config, Some(&path), Progress::Silent).unwrap();
    let last = |runs: &Path| RunDir::last_unfinished(runs).map(|run| run.path().to_owned());
    assert!(last(dir.path()).is_err(), "it is complete");
    for name in [RunDir::GALLERY, RunDir::EVALUATION] {
        std::fs::remove_file(path.join(name)).unwrap();
    }
    std::fs::remove_file(dir.path().join("latest")).unwrap();
    // A folder is in the place of the thumbnails.
    std::fs::create_dir_all(path.join(RunDir::GALLERY).join("in the way")).unwrap();
    run::resume(&path, Progress::Silent).unwrap_err();
    assert!(path.join(RunDir::EVALUATION).is_file());
    // It is the last run with results, and the one that goes on until it has its thumbnails.
    assert_eq!(std::fs::read_link(dir.path().join("latest")).unwrap(), Path::new("run"));
    assert_eq!(last(dir.path()).unwrap(), path);
    std::fs::remove_dir_all(path.join(RunDir::GALLERY)).unwrap();
    run::resume(&last(dir.path()).unwrap(), Progress::Silent).unwrap();
    assert!(path.join(RunDir::GALLERY).is_file() && last(dir.path()).is_err());
}
