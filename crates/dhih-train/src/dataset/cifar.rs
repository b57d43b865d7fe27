//! CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), from the Parquet files of the Hugging Face hub, the original binary version, or the original
//! Python version. Images of CIFAR-100 have two labels, one of 100 fine classes and one of 20 coarse classes; each is a dataset of its own here.

use std::path::{Path, PathBuf};

use dhih_model::InputShape;

use super::cifar_names::{CIFAR10, COARSE, FINE};
use super::parquet::{self, TableConfig};
use super::pickle::Dict;
use super::raw::Raw;
use super::read_file;
use crate::error::{Error, Result};

const SHAPE: InputShape = InputShape::new(32, 32, 3);

/// Which of the sets, with which of its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cifar {
    Ten,
    HundredFine,
    HundredCoarse,
}

/// The pixels `[n, 32, 32, 3]` and the labels of a file.
type Part = (Vec<u8>, Vec<u32>);

/// How the files of a version are read.
#[derive(Debug, Clone, Copy)]
enum Format {
    Parquet,
    Binary,
    Pickle,
}

/// A published form of a set: the folders where it may be, and its files.
struct Version {
    format: Format,
    folders: &'static [&'static str],
    train: Vec<String>,
    test: String,
}

impl Version {
    /// The folder with the first file of the version, relative to `dir`.
    fn folder(&self, dir: &Path) -> Option<&'static str> {
        let has = |folder: &&str| dir.join(folder).join(&self.train[0]).is_file();
        self.folders.iter().copied().find(has)
    }
}

/// Reads a set. If the folder has several versions, the first of Parquet, binary and Python is read.
///
/// # Errors
/// [`Error::Data`] names the file that is missing or damaged.
pub(super) fn load(dir: &Path, set: Cifar) -> Result<Raw> {
    let versions = set.versions();
    let found = versions.iter().find_map(|version| Some((version, version.folder(dir)?)));
    let (version, folder) = found.unwrap_or((&versions[0], ""));
    let (mut images, mut labels, mut official_train) = (Vec::new(), Vec::new(), None);
    let names = version.train.iter().chain([&version.test]);
    let files: Vec<PathBuf> = names.map(|name| Path::new(folder).join(name)).collect();
    for (i, file) in files.iter().enumerate() {
        if i == version.train.len() {
            official_train = Some(labels.len());
        }
        let path = dir.join(file);
        let part = match version.format {
            Format::Parquet => {
                let config =
                    TableConfig { path: &path, labels: &[set.label_column()], cure: set.cure() };
                parquet::read_exactly(&config, SHAPE)?
            }
            Format::Binary => set.read_binary(&path)?,
            Format::Pickle => set.read_pickle(&path)?,
        };
        images.extend(part.0);
        labels.extend(part.1);
    }
    let classes = set.classes().iter().map(|name| (*name).to_owned()).collect();
    let raw = Raw::in_memory(SHAPE, images, labels, classes);
    Ok(Raw { official_train, files, ..raw })
}

impl Cifar {
    fn classes(self) -> &'static [&'static str] {
        match self {
            Self::Ten => &CIFAR10,
            Self::HundredFine => &FINE,
            Self::HundredCoarse => &COARSE,
        }
    }

    fn cure(self) -> &'static str {
        match self {
            Self::Ten => "run `cargo xtask fetch-data cifar10`",
            Self::HundredFine | Self::HundredCoarse => {
                "run `cargo xtask fetch-data cifar100`, or give --data-dir the folder that has cifar-100-binary or cifar-100-python"
            }
        }
    }

    /// The column of the labels in Parquet files.
    fn label_column(self) -> &'static str {
        match self {
            Self::Ten => "label",
            Self::HundredFine => "fine_label",
            Self::HundredCoarse => "coarse_label",
        }
    }

    /// The key of the labels in pickled dictionaries.
    fn label_key(self) -> &'static str {
        match self {
            Self::Ten => "labels",
            Self::HundredFine => "fine_labels",
            Self::HundredCoarse => "coarse_labels",
        }
    }

    /// The position of the label byte in a binary record, and the number of bytes before the pixels.
    fn binary_label(self) -> (usize, usize) {
        match self {
            Self::Ten => (0, 1),
            Self::HundredCoarse => (0, 2),
            Self::HundredFine => (1, 2),
        }
    }

    fn versions(self) -> [Version; 3] {
        let files = |format, folders, train: &[&str], test: &str| {
            let train = train.iter().map(|name| (*name).to_owned()).collect();
            Version { format, folders, train, test: test.to_owned() }
        };
        if self != Self::Ten {
            let parquet = |part: &str| format!("{part}-00000-of-00001.parquet");
            let (train, test) = (parquet("train"), parquet("test"));
            return [
                files(Format::Parquet, &["cifar100", ""], &[&train], &test),
                files(Format::Binary, &["", "cifar-100-binary"], &["train.bin"], "test.bin"),
                files(Format::Pickle, &["", "cifar-100-python"], &["train"], "test"),
            ];
        }
        let batches = |end: &str| (1..=5).map(|i| format!("data_batch_{i}{end}")).collect();
        [
            files(
                Format::Parquet,
                &[""],
                &["plain_text/train-00000-of-00001.parquet"],
                "plain_text/test-00000-of-00001.parquet",
            ),
            Version {
                format: Format::Binary,
                folders: &["", "cifar-10-batches-bin"],
                train: batches(".bin"),
                test: "test_batch.bin".to_owned(),
            },
            Version {
                format: Format::Pickle,
                folders: &["", "cifar-10-batches-py"],
                train: batches(""),
                test: "test_batch".to_owned(),
            },
        ]
    }

    fn damaged(self, path: &Path, reason: String) -> Error {
        Error::Data { path: path.to_owned(), reason, cure: self.cure().to_owned() }
    }

    /// Reads records of one or two label bytes and 3,072 pixels, one plane for each channel.
    fn read_binary(self, path: &Path) -> Result<Part> {
        let (label, head) = self.binary_label();
        let bytes = read_file(path, self.cure())?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(head + SHAPE.len()) {
            let reason = format!("{} bytes are no whole number of records", bytes.len());
            return Err(self.damaged(path, reason));
        }
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for record in bytes.chunks_exact(head + SHAPE.len()) {
            labels.push(u32::from(record[label]));
            images.extend(interleaved(&record[head..]));
        }
        Ok((images, labels))
    }

    /// Reads a pickled dictionary with `data`, a numpy array `[n, 3072]` of bytes with one plane for each channel, and a list of labels.
    fn read_pickle(self, path: &Path) -> Result<Part> {
        let bytes = read_file(path, self.cure())?;
        let dict = Dict::read(&bytes).map_err(|reason| self.damaged(path, reason))?;
        let missing =
            |name: &str| self.damaged(path, format!("it has no {name:?} as batches have"));
        let key = self.label_key();
        let data = dict.array("data").ok_or_else(|| missing("data"))?;
        let labels = dict.numbers(key).ok_or_else(|| missing(key))?;
        if data.len() != labels.len() * SHAPE.len() {
            let (bytes, labels) = (data.len(), labels.len());
            let reason = format!("{bytes} bytes of pixels do not fit {labels} labels");
            return Err(self.damaged(path, reason));
        }
        let label = |label: i64| {
            u32::try_from(label).map_err(|_| self.damaged(path, format!("it has a label {label}")))
        };
        let labels = labels.into_iter().map(label).collect::<Result<_>>()?;
        Ok((data.chunks_exact(SHAPE.len()).flat_map(interleaved).collect(), labels))
    }
}

/// The pixels of an image channels-last, from one plane for each channel.
fn interleaved(planes: &[u8]) -> impl Iterator<Item = u8> {
    let plane = SHAPE.height * SHAPE.width;
    (0..SHAPE.len()).map(move |i| planes[i % 3 * plane + i / 3])
}
