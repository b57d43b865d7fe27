//! What a reader returns, its checks, and its digest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dhih_model::InputShape;
use sha2::{Digest, Sha256};

use super::Lists;
use super::labels::ClassLabels;
use crate::error::{Error, Result};
use crate::intake::pixels::{self, Intake, Loaded, Pixels, Source};

/// What a reader returns, not yet checked.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) shape: InputShape,
    pub(super) pixels: Pixels,
    pub(super) labels: ClassLabels,
    pub(super) classes: Vec<String>,
    pub(super) official_train: Option<usize>,
    pub(super) lists: Option<Lists>,
    pub(super) skipped: Vec<(PathBuf, String)>,
    /// The files that were read, relative to the dataset's folder.
    pub(super) files: Vec<PathBuf>,
    /// Of encoded pictures, where pixels are not in memory.
    pub(super) encoded: Option<[u8; 32]>,
}

/// Pictures and their classes, in the making.
#[derive(Default)]
pub(super) struct Pictures {
    pub(super) sources: Vec<Source>,
    pub(super) labels: Vec<Vec<u32>>,
    /// How many, from the first, are the official training part.
    pub(super) official_train: Option<usize>,
    /// The parts by lists, in any order.
    pub(super) lists: Option<Lists>,
}

impl Pictures {
    pub(super) fn push(&mut self, source: Source, labels: Vec<u32>) {
        self.sources.push(source);
        self.labels.push(labels);
    }

    pub(super) fn len(&self) -> usize {
        self.sources.len()
    }
}

/// The known names, or the numbers of all classes up to the highest.
pub(super) fn class_names(labels: &[Vec<u32>], known: Option<Vec<String>>) -> Vec<String> {
    let highest = labels.iter().flatten().max().map_or(0, |highest| *highest as usize + 1);
    known.unwrap_or_else(|| (0..highest).map(|class| class.to_string()).collect())
}

impl Raw {
    /// Of pixels in memory, one class an image.
    pub(super) fn in_memory(
        shape: InputShape,
        images: Vec<u8>,
        labels: Vec<u32>,
        classes: Vec<String>,
    ) -> Self {
        let (official_train, lists, encoded) = (None, None, None);
        let (skipped, files) = (Vec::new(), Vec::new());
        let (pixels, labels) = (Pixels::Memory(images), ClassLabels::Single(labels));
        Self { shape, pixels, labels, classes, official_train, lists, skipped, files, encoded }
    }

    /// Of pictures of any size. Those that cannot be used are skipped and listed, and left out of every part. Labels are single
    /// where every picture has exactly one.
    ///
    /// # Errors
    /// When there are fewer than two classes, or a class has no usable picture.
    pub(super) fn of_pictures(
        pictures: Pictures,
        classes: Vec<String>,
        intake: &Intake,
        (dir, cure): (&Path, &str),
    ) -> Result<Self> {
        let wrong =
            |reason: String| Error::Data { path: dir.to_owned(), reason, cure: cure.to_owned() };
        if classes.len() < 2 {
            return Err(wrong(format!("it has {} classes, at least 2 are needed", classes.len())));
        }
        let Pictures { sources, mut labels, official_train, lists } = pictures;
        let Loaded { pixels, kept, skipped, digest } = pixels::load(sources, intake)?;
        let shape = intake.shape;
        let labels: Vec<_> = kept.iter().map(|i| std::mem::take(&mut labels[*i])).collect();
        let mut used = vec![false; classes.len()];
        for class in labels.iter().flatten() {
            match used.get_mut(*class as usize) {
                Some(used) => *used = true,
                None => {
                    let reason = format!("label {class}, but there are {} classes", used.len());
                    return Err(wrong(reason));
                }
            }
        }
        if let Some(class) = used.iter().position(|used| !used) {
            let name = &classes[class];
            let first = skipped.iter().find(|(path, _)| path.starts_with(dir.join(name)));
            let first = first.or(skipped.first());
            let why = first.map(|(path, why)| format!(" ({}: {why})", path.display()));
            let reason = format!("class {name:?} has no usable image{}", why.unwrap_or_default());
            return Err(wrong(reason));
        }
        // Rows are numbered anew without the pictures that were skipped.
        let official_train = official_train.map(|count| kept.partition_point(|i| *i < count));
        let renumbered = |rows: Vec<usize>| {
            let rows = rows.into_iter().filter_map(|row| kept.binary_search(&row).ok());
            rows.collect::<BTreeSet<_>>().into_iter().collect()
        };
        let lists = lists.map(|Lists { train, database, queries }| Lists {
            train: renumbered(train),
            database: renumbered(database),
            queries: renumbered(queries),
        });
        let (labels, files, encoded) = (labels_of(labels), Vec::new(), digest);
        Ok(Self { shape, pixels, labels, classes, official_train, lists, skipped, files, encoded })
    }

    pub(super) fn check(&self, dir: &Path) -> Result<()> {
        let wrong = |reason: String, cure: &str| {
            Err(Error::Data { path: dir.to_owned(), reason, cure: cure.to_owned() })
        };
        if self.labels.is_empty() {
            return wrong("it holds no image".into(), "add images");
        }
        let images = match &self.pixels {
            Pixels::Memory(images) if !images.len().is_multiple_of(self.shape.len()) => {
                return wrong("its last image is cut short".into(), "fetch it again");
            }
            Pixels::Memory(images) => images.len() / self.shape.len(),
            Pixels::Cached(cache) => cache.len(),
            Pixels::Stream { sources, .. } => sources.len(),
        };
        if images != self.labels.len() {
            let labels = self.labels.len();
            return wrong(format!("{images} images but {labels} labels"), "fetch it again");
        }
        let classes = self.classes.len();
        for i in 0..images {
            if let Some(label) = self.labels.of(i).iter().find(|label| **label as usize >= classes)
            {
                let reason =
                    format!("image {i} has label {label}, but there are {classes} classes");
                return wrong(reason, "fetch it again");
            }
        }
        Ok(())
    }

    /// SHA-256 over shape, labels, and pixels or encoded pictures, in hex.
    pub(super) fn digest(&self) -> String {
        let InputShape { height, width, channels } = self.shape;
        let mut hash = Sha256::new();
        hash.update(format!("{height} {width} {channels} {}\n", self.labels.len()));
        match &self.labels {
            ClassLabels::Single(labels) => {
                labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
            }
            ClassLabels::Multiple(labels) => {
                for labels in labels {
                    hash.update((labels.len() as u32).to_le_bytes());
                    labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
                }
            }
        }
        match (&self.pixels, &self.encoded) {
            (Pixels::Memory(images), _) => hash.update(images),
            (Pixels::Cached(_) | Pixels::Stream { .. }, encoded) => {
                hash.update(encoded.unwrap_or_default())
            }
        }
        dhih_index::to_hex(&hash.finalize())
    }
}

/// Single labels where each image has exactly one.
fn labels_of(sets: Vec<Vec<u32>>) -> ClassLabels {
    match sets.iter().all(|set| set.len() == 1) {
        true => ClassLabels::Single(sets.into_iter().flatten().collect()),
        false => ClassLabels::Multiple(sets),
    }
}
