//! Labelled images: one file a dataset. What is drawn from them for training and for evaluation is in `protocol`.

mod cifar;
mod cifar_names;
mod class_names;
mod classes;
mod csv_columns;
mod csv_list;
pub mod demo;
mod fashion_mnist;
mod folder;
mod labels;
mod mat;
mod name;
mod nus_wide;
mod parquet;
mod pascal_voc;
mod pickle;
mod provenance;
mod raw;
mod svhn;
mod warning;
mod webdataset;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use dhih_model::InputShape;
use dhih_model::image::Picture;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::intake::pixels::Pixels;
use cifar::Cifar;
use provenance::Provenance;
use raw::Raw;

pub use labels::ClassLabels;
pub use name::DatasetName;
pub use warning::Warning;

/// The parts of a protocol, where the data itself says them: rows, in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// Rows that train.
    pub train: Vec<usize>,
    /// Rows that are searched.
    pub database: Vec<usize>,
    /// Rows that are the queries.
    pub queries: Vec<usize>,
    /// Rows that training is watched by; they are neither trained on nor searched.
    pub validation: Vec<usize>,
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
    /// How many images, at the end, are the official validation part, which is neither trained on nor searched.
    pub official_validation: usize,
    /// The parts, where lists of them are published.
    pub lists: Option<Lists>,
    /// SHA-256 over shape, labels and pixels, in hex.
    pub sha256: String,
    /// Whether the files are known to be the published ones; absent where nothing is published.
    pub verified: Option<bool>,
    /// Files that could not be used, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
    /// What is odd about the set and does not keep it from being used.
    pub warnings: Vec<Warning>,
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
    /// Images that a class needs; classes with fewer are dropped, and with them the images that have no other class.
    pub min_class_images: usize,
}

impl Dataset {
    /// Reads a dataset and checks it.
    ///
    /// # Errors
    /// [`Error::Data`] names the file, what is wrong and how to mend it.
    pub fn load(name: DatasetName, config: &DatasetConfig) -> Result<Self> {
        let dir = config.dir.as_path();
        let (shape, memory) = (config.picture_shape, config.memory);
        let raw = match name {
            DatasetName::Demo => render_demo(config.demo_images),
            DatasetName::FashionMnist => fashion_mnist::load(dir)?,
            DatasetName::Cifar10 => cifar::load(dir, Cifar::Ten)?,
            DatasetName::Cifar100 => cifar::load(dir, Cifar::HundredFine)?,
            DatasetName::Cifar100Coarse => cifar::load(dir, Cifar::HundredCoarse)?,
            DatasetName::Svhn => svhn::load(dir)?,
            DatasetName::NusWide21 => nus_wide::load(dir, 21, shape, memory)?,
            DatasetName::NusWide81 => nus_wide::load(dir, 81, shape, memory)?,
            DatasetName::PascalVoc => pascal_voc::load(dir, shape, memory)?,
            DatasetName::Folder => folder::load(dir, shape, memory)?,
            DatasetName::Csv => csv_list::load(dir, shape, memory)?,
            DatasetName::Parquet => parquet::load(dir, shape, memory)?,
            DatasetName::WebDataset => webdataset::load(dir, shape, memory)?,
        };
        let verified = match name {
            DatasetName::Demo => None,
            name if name.is_of_pictures() => None,
            _ => Some(Provenance::read(dir)?.is_verified(dir, &raw.files)?),
        };
        raw.check(dir)?;
        let raw = raw.without_small_classes(config.min_class_images, dir)?;
        let sha256 = raw.digest();
        Ok(Self {
            name,
            shape: raw.shape,
            pixels: raw.pixels,
            labels: raw.labels,
            classes: raw.classes,
            official_train: raw.official_train,
            official_validation: raw.official_validation,
            lists: raw.lists,
            sha256,
            verified,
            skipped: raw.skipped,
            warnings: raw.warnings,
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

    /// Rows of the official training part; all rows where the set has no official parts.
    pub fn official_train_rows(&self) -> Vec<usize> {
        match &self.lists {
            Some(lists) => lists.train.clone(),
            None => (0..self.official_train.unwrap_or(self.len())).collect(),
        }
    }

    /// Rows of the official test part; none where the set has no official parts.
    pub fn official_test_rows(&self) -> Vec<usize> {
        match (&self.lists, self.official_train) {
            (Some(lists), _) => lists.queries.clone(),
            (None, Some(train)) => (train..self.len() - self.official_validation).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// Rows of the official validation part; none where the set has no such part.
    pub fn official_validation_rows(&self) -> Vec<usize> {
        match &self.lists {
            Some(lists) => lists.validation.clone(),
            None => (self.len() - self.official_validation..self.len()).collect(),
        }
    }

    /// Whether images are decoded whenever they are wanted.
    pub fn is_streamed(&self) -> bool {
        matches!(self.pixels, Pixels::Stream(_))
    }

    /// The pixels of image `i`, `[height, width, channels]`.
    ///
    /// # Errors
    /// When a streamed image is no longer what it was.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        match &self.pixels {
            Pixels::Memory(images) => Ok(images[i * self.shape.len()..][..self.shape.len()].into()),
            Pixels::Stream(sources) => {
                let gone = |reason| Error::Data {
                    path: sources[i].path().to_owned(),
                    reason,
                    cure: "it could be read when the run began: restore it".to_owned(),
                };
                Ok(sources[i].pixels(self.shape).map_err(gone)?.into())
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

/// Reads a list of class names, one a line, where there is one. Blank lines are warned of: at the end of the list they are passed over, and
/// one in between stands for a class, which is named by its number.
fn read_names(path: &Path, warnings: &mut Vec<Warning>) -> Result<Option<Vec<String>>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let mut names: Vec<&str> = text.trim_start_matches('\u{feff}').lines().map(str::trim).collect();
    let count = names.iter().filter(|name| name.is_empty()).count();
    if count > 0 {
        warnings.push(Warning::BlankLines { path: path.to_owned(), count });
    }
    while names.last().is_some_and(|name| name.is_empty()) {
        names.pop();
    }
    let name = |(class, name): (usize, &str)| match name {
        "" => class.to_string(),
        name => name.to_owned(),
    };
    Ok(Some(names.into_iter().enumerate().map(name).collect()))
}

/// Reads a whole file; says how to get a missing one.
fn read_file(path: &Path, cure: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::Data {
        path: path.to_owned(),
        reason: error.to_string(),
        cure: cure.to_owned(),
    })
}
