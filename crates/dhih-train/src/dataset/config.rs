//! The place of a dataset, and how it is read.

use std::path::PathBuf;
use std::sync::Arc;

use dhih_model::InputShape;
use dhih_model::image::{Limits, PictureReader};
use dhih_model::walk::text_of;

use super::DatasetName;
use crate::intake::pixels::Intake;
use crate::progress::Progress;

/// The place of a dataset, and how it is read.
#[derive(Debug, Clone)]
pub struct DatasetConfig {
    /// Its folder.
    pub dir: PathBuf,
    /// The number of images of the demo set.
    pub demo_images: usize,
    /// The size to which pictures of any size are brought.
    pub picture_shape: InputShape,
    /// The most bytes of pixels that are kept in memory. Otherwise each picture is decoded whenever it is needed.
    pub memory: usize,
    /// Whether a file or folder that is left out for a fault is an error.
    pub strict: bool,
    /// The fewest images of a class. Smaller classes are removed, together with the images that have no other class.
    pub min_class_images: usize,
    /// The limits of a picture.
    pub limits: Limits,
    /// The folder in which decoded pictures are kept for the next run; without one they are decoded again.
    pub cache: Option<PathBuf>,
    /// How the progress of decoding is shown.
    pub progress: Progress,
}

impl Default for DatasetConfig {
    /// The demo set, and pictures of 32 x 32 pixels, kept in memory up to 4 GiB, without a cache.
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            demo_images: 10_000,
            picture_shape: InputShape::new(32, 32, 3),
            memory: 4 << 30,
            strict: false,
            min_class_images: 0,
            limits: Limits::files(),
            cache: None,
            progress: Progress::Silent,
        }
    }
}

impl DatasetConfig {
    /// How the pictures of a dataset are read.
    pub(super) fn intake(&self, name: DatasetName) -> Intake {
        let dir = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
        Intake {
            shape: self.picture_shape,
            memory: self.memory,
            reader: Arc::new(PictureReader::new(self.limits.clone())),
            cache: self.cache.clone(),
            source: format!("{} {}", name.name(), text_of(dir.as_os_str())),
            progress: self.progress,
        }
    }
}
