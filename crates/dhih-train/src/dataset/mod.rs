//! Labelled images, one file for each dataset. `protocol` divides them for training and evaluation.

mod cifar;
mod cifar_names;
mod class_names;
mod classes;
mod config;
mod csv_columns;
mod csv_list;
pub mod demo;
mod digest;
mod fashion_mnist;
mod folder;
mod labels;
mod mat;
mod name;
mod nus_wide;
mod parquet;
mod part;
mod pascal_voc;
mod pickle;
mod provenance;
mod published;
mod raw;
mod svhn;
mod warning;
mod webdataset;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use dhih_model::InputShape;
use dhih_model::image::Picture;
use dhih_model::walk::{Entry, LeftOut, Walk, text_of};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::intake::pixels::Pixels;
use cifar::Cifar;
use digest::Contents;
use provenance::Provenance;
use raw::Raw;

pub use config::DatasetConfig;
pub use labels::ClassLabels;
pub use name::DatasetName;
pub use published::PartVerification;
pub use warning::Warning;

/// The parts of a protocol, where the data publishes them, as rows in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// Training rows.
    pub train: Vec<usize>,
    /// Rows of the database, which are searched.
    pub database: Vec<usize>,
    /// Rows of the queries.
    pub queries: Vec<usize>,
    /// Validation rows, which are neither trained on nor searched.
    pub validation: Vec<usize>,
}

/// Labelled images of one shape: u8 in memory, or, where they would take too much memory, decoded when they are needed.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Which dataset it is.
    pub name: DatasetName,
    /// Shape of an image.
    pub shape: InputShape,
    pixels: Pixels,
    /// The labels of the images, each below the number of classes.
    pub labels: ClassLabels,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The number of images, from the first, in the official training part; the others are the official test part.
    pub official_train: Option<usize>,
    /// The number of images, at the end, in the official validation part, which is neither trained on nor searched.
    pub official_validation: usize,
    /// The parts, where lists of them are published.
    pub lists: Option<Lists>,
    /// SHA-256 over labels and images, in hex: over the encoded bytes of pictures of any size, over the pixels of others.
    pub sha256: String,
    /// The digest of the encoded pictures; absent for sets of one shape.
    encoded: Option<[u8; 32]>,
    /// Whether the images are the published ones. Where no digests of images are known, it says so of their files. Absent where nothing is
    /// published.
    pub verified: Option<bool>,
    /// How many images of each part of a published set are verified; empty where no digests of its images are known.
    pub verified_parts: Vec<PartVerification>,
    /// Files that could not be used, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
    /// What was left out, counted by the reason; its faults are those of `skipped`.
    pub left_out: LeftOut,
    /// Oddities of the set that do not prevent its use.
    pub warnings: Vec<Warning>,
}

impl Dataset {
    /// Reads a dataset and checks it.
    ///
    /// # Errors
    /// [`Error::Data`] names the file, what is wrong and how to mend it. Where the configuration is strict, an error of the model names what
    /// would be left out for a fault.
    pub fn load(name: DatasetName, config: &DatasetConfig) -> Result<Self> {
        let dir = config.dir.as_path();
        let intake = &config.intake(name);
        let raw = match name {
            DatasetName::Demo => render_demo(config.demo_images),
            DatasetName::FashionMnist => fashion_mnist::load(dir)?,
            DatasetName::Cifar10 => cifar::load(dir, Cifar::Ten)?,
            DatasetName::Cifar100 => cifar::load(dir, Cifar::HundredFine)?,
            DatasetName::Cifar100Coarse => cifar::load(dir, Cifar::HundredCoarse)?,
            DatasetName::Svhn => svhn::load(dir)?,
            DatasetName::NusWide21 => nus_wide::load(dir, 21, intake)?,
            DatasetName::NusWide81 => nus_wide::load(dir, 81, intake)?,
            DatasetName::PascalVoc => pascal_voc::load(dir, intake)?,
            DatasetName::Folder => folder::load(dir, intake)?,
            DatasetName::Csv => csv_list::load(dir, intake)?,
            DatasetName::Parquet => parquet::load(dir, intake)?,
            DatasetName::WebDataset => webdataset::load(dir, intake)?,
        };
        raw.check(dir)?;
        let (verified, verified_parts) = verification(name, dir, &raw)?;
        let raw = raw.without_small_classes(config.min_class_images, dir)?;
        let sha256 = Contents::from(&raw).sha256();
        let mut left_out = raw.left_out;
        for Entry { path, reason } in raw.skipped {
            left_out.push(path, reason);
        }
        if config.strict {
            left_out.refuse_faults()?;
        }
        let faults = left_out.faults().iter();
        let skipped = faults.map(|fault| (fault.path.clone(), fault.reason.to_string())).collect();
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
            encoded: raw.encoded,
            verified,
            verified_parts,
            skipped,
            left_out,
            warnings: raw.warnings,
        })
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images; never true for a loaded dataset.
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

    /// Whether images are decoded, or read from a cache, whenever they are needed.
    pub fn is_streamed(&self) -> bool {
        !matches!(self.pixels, Pixels::Memory(_))
    }

    /// The pixels of image `i`, `[height, width, channels]`.
    ///
    /// # Errors
    /// When a streamed image can no longer be read as it was.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        match &self.pixels {
            Pixels::Memory(images) => Ok(images[i * self.shape.len()..][..self.shape.len()].into()),
            Pixels::Cached { cache, rows } => Ok(cache.image(rows[i])?.into()),
            Pixels::Stream { sources, reader } => {
                let gone = |reason| Error::Data {
                    path: sources[i].path().to_owned(),
                    reason,
                    cure: "it could be read when the run began: restore it".to_owned(),
                };
                Ok(sources[i]
                    .pixels(reader, self.shape)
                    .map_err(|reason| gone(reason.to_string()))?
                    .into())
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

    /// As [`Self::gather`], brought to another shape in the same way as in encoding and serving. Grey becomes RGB with three equal channels.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn gather_fitted(&self, rows: &[usize], shape: InputShape) -> Result<Vec<u8>> {
        fit(self.gather(rows)?, self.shape, shape)
    }
}

/// Whether the images are the published ones. Where digests of the images are known, these are compared, whatever files the images came from.
/// Otherwise the files are compared with what was fetched.
///
/// # Errors
/// When a file changed since it was fetched, and its content is not known to be the published set.
fn verification(
    name: DatasetName,
    dir: &Path,
    raw: &Raw,
) -> Result<(Option<bool>, Vec<PartVerification>)> {
    if name == DatasetName::Demo || name.is_of_pictures() {
        return Ok((None, Vec::new()));
    }
    let parts = published::verify(name, raw);
    let are_published = |parts: &[PartVerification]| {
        !parts.is_empty() && parts.iter().all(|part| part.verified == part.images)
    };
    if let Some(parts) = &parts
        && are_published(parts)
    {
        return Ok((Some(true), parts.clone()));
    }
    let fetched = Provenance::read(dir)?.is_verified(dir, &raw.files)?;
    Ok((Some(parts.is_none() && fetched), parts.unwrap_or_default()))
}

/// As [`Dataset::gather_fitted`], for images `[n, height, width, channels]`. Images that already have the shape do not change.
///
/// # Errors
/// When images have no pixels.
pub(crate) fn fit(images: Vec<u8>, from: InputShape, to: InputShape) -> Result<Vec<u8>> {
    if from == to {
        return Ok(images);
    }
    let mut fitted = vec![0; images.len() / from.len() * to.len()];
    let pairs = fitted.par_chunks_exact_mut(to.len()).zip(images.par_chunks_exact(from.len()));
    pairs.try_for_each(|(fitted, image)| -> Result<()> {
        fitted.copy_from_slice(&fit_one(image, from, to)?);
        Ok(())
    })?;
    Ok(fitted)
}

fn fit_one(image: &[u8], from: InputShape, to: InputShape) -> Result<Vec<u8>> {
    let InputShape { height, width, channels, .. } = from;
    let pixels = match channels {
        1 => image.iter().flat_map(|grey| [*grey; 3]).collect(),
        _ => image.to_vec(),
    };
    Ok(Picture::new(width, height, pixels)?.fit(to))
}

/// The embedded set. Its images never change, so its seed is not a setting.
fn render_demo(count: usize) -> Raw {
    let (images, labels) = demo::render_all(0, count);
    let shape = InputShape::new(demo::SIDE, demo::SIDE, 3);
    let labels = labels.into_iter().map(|label| label as u32).collect();
    Raw::in_memory(shape, images, labels, demo::CLASSES.map(str::to_owned).to_vec())
}

/// All files below a folder, in the natural order of their paths, so that shard-2 comes before shard-10.
fn files_below(dir: &Path, cure: &str) -> Result<Walk> {
    let mut walk = walked(Walk::of(dir), dir, cure)?;
    let names = |path: &Path| path.iter().map(text_of).collect::<Vec<_>>();
    walk.files.sort_by(|a, b| {
        let (a, b) = (names(a), names(b));
        let first = a.iter().zip(&b).map(|(a, b)| dhih_index::natural_order(a, b));
        first.into_iter().find(|order| order.is_ne()).unwrap_or(a.len().cmp(&b.len()))
    });
    Ok(walk)
}

/// A walk of a dataset's folder, or the error that says what the folder should be.
fn walked(walk: std::io::Result<Walk>, dir: &Path, cure: &str) -> Result<Walk> {
    walk.map_err(|error| Error::Data {
        path: dir.to_owned(),
        reason: error.to_string(),
        cure: cure.to_owned(),
    })
}

/// The last component of a path as text.
fn file_name(path: &Path) -> String {
    path.file_name().map(text_of).unwrap_or_default()
}

/// Reads a list of class names, one on each line; `None` where there is no such file. Blank lines cause a warning: at the end of the list they
/// are ignored, and one in between stands for a class that is named by its number.
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

/// Reads a whole file; the error says how to get a missing one.
fn read_file(path: &Path, cure: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::Data {
        path: path.to_owned(),
        reason: error.to_string(),
        cure: cure.to_owned(),
    })
}
