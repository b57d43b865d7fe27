//! Duplicates in folders of pictures: which are found, which picture is kept, what is written, and that nothing is deleted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::{dhih_train, encoded, stdout};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, imageops};
use serde_json::Value;

/// Soft blobs at positions that depend on the seed, so that different seeds look different.
fn scene(seed: u32, side: u32) -> RgbImage {
    let blobs: Vec<[f32; 3]> = (0..6_u32)
        .map(|blob| {
            let mix = |salt: u32| {
                let mixed = (seed * 31 + blob * 7 + salt).wrapping_mul(2_654_435_761);
                (mixed >> 8 & 0xffff) as f32 / 65_536.0
            };
            [mix(1), mix(2), mix(3) * 2.0 - 0.7]
        })
        .collect();
    RgbImage::from_fn(side, side, |x, y| {
        let (x, y) = (x as f32 / side as f32, y as f32 / side as f32);
        let light = |[bx, by, weight]: &[f32; 3]| {
            weight * (-((x - bx).powi(2) + (y - by).powi(2)) * 18.0).exp()
        };
        let sum: f32 = blobs.iter().map(light).sum();
        let level = (127.0 + 120.0 * sum).clamp(0.0, 255.0) as u8;
        Rgb([level, level / 2 + 60, 255 - level])
    })
}

struct Photos {
    dir: tempfile::TempDir,
}

impl Photos {
    /// Eight scenes. Scene 1 also has a smaller JPEG and a larger picture, scene 2 a copy, scene 3 a mirror image.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let photos = Self { dir };
        for seed in 0..8 {
            photos.save(&format!("photos/{seed}.png"), scene(seed, 180));
        }
        photos.save(
            "photos/small/1.jpg",
            imageops::resize(&scene(1, 180), 120, 120, imageops::FilterType::Triangle),
        );
        photos.save("photos/big/1.png", scene(1, 240));
        fs::copy(photos.path("photos/2.png"), photos.path("photos/copy of 2.png")).unwrap();
        photos.save("photos/mirror.png", imageops::flip_horizontal(&scene(3, 180)));
        photos
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn save(&self, name: &str, image: RgbImage) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let format = ImageFormat::from_path(&path).unwrap();
        fs::write(path, encoded(DynamicImage::from(image), format)).unwrap();
    }

    fn dedup(&self, words: &[&str]) -> Value {
        let words = [&["dedup", "photos", "--out", "review.html", "--json"], words].concat();
        serde_json::from_str(&stdout(&dhih_train(self.dir.path(), &words))).unwrap()
    }

    fn list(&self) -> Vec<String> {
        let list = fs::read_to_string(self.path("review.delete.txt")).unwrap();
        list.lines().map(str::to_owned).collect()
    }

    fn page(&self) -> String {
        fs::read_to_string(self.path("review.html")).unwrap()
    }

    fn failure(&self, words: &[&str]) -> String {
        let output = dhih_train(self.dir.path(), words);
        assert!(!output.status.success() && output.stdout.is_empty(), "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn files(folder: &Path) -> usize {
    walk(folder).len()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn copies_are_found_shown_and_listed_and_nothing_is_deleted() {
    let photos = Photos::new();
    let before = files(&photos.path("photos"));
    let told = photos.dedup(&[]);
    assert_eq!(
        (&told["pictures"], &told["groups"], &told["beside_kept"]),
        (&12.into(), &2.into(), &3.into())
    );
    assert_eq!((&told["largest_group"], &told["radius"]), (&3.into(), &31.into()));
    assert_eq!(told["list"], "review.delete.txt");
    // The largest picture is kept; among equal ones, the first.
    assert_eq!(photos.list(), ["photos/1.png", "photos/copy of 2.png", "photos/small/1.jpg"]);
    let page = photos.page();
    assert_eq!(page.matches("<figure class=kept>").count(), 2);
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 5);
    assert!(
        page.contains("photos/big/1.png")
            && page.contains("quality ")
            && page.contains("240 × 240")
    );
    assert!(!page.contains("http://") && !page.contains("https://"), "the page fetches nothing");
    assert_eq!(files(&photos.path("photos")), before);
}

#[test]
fn rules_and_hashes_can_be_chosen() {
    let photos = Photos::new();
    photos.dedup(&["--keep", "first"]);
    assert_eq!(photos.list(), ["photos/big/1.png", "photos/copy of 2.png", "photos/small/1.jpg"]);
    let small = fs::File::options().write(true).open(photos.path("photos/small/1.jpg")).unwrap();
    small.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    photos
        .dedup(&["--keep", "earliest", "--hash", "dhash", "--radius", "4", "--group", "complete"]);
    let (list, there) =
        (photos.list(), |list: &[String], name: &str| list.iter().any(|path| path == name));
    assert!(!there(&list, "photos/small/1.jpg"), "{list:?}");
    for name in ["photos/1.png", "photos/big/1.png", "photos/copy of 2.png"] {
        assert!(there(&list, name), "{list:?}");
    }
    let told =
        photos.dedup(&["--symmetries", "--keep", "first", "--show", "1", "--list", "list.txt"]);
    assert_eq!((&told["groups"], &told["list"]), (&3.into(), &"list.txt".into()));
    let list = fs::read_to_string(photos.path("list.txt")).unwrap();
    assert!(list.contains("photos/mirror.png"), "{list}");
    assert!(photos.page().contains("2 more groups are not shown here"));
    photos.dedup(&["--symmetries", "--keep", "first", "--hash", "dhash", "--radius", "0"]);
    assert!(there(&photos.list(), "photos/mirror.png"), "{:?}", photos.list());
}

#[test]
fn a_test_folder_is_kept_and_what_it_shares_is_listed() {
    let photos = Photos::new();
    photos.save("test/a.png", scene(4, 200));
    photos.save("test/b.jpg", scene(2, 180));
    photos.save("test/c.png", scene(99, 180));
    let told = photos.dedup(&["--against", "test"]);
    assert_eq!(
        (&told["against"], &told["groups"], &told["beside_kept"]),
        (&3.into(), &2.into(), &3.into())
    );
    assert_eq!(photos.list(), ["photos/2.png", "photos/4.png", "photos/copy of 2.png"]);
    assert_eq!(photos.page().matches("<figure class=kept>").count(), 2);
}

/// `dedup train --against train/test` once listed the pictures of `test`, which are kept, for deletion.
#[test]
fn a_picture_is_no_duplicate_of_itself_where_the_folders_overlap() {
    let photos = Photos::new();
    let told = photos.dedup(&["--against", "photos/small"]);
    assert_eq!((&told["pictures"], &told["against"]), (&11.into(), &1.into()));
    assert_eq!(photos.list(), ["photos/1.png", "photos/big/1.png"]);
    let told = photos.failure(&["dedup", "photos", "--out", "p.html", "--against", "photos/."]);
    assert!(told.contains("has no picture that is not in photos/."), "{told}");
    let told = photos.failure(&["dedup", "photos", "--out", "p.html", "--radius", "256"]);
    assert!(told.contains("--radius is 256, expected less than 256"), "{told}");
    assert!(!photos.path("p.html").exists());
}

#[test]
fn what_cannot_be_used_is_left_out_and_told() {
    let photos = Photos::new();
    fs::write(photos.path("photos/broken.png"), b"\x89PNG\r\n\x1a\n and then nothing").unwrap();
    fs::write(photos.path("photos/notes.txt"), "text").unwrap();
    photos.save("photos/blank.png", RgbImage::from_pixel(90, 90, Rgb([9; 3])));
    photos.save("photos/line\nbreak.png", RgbImage::from_pixel(90, 90, Rgb([9; 3])));
    let told = photos.dedup(&[]);
    assert_eq!((&told["groups"], &told["left_out"]["other_file"]), (&3.into(), &1.into()));
    assert_eq!(told["skipped"][0]["file"], "photos/broken.png");
    assert!(photos.list().contains(&r"photos/line\x0Abreak.png".to_owned()), "{:?}", photos.list());
    assert!(photos.page().contains("there is little to see in it"));
    let told = photos.dedup(&["--min-quality", "1"]);
    assert_eq!((&told["groups"], &told["low_quality"]), (&2.into(), &2.into()));

    let told = photos.failure(&["dedup", "photos", "--out", "strict.html", "--strict"]);
    assert!(told.contains("broken.png") && !photos.path("strict.html").exists(), "{told}");
    for (words, expected) in [
        (&["absent", "--out", "p.html"][..], "cannot read absent"),
        (&["photos", "--out", "p.html", "--hash", "absent"], "neither pdq nor dhash nor a run"),
        (&["photos", "--out", "p.html", "--hash", "dhash", "--min-quality", "9"], "is for pdq"),
        (&["photos", "--out", "no/folder/p.html"], "no/folder"),
        (
            &["photos", "--out", "p.html", "--against", "photos", "--keep", "first"],
            "cannot be used with",
        ),
        (&["empty", "--out", "p.html"], "no usable picture among 0 files"),
    ] {
        fs::create_dir_all(photos.path("empty")).unwrap();
        let told = photos.failure(&[&["dedup"], words].concat());
        assert!(told.contains(expected), "{words:?}: {told}");
        assert!(!photos.path("p.html").exists() && !photos.path("p.delete.txt").exists());
    }
}

#[test]
fn the_network_of_a_run_makes_codes_too() {
    let photos = Photos::new();
    common::folder(&photos.path("set"), 12);
    let train = [
        "train",
        "--dataset",
        "folder",
        "--data-dir",
        "set",
        "--image-side",
        "16",
        "--bits",
        "16",
        "--batch-size",
        "8",
        "--epochs",
        "1",
    ];
    stdout(&dhih_train(photos.dir.path(), &train));
    let told = photos.dedup(&["--hash", "runs/latest", "--radius", "0", "--group", "components"]);
    assert_eq!((&told["pictures"], &told["hash"]), (&12.into(), &"runs/latest".into()));
    assert!(photos.list().contains(&"photos/copy of 2.png".to_owned()));
    let told = photos.failure(&["dedup", "photos", "--hash", "runs/latest", "--out", "p.html"]);
    assert!(told.contains("needs --radius"), "{told}");
}
