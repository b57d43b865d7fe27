//! Pictures without labels: what `photos` makes of a folder, that it is searched and encoded with like a run, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use common::{dhih_train, stdout};
use dhih_index::{CodeSet, Index, Rescore};
use dhih_model::image::{Limits, PictureReader};
use dhih_model::loss::Fitted;
use dhih_model::{
    Backbone, Encoder, HashLayerConfig, InputShape, Loss, Network, NetworkConfig, Views,
};
use image::{Rgb, RgbImage};
use serde_json::Value;

struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    /// So many pictures at two depths, and the weights of a network.
    fn new(pictures: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Self { dir };
        for number in 0..pictures {
            let place = if number % 3 == 0 { "photos/deep/er" } else { "photos" };
            let path = folder.path(&format!("{place}/{number:03}.png"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            picture(number).save(path).unwrap();
        }
        folder.write_weights();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_weights(&self) {
        let config = NetworkConfig {
            backbone: Backbone::named("squeezenet1-1").unwrap(),
            input: InputShape::new(48, 48, 3),
            normalization: Backbone::SMALL.pretrained_normalization(),
            bits: 8,
            hash_layer: HashLayerConfig::default(),
            loss: Loss::Fitted(Fitted {}),
            views: Views::default(),
            classes: Vec::new(),
        };
        let network = Network::new(config, 3, &Device::Cpu).unwrap();
        let tensors: HashMap<String, _> = network
            .parameters()
            .snapshot()
            .unwrap()
            .into_iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix("backbone.")?.to_owned(), tensor)))
            .collect();
        candle_core::safetensors::save(&tensors, self.path("weights.safetensors")).unwrap();
    }

    /// `photos` on the folder, with further flags.
    fn photos(&self, flags: &[&str]) -> std::process::Output {
        let weights = self.path("weights.safetensors");
        let mut all = vec!["photos", "photos", "--weights", weights.to_str().unwrap(), "--json"];
        if !flags.contains(&"--encoder") {
            all.extend(["--encoder", "squeezenet1-1", "--image-side", "48"]);
        }
        all.extend(flags);
        dhih_train(self.dir.path(), &all)
    }
}

fn picture(number: u32) -> RgbImage {
    RgbImage::from_fn(70 + number % 9, 60, |x, y| {
        let wave = |by: u32| ((x * (number % 7 + 1) + y * by) % 256) as u8;
        Rgb([wave(3), wave(number % 11), (number * 13 % 256) as u8])
    })
}

fn refused(folder: &Folder, flags: &[&str]) -> String {
    let output = folder.photos(flags);
    assert!(!output.status.success(), "{flags:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn entries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_without_labels_becomes_a_run_that_encodes_to_the_same_codes() {
    let folder = Folder::new(40);
    fs::write(
        folder.path("photos/broken.png"),
        &fs::read(folder.path("photos/001.png")).unwrap()[..60],
    )
    .unwrap();
    let report: Value = serde_json::from_str(&stdout(&folder.photos(&[]))).unwrap();
    assert_eq!((&report["images"], &report["bits"]), (&40.into(), &32.into()), "{report}");
    let run = folder.path("runs/photos-squeezenet1-1-001");
    assert_eq!(entries(&folder.path("runs")), ["latest", "photos-squeezenet1-1-001"]);
    assert_eq!(
        entries(&run),
        [
            "codes.safetensors",
            "codes.safetensors.files.jsonl",
            "codes.safetensors.files.txt",
            "gallery.safetensors",
            "index",
            "model.safetensors",
            "photos.json",
            "queries.safetensors"
        ]
    );
    // The run's network makes the same codes of the same files.
    let again = folder.path("again.safetensors");
    let output = dhih_train(
        folder.dir.path(),
        &["encode", "--input", "photos", "--out", again.to_str().unwrap()],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (codes, again) = (
        CodeSet::read(run.join("codes.safetensors"), None).unwrap(),
        CodeSet::read(&again, None).unwrap(),
    );
    assert_eq!(codes.codes.as_bytes(), again.codes.as_bytes());
    assert_eq!(codes.model_sha256, again.model_sha256);
    let names = fs::read_to_string(run.join("codes.safetensors.files.txt")).unwrap();
    assert_eq!(names.lines().count(), 40);
    assert!(!names.contains("broken"));
    // Commands that need settings or an evaluation name what to use.
    let output = dhih_train(folder.dir.path(), &["evaluate"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("it is of `dhih-train photos`") && text.contains("hint: use its model"),
        "{text}"
    );
    let index = Index::open(run.join("index")).unwrap();
    let hits = index.knn(&codes.codes[7], 1).unwrap();
    assert_eq!((index.len(), hits[0].distance), (40, 0));
    // The features are in the index, and are those that the network gives of a picture.
    let features = |path: &Path| {
        let encoder = Encoder::load(&run.join("model.safetensors"), &Device::Cpu).unwrap();
        let reader = PictureReader::new(Limits::files());
        let pixels = reader.fitted(&fs::read(path).unwrap(), encoder.input()).unwrap();
        let encoded = encoder.encode_all(&pixels).unwrap();
        assert_eq!(encoded.values, encoder.encode(&pixels).unwrap());
        assert_eq!(encoder.features(), Some(512));
        encoded.features.unwrap()
    };
    let seventh = features(&folder.path(names.lines().nth(7).unwrap()));
    let kept = index.vector(7).unwrap();
    let greatest = seventh.iter().fold(0f32, |greatest, x| greatest.max(x.abs()));
    let is_near = |(a, b): (&f32, &f32)| (a - b).abs() <= 0.005 * greatest;
    assert!(kept.len() == 512 && kept.iter().zip(&seventh).all(is_near));
    let rescored = index.knn_rescored(&codes.codes[7], &seventh, &Rescore::new(1, 40)).unwrap();
    assert!(rescored.hits[0].id == 7 && rescored.hits[0].similarity > 0.999);
    // ITQ balances bits: none is constant.
    let encoder = Encoder::load(&run.join("model.safetensors"), &Device::Cpu).unwrap();
    assert_eq!((encoder.bits(), encoder.classes().len()), (32, 0));
    for bit in 0..32 {
        let set = codes.codes.iter().filter(|code| code[bit / 8] >> (bit % 8) & 1 == 1).count();
        assert!((1..40).contains(&set), "bit {bit} is set in {set} of 40 codes");
    }
    // The same pictures and weights give the same bytes, with vectors or without.
    let bare = ["--run-dir", "second", "--vectors", "none"];
    assert!(folder.photos(&bare).status.success());
    assert_eq!(Index::open(folder.path("second/index")).unwrap().vector(7), None);
    for name in ["model.safetensors", "codes.safetensors", "gallery.safetensors"] {
        let second = fs::read(folder.path("second").join(name)).unwrap();
        assert_eq!(fs::read(run.join(name)).unwrap(), second, "{name}");
    }
}

#[test]
fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let folder = Folder::new(12);
    let text = refused(&folder, &["--bits", "64"]);
    assert!(text.contains("bits is 64, expected at most 11, for 12 usable pictures"), "{text}");
    assert_eq!(entries(&folder.path("runs")), [""; 0]);
    let text = refused(&folder, &["--encoder", "mobilenet-v2"]);
    assert!(
        text.contains("missing") && text.contains("look like those of squeezenet1-1"),
        "{text}"
    );
    let text = refused(&folder, &["--vectors", "int4"]);
    assert!(text.contains("is not f32, f16 or int8, or none"), "{text}");
    let text = refused(&folder, &["--encoder", "nonsense"]);
    assert!(text.contains("nonsense"), "{text}");
    // Whatever of a run is in a directory stays, even where making the new run fails: it once was replaced, and deleted on failure.
    for name in ["model.safetensors", "codes.safetensors", "gallery.safetensors", "index/manifest"]
    {
        fs::remove_dir_all(folder.path("run")).unwrap_or_default();
        fs::create_dir_all(folder.path("run").join(name).parent().unwrap()).unwrap();
        fs::write(folder.path("run").join(name), "mine").unwrap();
        for bits in ["8", "64"] {
            let text = refused(&folder, &["--run-dir", "run", "--bits", bits]);
            let first = name.split('/').next().unwrap();
            assert!(text.contains(&format!("run_dir is run, which has {first}")), "{text}");
            assert_eq!(fs::read(folder.path("run").join(name)).unwrap(), b"mine");
        }
    }
    // What is none of a run stays, too.
    fs::remove_dir_all(folder.path("run")).unwrap();
    fs::create_dir(folder.path("run")).unwrap();
    fs::write(folder.path("run/notes.txt"), "mine").unwrap();
    refused(&folder, &["--run-dir", "run", "--bits", "64"]);
    assert_eq!(entries(&folder.path("run")), ["notes.txt"]);
    // The second picture cannot be used.
    fs::write(folder.path("photos/001.png"), "no picture").unwrap();
    let text = refused(&folder, &["--strict"]);
    assert!(text.contains("001.png"), "{text}");

    let few = Folder::new(5);
    let text = refused(&few, &[]);
    assert!(text.contains("5 usable ones, expected at least 9"), "{text}");
    fs::create_dir(few.path("empty")).unwrap();
    let output = dhih_train(few.dir.path(), &["photos", "empty", "--encoder", "squeezenet1-1"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no weights on the hub"), "{text}");
}

/// Labels that were not used in making the codes: among aerial photographs of 21 kinds, the nearest by code is mostly of the same kind.
#[test]
fn pictures_of_one_kind_are_near_each_other_without_labels() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let weights = shared.join("weights/efficientnet_lite0.safetensors");
    let images = shared.join("datasets/uc-merced/images");
    if !weights.exists() || !images.exists() {
        println!("skipped: {} or {} is absent", weights.display(), images.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for kind in entries(&images) {
        let to = dir.path().join("photos").join(&kind);
        fs::create_dir_all(&to).unwrap();
        for name in entries(&images.join(&kind)).iter().take(15) {
            fs::copy(images.join(&kind).join(name), to.join(name)).unwrap();
        }
    }
    let arguments = ["photos", "photos", "--encoder", "efficientnet-lite0", "--image-side", "160"];
    let weights = ["--weights", weights.to_str().unwrap(), "--bits", "128", "--json"];
    let output = dhih_train(dir.path(), &[&arguments[..], &weights].concat());
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["images"], 21 * 15, "{report}");
    let run = dir.path().join("runs/latest");
    let set = CodeSet::read(run.join("codes.safetensors"), None).unwrap();
    let names = fs::read_to_string(run.join("codes.safetensors.files.txt")).unwrap();
    let kinds: Vec<&str> = names.lines().map(|name| name.rsplit('/').nth(1).unwrap()).collect();
    let index = Index::open(run.join("index")).unwrap();
    let is_alike = |(row, code): (usize, &[u8])| {
        let hits = index.knn(code, 2).unwrap();
        let other = hits.iter().find(|hit| hit.id as usize != row).unwrap();
        kinds[other.id as usize] == kinds[row]
    };
    let alike = set.codes.iter().enumerate().filter(|item| is_alike(*item)).count();
    println!("{alike} of {} nearest are of the same kind", kinds.len());
    assert!(alike * 10 >= kinds.len() * 7, "{alike} of {}", kinds.len());
}
