//! CIFAR-10, as the hub's Parquet files (`plain_text/*.parquet`), or the original binary version (`data_batch_{1..5}.bin`), or the original
//! Python version (`data_batch_{1..5}`).

use std::path::{Path, PathBuf};

use dhih_model::InputShape;

use super::pickle::Dict;
use super::raw::Raw;
use super::{parquet, read_file};
use crate::error::{Error, Result};

const CURE: &str = "run `cargo xtask fetch-data cifar10`";
const SHAPE: InputShape = InputShape { height: 32, width: 32, channels: 3 };
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const PARQUET: [&str; 2] =
    ["plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"];

/// Pixels and labels of one file.
type Part = (Vec<u8>, Vec<u32>);
/// Reads one.
type Reader = fn(&Path) -> Result<Part>;

/// A form in which the set is published: where its folder may be, its files, and how one is read.
struct Version {
    folders: &'static [&'static str],
    train: Vec<String>,
    test: String,
    read: Reader,
}

/// The versions; of several the first is read, and of none it is missed.
fn versions() -> [Version; 3] {
    let batches = |end: &str| (1..=5).map(|i| format!("data_batch_{i}{end}")).collect();
    let [train, test] = PARQUET.map(str::to_owned);
    [
        Version { folders: &[""], train: vec![train], test, read: read_parquet },
        Version {
            folders: &["", "cifar-10-batches-bin"],
            train: batches(".bin"),
            test: "test_batch.bin".to_owned(),
            read: read_binary,
        },
        Version {
            folders: &["", "cifar-10-batches-py"],
            train: batches(""),
            test: "test_batch".to_owned(),
            read: read_pickle,
        },
    ]
}

impl Version {
    /// The folder that has its first file, relative to `dir`.
    fn folder(&self, dir: &Path) -> Option<&'static str> {
        let has = |folder: &&str| dir.join(folder).join(&self.train[0]).is_file();
        self.folders.iter().copied().find(has)
    }
}

pub(super) fn load(dir: &Path) -> Result<Raw> {
    let versions = versions();
    let found = versions.iter().find_map(|version| Some((version, version.folder(dir)?)));
    let (version, folder) = found.unwrap_or((&versions[0], ""));
    let (mut images, mut labels, mut official_train) = (Vec::new(), Vec::new(), None);
    let names = version.train.iter().chain([&version.test]);
    let files: Vec<PathBuf> = names.map(|name| Path::new(folder).join(name)).collect();
    for (i, file) in files.iter().enumerate() {
        if i == version.train.len() {
            official_train = Some(labels.len());
        }
        let part = (version.read)(&dir.join(file))?;
        images.extend(part.0);
        labels.extend(part.1);
    }
    let raw = Raw::in_memory(SHAPE, images, labels, CLASSES.map(str::to_owned).to_vec());
    Ok(Raw { official_train, files, ..raw })
}

fn damaged(path: &Path, reason: String) -> Error {
    Error::Data { path: path.to_owned(), reason, cure: CURE.to_owned() }
}

/// A plane a channel to a pixel after the other.
fn interleaved(planes: &[u8]) -> impl Iterator<Item = u8> {
    let plane = SHAPE.height * SHAPE.width;
    (0..SHAPE.len()).map(move |i| planes[i % 3 * plane + i / 3])
}

/// Records of one label byte and 3,072 pixels, a plane a channel.
fn read_binary(path: &Path) -> Result<Part> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let bytes = read_file(path, CURE)?;
    if bytes.is_empty() || !bytes.len().is_multiple_of(1 + SHAPE.len()) {
        let reason = format!("{} bytes are no whole number of records", bytes.len());
        return Err(damaged(path, reason));
    }
    for record in bytes.chunks_exact(1 + SHAPE.len()) {
        labels.push(u32::from(record[0]));
        images.extend(interleaved(&record[1..]));
    }
    Ok((images, labels))
}

/// A pickled dictionary: `data`, a numpy array `[n, 3072]` of bytes, a plane a channel, and `labels`.
fn read_pickle(path: &Path) -> Result<Part> {
    let bytes = read_file(path, CURE)?;
    let dict = Dict::read(&bytes).map_err(|reason| damaged(path, reason))?;
    let missing = |name: &str| damaged(path, format!("it has no {name:?} as batches have"));
    let data = dict.array("data").ok_or_else(|| missing("data"))?;
    let labels = dict.numbers("labels").ok_or_else(|| missing("labels"))?;
    if data.len() != labels.len() * SHAPE.len() {
        let reason = format!("{} bytes of pixels do not fit {} labels", data.len(), labels.len());
        return Err(damaged(path, reason));
    }
    let label = |label: i64| {
        u32::try_from(label).map_err(|_| damaged(path, format!("it has a label {label}")))
    };
    let labels = labels.into_iter().map(label).collect::<Result<_>>()?;
    Ok((data.chunks_exact(SHAPE.len()).flat_map(interleaved).collect(), labels))
}

fn read_parquet(path: &Path) -> Result<Part> {
    let (rows, _) = parquet::read(path, CURE)?;
    parquet::decode_exactly(path, &rows, SHAPE, CURE)
}
