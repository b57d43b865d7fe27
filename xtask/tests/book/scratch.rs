//! A folder in which the commands of a page run: with the programs on the path, small pictures and arrays, and the environment
//! that makes trainings small. What is in `bin/` stands before the programs: cargo that builds nothing, a service that runs in the
//! background.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Rgb, RgbImage};

/// The longest a block may take, in seconds.
const LIMIT: u32 = 120;

/// Small trainings, and free ports: what a page leaves to the defaults.
const SMALL: [(&str, &str); 3] =
    [("DHIH_DEMO_IMAGES", "1010"), ("DHIH_EPOCHS", "1"), ("DHIH_BIND", "127.0.0.1:0")];

/// The classes of `photos`.
const CLASSES: [&str; 4] = ["beach", "cat", "forest", "harbour"];

/// The folder; a service that was left running ends with it.
#[derive(Debug)]
pub(crate) struct Scratch {
    root: tempfile::TempDir,
    programs: PathBuf,
}

impl Scratch {
    /// A new folder, for the programs of `programs`.
    pub(crate) fn new(programs: &Path) -> Self {
        let scratch = Self { root: tempfile::tempdir().unwrap(), programs: programs.to_path_buf() };
        for folder in ["home", "state", "page/data"] {
            fs::create_dir_all(scratch.root.path().join(folder)).unwrap();
        }
        let page = scratch.folder();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // xtask works in a workspace, on its own manifest of data.
        fs::write(page.join("Cargo.toml"), "[workspace]\n").unwrap();
        fs::copy(repository.join("data/manifest.toml"), page.join("data/manifest.toml")).unwrap();
        pictures(&page);
        arrays(&page);
        scratch
    }

    /// Where commands run.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.path().join("page")
    }

    /// Runs shell text; gives what it printed on both streams, as an error where it fails.
    pub(crate) fn run(&self, commands: &str) -> Result<String, String> {
        let state = self.root.path().join("state");
        let before = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/book/bin");
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{}:{path}", before.display(), self.programs.display());
        let mut bash = Command::new("timeout");
        bash.arg(LIMIT.to_string()).args(["bash", "-euo", "pipefail", "-c", commands]);
        bash.current_dir(self.folder()).env_clear().envs(SMALL);
        bash.env("PATH", path).env("HOME", self.root.path().join("home"));
        bash.env("BOOK_PROGRAMS", &self.programs).env("BOOK_STATE", state);
        bash.env("DHIH_BIN_DIR", &self.programs);
        let output = bash.stdin(std::process::Stdio::null()).output().unwrap();
        let streams = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&streams).into_owned();
        match output.status.code() {
            Some(0) => Ok(printed),
            Some(124) => Err(format!("takes longer than {LIMIT} s\n{printed}")),
            _ => Err(printed),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.run("stop-service");
    }
}

/// Photos in folders of classes, others to search by, and single ones.
fn pictures(folder: &Path) {
    for (class, name) in CLASSES.iter().enumerate() {
        for photo in 1..=6 {
            picture(&folder.join(format!("photos/{name}/{photo}.jpg")), class, photo);
        }
        picture(&folder.join(format!("new-photos/{name}.jpg")), class, 7);
    }
    for (name, class) in
        [("some.jpg", 0), ("new.jpg", 1), ("a.jpg", 2), ("b.png", 3), ("ring.png", 1)]
    {
        picture(&folder.join(name), class, 8);
    }
}

/// Stripes in the colours of a class.
fn picture(path: &Path, class: usize, photo: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let colour = [[220, 200, 120], [150, 110, 90], [30, 120, 40], [40, 80, 180]][class];
    let shade = |x: u32, y: u32| ((x * (class as u32 + 1) + y * photo) % 40) as u8;
    let pixel = |x, y| Rgb(colour.map(|level: u8| level.saturating_add(shade(x, y))));
    RgbImage::from_fn(48, 40, pixel).save(path).unwrap();
}

/// Codes of 48 bits and their labels, as numpy writes them: 20 to search among, and 5 to search by. And 60 vectors of 24 numbers with their labels.
fn arrays(folder: &Path) {
    let waves = (0..60 * 24).map(|i| (f64::from(i) * 1.7 + f64::from(i * i % 97)).sin() as f32);
    let vectors: Vec<u8> = waves.flat_map(f32::to_le_bytes).collect();
    array(
        &folder.join("embeddings.npy"),
        "'<f4', 'fortran_order': False, 'shape': (60, 24)",
        &vectors,
    );
    labels(&folder.join("labels.npy"), 60);
    for (name, rows) in [("db", 20_u8), ("q", 5)] {
        let codes: Vec<u8> = (0..rows).flat_map(|row| [row % 4, 7, row, 0, 255, 1]).collect();
        array(
            &folder.join(format!("{name}.npy")),
            &format!("'|u1', 'fortran_order': False, 'shape': ({rows}, 6)"),
            &codes,
        );
        labels(&folder.join(format!("{name}-labels.npy")), rows);
    }
}

/// One of four classes for each row, in turn.
fn labels(path: &Path, rows: u8) {
    let labels: Vec<u8> = (0..rows).flat_map(|row| i64::from(row % 4).to_le_bytes()).collect();
    array(path, &format!("'<i8', 'fortran_order': False, 'shape': ({rows},)"), &labels);
}

fn array(path: &Path, kind: &str, data: &[u8]) {
    let header = format!("{:<117}\n", format!("{{'descr': {kind}, }}"));
    let length = u16::try_from(header.len()).unwrap();
    let bytes = [b"\x93NUMPY\x01\x00", &length.to_le_bytes()[..], header.as_bytes(), data].concat();
    fs::write(path, bytes).unwrap();
}
