//! Where a dataset is, and how it is to be read.

use std::path::PathBuf;
use std::sync::Arc;

use dhih_model::InputShape;
use dhih_model::image::{Limits, PictureReader};
use dhih_model::walk::text_of;

use super::DatasetName;
use crate::intake::pixels::Intake;
use crate::progress::Progress;

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
    /// Whether a file or folder that is left out for a fault is an error.
    pub strict: bool,
    /// Images that a class needs; classes with fewer are dropped, and with them the images that have no other class.
    pub min_class_images: usize,
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
