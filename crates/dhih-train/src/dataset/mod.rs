//! Labelled images: one file a dataset. What is drawn from them for training and for evaluation is in `protocol`.

mod cifar10;
pub mod demo;
mod fashion_mnist;
mod folder;
mod provenance;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use dhih_model::InputShape;
use dhih_model::image::Picture;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result, by_name};
use provenance::Provenance;

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
    /// The user's own images, one sub-folder a class.
    Folder,
}

impl DatasetName {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Demo, Self::FashionMnist, Self::Cifar10, Self::Folder];

    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
            Self::Folder => "folder",
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
            Self::Folder => "your own JPEG, PNG or WebP images, one sub-folder a class",
        }
    }

    /// The dataset of that name.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the most similar name.
    pub fn parse(name: &str) -> Result<Self> {
        by_name("dataset", name, Self::ALL.into_iter().map(|known| (known.name(), known)))
    }
}

/// Labelled images of one shape, in memory as u8.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Which one.
    pub name: DatasetName,
    /// Shape of an image.
    pub shape: InputShape,
    /// `[n, height, width, channels]`.
    pub images: Vec<u8>,
    /// `[n]`, each below the number of classes.
    pub labels: Vec<u32>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// How many images, from the first, are the official training part; the others are the official test part.
    pub official_train: Option<usize>,
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
    /// Size to which images of a folder are brought.
    pub folder_shape: InputShape,
}

impl Dataset {
    /// Reads a dataset and checks it.
    ///
    /// # Errors
    /// [`Error::Data`] names the file, what is wrong and how to mend it.
    pub fn load(name: DatasetName, config: &DatasetConfig) -> Result<Self> {
        let dir = config.dir.as_path();
        let raw = match name {
            DatasetName::Demo => render_demo(config.demo_images),
            DatasetName::FashionMnist => fashion_mnist::load(dir)?,
            DatasetName::Cifar10 => cifar10::load(dir)?,
            DatasetName::Folder => folder::load(dir, config.folder_shape)?,
        };
        let verified = match name {
            DatasetName::Demo | DatasetName::Folder => None,
            _ => Some(Provenance::read(dir)?.is_verified(dir, &raw.files)?),
        };
        raw.check(dir)?;
        let sha256 = raw.digest();
        let Raw { shape, images, labels, classes, official_train, skipped, .. } = raw;
        Ok(Self { name, shape, images, labels, classes, official_train, sha256, verified, skipped })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image; never true for a loaded dataset.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of image `i`, `[height, width, channels]`.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.images[i * self.shape.len()..][..self.shape.len()]
    }

    /// The pixels of several images, one after the other.
    pub fn gather(&self, rows: &[usize]) -> Vec<u8> {
        rows.iter().flat_map(|&i| self.image(i)).copied().collect()
    }

    /// As [`Self::gather`], brought to another shape as encoding and serving bring pictures to it; grey becomes RGB with
    /// three equal channels.
    pub fn gather_fitted(&self, rows: &[usize], shape: InputShape) -> Vec<u8> {
        if shape == self.shape {
            return self.gather(rows);
        }
        rows.par_iter().flat_map_iter(|&i| fit_one(self.image(i), self.shape, shape)).collect()
    }
}

/// As [`Dataset::gather_fitted`], of images `[n, height, width, channels]`; those that have the shape stay as they are.
pub(crate) fn fit(images: &[u8], from: InputShape, to: InputShape) -> Cow<'_, [u8]> {
    if from == to {
        return Cow::Borrowed(images);
    }
    images
        .par_chunks(from.len())
        .flat_map_iter(|image| fit_one(image, from, to))
        .collect::<Vec<_>>()
        .into()
}

fn fit_one(image: &[u8], from: InputShape, to: InputShape) -> Vec<u8> {
    let InputShape { height, width, channels } = from;
    let pixels = match channels {
        1 => image.iter().flat_map(|grey| [*grey; 3]).collect(),
        _ => image.to_vec(),
    };
    Picture { width, height, pixels }.fit(to)
}

/// What a reader returns, not yet checked.
#[derive(Debug)]
struct Raw {
    shape: InputShape,
    images: Vec<u8>,
    labels: Vec<u32>,
    classes: Vec<String>,
    official_train: Option<usize>,
    skipped: Vec<(PathBuf, String)>,
    /// The files that were read, relative to the dataset's folder.
    files: Vec<PathBuf>,
}

impl Raw {
    fn check(&self, dir: &Path) -> Result<()> {
        let wrong = |reason: String, cure: &str| {
            Err(Error::Data { path: dir.to_owned(), reason, cure: cure.to_owned() })
        };
        if self.labels.is_empty() {
            return wrong("it holds no image".into(), "add images");
        }
        if self.images.len() != self.labels.len() * self.shape.len() {
            let (pixels, labels) = (self.images.len() / self.shape.len(), self.labels.len());
            return wrong(format!("{pixels} images but {labels} labels"), "fetch it again");
        }
        let classes = self.classes.len();
        if let Some((i, label)) =
            self.labels.iter().enumerate().find(|(_, label)| **label as usize >= classes)
        {
            let reason = format!("image {i} has label {label}, but there are {classes} classes");
            return wrong(reason, "fetch it again");
        }
        Ok(())
    }

    fn digest(&self) -> String {
        let InputShape { height, width, channels } = self.shape;
        let mut hash = Sha256::new();
        hash.update(format!("{height} {width} {channels} {}\n", self.labels.len()));
        self.labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
        hash.update(&self.images);
        dhih_index::to_hex(&hash.finalize())
    }
}

/// The embedded set; its images never change, so its seed is no setting.
fn render_demo(count: usize) -> Raw {
    let (images, labels) = demo::render_all(0, count);
    Raw {
        shape: InputShape { height: demo::SIDE, width: demo::SIDE, channels: 3 },
        images,
        labels: labels.into_iter().map(|label| label as u32).collect(),
        classes: demo::CLASSES.map(str::to_owned).to_vec(),
        official_train: None,
        skipped: Vec::new(),
        files: Vec::new(),
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
