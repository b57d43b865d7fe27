//! Labelled images: one file a dataset. What is drawn from them for training and for evaluation is in `protocol`.

mod cifar10;
mod csv_list;
pub mod demo;
mod fashion_mnist;
mod folder;
mod hub;
mod labels;
mod mat;
mod nus_wide;
mod pickle;
mod provenance;
mod raw;
mod svhn;
mod webdataset;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use dhih_model::InputShape;
use dhih_model::image::{Limits, Picture};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, by_name};
use crate::intake::pixels::{Intake, Pixels};
use crate::progress::Progress;
use provenance::Provenance;
use raw::Raw;

pub use labels::ClassLabels;

/// Which dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetName {
    /// The embedded set: rendered, nothing to download.
    Demo,
    /// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), four gzipped IDX files.
    FashionMnist,
    /// CIFAR-10 (Krizhevsky 2009), as the hub's Parquet files or the binary version.
    Cifar10,
    /// SVHN's cropped digits (Netzer et al. 2011), as published or as the hub's Parquet files.
    Svhn,
    /// NUS-WIDE (Chua et al. 2009) with its 21 most frequent concepts, as image lists.
    #[serde(rename = "nus-wide-21")]
    NusWide21,
    /// NUS-WIDE with all 81 concepts, as image lists.
    #[serde(rename = "nus-wide-81")]
    NusWide81,
    /// The user's own images, one sub-folder a class.
    Folder,
    /// The user's own images, listed with one or several labels each.
    Csv,
    /// Parquet files in the hub's image schema.
    Parquet,
    /// WebDataset shards.
    #[serde(rename = "webdataset")]
    WebDataset,
}

impl DatasetName {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 10] = [
        Self::Demo,
        Self::FashionMnist,
        Self::Cifar10,
        Self::Svhn,
        Self::NusWide21,
        Self::NusWide81,
        Self::Folder,
        Self::Csv,
        Self::Parquet,
        Self::WebDataset,
    ];

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
            Self::Svhn => "svhn",
            Self::NusWide21 => "nus-wide-21",
            Self::NusWide81 => "nus-wide-81",
            Self::Folder => "folder",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::WebDataset => "webdataset",
        }
    }

    /// One line on what it holds.
    pub fn description(self) -> &'static str {
        match self {
            Self::Demo => {
                "10,000 rendered 32 x 32 images of 10 shapes; embedded, nothing to download"
            }
            Self::FashionMnist => "70,000 grey 28 x 28 images of 10 kinds of clothing",
            Self::Cifar10 => "60,000 colour 32 x 32 photographs of 10 kinds of objects",
            Self::Svhn => "99,289 colour 32 x 32 photographs of house numbers' digits",
            Self::NusWide21 => "195,834 photographs with any of 21 concepts, as image lists",
            Self::NusWide81 => "photographs with any of 81 concepts, as image lists",
            Self::Csv => "your own images, listed in labels.csv with one or several labels each",
            Self::Parquet => "Parquet files in the hub's image schema",
            Self::WebDataset => "tar shards of pictures and class numbers",
            Self::Folder => "your own images, one sub-folder a class",
        }
    }

    /// The dataset of that name.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the most similar name.
    pub fn parse(name: &str) -> Result<Self> {
        by_name("dataset", name, Self::ALL.into_iter().map(|known| (known.name(), known)))
    }

    /// Whether its images come in any size, to be brought to that of the network when they are read.
    pub fn is_of_pictures(self) -> bool {
        !matches!(self, Self::Demo | Self::FashionMnist | Self::Cifar10 | Self::Svhn)
    }
}

/// The parts of a protocol, where the data itself says them: rows, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lists {
    /// Rows that train.
    pub train: Vec<usize>,
    /// Rows that are searched.
    pub database: Vec<usize>,
    /// Rows that ask.
    pub queries: Vec<usize>,
}

/// Labelled images of one shape: u8 in memory, or decoded when they are wanted where they would take too much of it.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Which one.
    pub name: DatasetName,
    /// Shape of an image.
    pub shape: InputShape,
    pixels: Pixels,
    /// Of `n` images, each below the number of classes.
    pub labels: ClassLabels,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// How many images, from the first, are the official training part; the others are the official test part.
    pub official_train: Option<usize>,
    /// The parts, where lists of them are published.
    pub lists: Option<Lists>,
    /// SHA-256 over shape, labels and pixels, in hex.
    pub sha256: String,
    /// Whether the files are known to be the published ones; absent where nothing is published.
    pub verified: Option<bool>,
    /// Files that could not be used, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

/// Where a dataset is and how it is to be read.
#[derive(Debug, Clone)]
pub struct DatasetConfig {
    /// Its folder.
    pub dir: PathBuf,
    /// Images of the demo set.
    pub demo_images: usize,
    /// Size to which pictures of any size are brought.
    pub picture_shape: InputShape,
    /// Bytes up to which the pixels of such pictures are kept; of more, each is decoded whenever it is wanted.
    pub memory: usize,
    /// What such a picture may measure.
    pub limits: Limits,
    /// Folder in which decoded pictures are kept for the next run; without one they are decoded again.
    pub cache: Option<PathBuf>,
    /// Where the decoding of pictures is shown.
    pub progress: Progress,
}

impl Default for DatasetConfig {
    /// The demo set, and pictures of 32 x 32 pixels of which 4 GiB are kept in memory, without a cache.
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            demo_images: 10_000,
            picture_shape: InputShape { height: 32, width: 32, channels: 3 },
            memory: 4 << 30,
            limits: Limits::files(),
            cache: None,
            progress: Progress::Silent,
        }
    }
}

impl Dataset {
    /// Reads a dataset and checks it.
    ///
    /// # Errors
    /// [`Error::Data`] names the file, what is wrong and how to mend it.
    pub fn load(name: DatasetName, config: &DatasetConfig) -> Result<Self> {
        let dir = config.dir.as_path();
        let intake = &Intake::new(config);
        let raw = match name {
            DatasetName::Demo => render_demo(config.demo_images),
            DatasetName::FashionMnist => fashion_mnist::load(dir)?,
            DatasetName::Cifar10 => cifar10::load(dir)?,
            DatasetName::Svhn => svhn::load(dir)?,
            DatasetName::NusWide21 => nus_wide::load(dir, 21, intake)?,
            DatasetName::NusWide81 => nus_wide::load(dir, 81, intake)?,
            DatasetName::Folder => folder::load(dir, intake)?,
            DatasetName::Csv => csv_list::load(dir, intake)?,
            DatasetName::Parquet => hub::load(dir, intake)?,
            DatasetName::WebDataset => webdataset::load(dir, intake)?,
        };
        let verified = match name {
            DatasetName::Demo => None,
            name if name.is_of_pictures() => None,
            _ => Some(Provenance::read(dir)?.is_verified(dir, &raw.files)?),
        };
        raw.check(dir)?;
        let sha256 = raw.digest();
        let Raw { shape, pixels, labels, classes, official_train, lists, skipped, .. } = raw;
        Ok(Self {
            name,
            shape,
            pixels,
            labels,
            classes,
            official_train,
            lists,
            sha256,
            verified,
            skipped,
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image; never true for a loaded dataset.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Whether images are decoded, or read from a cache, whenever they are wanted.
    pub fn is_streamed(&self) -> bool {
        !matches!(self.pixels, Pixels::Memory(_))
    }

    /// The pixels of image `i`, `[height, width, channels]`.
    ///
    /// # Errors
    /// When a streamed image is no longer what it was.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        match &self.pixels {
            Pixels::Memory(images) => Ok(images[i * self.shape.len()..][..self.shape.len()].into()),
            Pixels::Cached(cache) => Ok(cache.image(i)?.into()),
            Pixels::Stream { sources, reader } => {
                let gone = |reason| Error::Data {
                    path: sources[i].path().to_owned(),
                    reason,
                    cure: "it could be read when the run began: restore it".to_owned(),
                };
                Ok(sources[i].pixels(reader, self.shape).map_err(gone)?.into())
            }
        }
    }

    /// The pixels of several images, one after the other.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn gather(&self, rows: &[usize]) -> Result<Vec<u8>> {
        let mut pixels = vec![0; rows.len() * self.shape.len()];
        let parts = pixels.par_chunks_exact_mut(self.shape.len()).zip(rows);
        let copied: Result<()> = parts
            .map(|(pixels, row)| self.image(*row).map(|image| pixels.copy_from_slice(&image)))
            .collect();
        copied.map(|()| pixels)
    }

    /// As [`Self::gather`], brought to another shape as encoding and serving bring pictures to it; grey becomes RGB with
    /// three equal channels.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn gather_fitted(&self, rows: &[usize], shape: InputShape) -> Result<Vec<u8>> {
        Ok(fit(self.gather(rows)?, self.shape, shape))
    }
}

/// As [`Dataset::gather_fitted`], of images `[n, height, width, channels]`; those that have the shape stay as they are.
pub(crate) fn fit(images: Vec<u8>, from: InputShape, to: InputShape) -> Vec<u8> {
    if from == to {
        return images;
    }
    images.par_chunks(from.len()).flat_map_iter(|image| fit_one(image, from, to)).collect()
}

fn fit_one(image: &[u8], from: InputShape, to: InputShape) -> Vec<u8> {
    let InputShape { height, width, channels } = from;
    let pixels = match channels {
        1 => image.iter().flat_map(|grey| [*grey; 3]).collect(),
        _ => image.to_vec(),
    };
    Picture { width, height, pixels }.fit(to)
}

/// The embedded set; its images never change, so its seed is no setting.
fn render_demo(count: usize) -> Raw {
    let (images, labels) = demo::render_all(0, count);
    let shape = InputShape { height: demo::SIDE, width: demo::SIDE, channels: 3 };
    let labels = labels.into_iter().map(|label| label as u32).collect();
    Raw::in_memory(shape, images, labels, demo::CLASSES.map(str::to_owned).to_vec())
}

/// All files in a folder and its sub-folders by name, hidden ones left out.
fn files_below(dir: &Path, cure: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in sorted_entries(dir, cure)? {
        match path.is_dir() {
            true => files.extend(files_below(&path, cure)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

/// Entries of a folder by name, hidden ones left out: the order of labels must not depend on the file system.
fn sorted_entries(dir: &Path, cure: &str) -> Result<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| Error::Data {
        path: dir.to_owned(),
        reason: error.to_string(),
        cure: cure.to_owned(),
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A file with a name a line, where there is one.
fn read_names(path: &Path) -> Result<Option<Vec<String>>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.lines().map(|name| name.trim().to_owned()).collect())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// Reads a whole file; says how to get a missing one.
fn read_file(path: &Path, cure: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::Data {
        path: path.to_owned(),
        reason: error.to_string(),
        cure: cure.to_owned(),
    })
}
