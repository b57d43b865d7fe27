//! Known sets and artificial ones are compared with their digests: records, whole parts, single images, and the shared copies where these are
//! available.

use std::path::Path;

use dhih_model::InputShape;

use super::*;

/// Two images of two pixels with two channels each; the first one trains.
fn tiny() -> Raw {
    let shape = InputShape::new(1, 2, 2);
    let raw = Raw::in_memory(shape, vec![1, 2, 3, 4, 5, 6, 7, 8], vec![3, 4], Vec::new());
    Raw { official_train: Some(1), ..raw }
}

fn images(raw: &Raw) -> Images<'_> {
    let Pixels::Memory(pixels) = &raw.pixels else { unreachable!() };
    Images { pixels, bytes: raw.shape.len(), channels: raw.shape.channels, raw }
}

#[test]
fn a_record_is_the_label_and_a_plane_for_each_channel() {
    let raw = tiny();
    assert_eq!(images(&raw).record(1), [4, 5, 7, 6, 8]);
}

#[test]
fn a_part_is_verified_as_a_whole_or_image_by_image() {
    let raw = tiny();
    let images = images(&raw);
    // The MD5 sum of the records of both images, computed by `md5sum`.
    let whole: &[&str] = &["9489c9c0d13a6ba0e6991be571f4705f"];
    let known = Known { part: "test", images: 2, md5: whole, each: &[] };
    assert_eq!(known.verify(&images, 0..2).to_string(), "test part verified");
    assert_eq!(known.verify(&images, 0..1).to_string(), "0 of 1 test images verified");
    let first = Sha256::digest(images.record(0));
    let each = Box::leak(Box::new([*first.first_chunk().unwrap(), ABSENT, [1; 4]]));
    let known = Known { md5: &["of something else"], each, ..known };
    let found = known.verify(&images, 0..2);
    assert_eq!((found.images, found.verified, found.unknown), (2, 1, 1));
    let text = "1 of 2 test images verified, 1 not in the table";
    assert_eq!(found.to_string(), text);
}

#[test]
fn the_table_of_the_test_images_lacks_twenty() {
    assert_eq!(CIFAR10_TEST.len(), 10_000);
    assert_eq!(CIFAR10_TEST.iter().filter(|digest| **digest == ABSENT).count(), 20);
}

/// The shared copies, where available: Fashion-MNIST is the published set, and CIFAR-10 is, except for 20 test images.
#[test]
fn copies_of_published_sets_are_known_by_their_pixels() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/datasets");
    if !shared.is_dir() {
        println!("{} is absent: copies of published sets are not read", shared.display());
        return;
    }
    let told = |name: DatasetName, folder: &str| {
        let config = super::super::DatasetConfig {
            dir: shared.join(folder),
            ..super::super::DatasetConfig::default()
        };
        let set = super::super::Dataset::load(name, &config).unwrap();
        let parts: Vec<String> = set.verified_parts.iter().map(ToString::to_string).collect();
        (set.verified, parts.join("; "))
    };
    let known = "training part verified; test part verified";
    assert_eq!(told(DatasetName::FashionMnist, "fashion-mnist"), (Some(true), known.to_owned()));
    let known = "training part verified; 9980 of 10000 test images verified, 20 not in the table";
    assert_eq!(told(DatasetName::Cifar10, "cifar10-lossless"), (Some(false), known.to_owned()));
}
