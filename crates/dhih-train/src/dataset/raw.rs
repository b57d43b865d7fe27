//! The output of a reader, and its checks. `digest.rs` has its digest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dhih_model::InputShape;
use dhih_model::walk::{Entry, LeftOut};

use super::Lists;
use super::classes::{UsedClasses, too_few_classes, used_classes};
use super::labels::ClassLabels;
use super::warning::Warning;
use crate::error::{Error, Result};
use crate::intake::pixels::{self, Intake, Loaded, Pixels};
use crate::intake::source::Source;

/// The unchecked output of a reader.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) shape: InputShape,
    pub(super) pixels: Pixels,
    pub(super) labels: ClassLabels,
    pub(super) classes: Vec<String>,
    pub(super) official_train: Option<usize>,
    /// The number of images, at the end, in the official validation part.
    pub(super) official_validation: usize,
    pub(super) lists: Option<Lists>,
    pub(super) skipped: Vec<Entry>,
    /// What the walk of the dataset's folder left out.
    pub(super) left_out: LeftOut,
    /// Oddities of the set.
    pub(super) warnings: Vec<Warning>,
    /// The files that were read, relative to the dataset's folder.
    pub(super) files: Vec<PathBuf>,
    /// The digest of the encoded pictures; absent where the images have one shape by nature and were never scaled.
    pub(super) encoded: Option<[u8; 32]>,
}

/// Pictures and their classes, collected by a reader.
#[derive(Default)]
pub(super) struct Pictures {
    pub(super) sources: Vec<Source>,
    pub(super) labels: Vec<Vec<u32>>,
    /// The number of pictures, from the first, in the official training part.
    pub(super) official_train: Option<usize>,
    /// The number of pictures, at the end, in the official validation part.
    pub(super) official_validation: usize,
    /// Pictures that the reader found to be unusable, with the reason.
    pub(super) skipped: Vec<Entry>,
    /// Oddities that the reader found.
    pub(super) warnings: Vec<Warning>,
    /// The parts as lists, in any order.
    pub(super) lists: Option<Lists>,
    /// What the walk of the dataset's folder left out.
    pub(super) left_out: LeftOut,
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

impl Raw {
    /// A set of pixels in memory, with one class for each image.
    pub(super) fn in_memory(
        shape: InputShape,
        images: Vec<u8>,
        labels: Vec<u32>,
        classes: Vec<String>,
    ) -> Self {
        Self {
            shape,
            pixels: Pixels::Memory(images),
            labels: ClassLabels::Single(labels),
            classes,
            official_train: None,
            official_validation: 0,
            lists: None,
            skipped: Vec::new(),
            left_out: LeftOut::default(),
            warnings: Vec::new(),
            files: Vec::new(),
            encoded: None,
        }
    }

    /// A set of pictures of any size. Unusable pictures are skipped and listed, and removed from every part. Classes without a usable picture
    /// are removed with a warning. Labels are single where every picture has exactly one.
    ///
    /// # Errors
    /// When fewer than two classes have a usable picture, or a label is not among the classes.
    pub(super) fn of_pictures(
        pictures: Pictures,
        classes: Vec<String>,
        intake: &Intake,
        (dir, cure): (&Path, &str),
    ) -> Result<Self> {
        let wrong =
            |reason: String| Error::Data { path: dir.to_owned(), reason, cure: cure.to_owned() };
        let Pictures {
            sources,
            mut labels,
            official_train,
            official_validation,
            skipped: mut all_skipped,
            mut warnings,
            lists,
            left_out,
        } = pictures;
        let count = sources.len();
        let Loaded { pixels, kept, skipped, digest } = pixels::load(sources, intake)?;
        let shape = intake.shape;
        all_skipped.extend(skipped);
        let labels: Vec<_> = kept.iter().map(|i| std::mem::take(&mut labels[*i])).collect();
        let used = used_classes(classes, labels).map_err(wrong)?;
        if used.names.len() < 2 {
            return Err(wrong(too_few_classes(&used, &all_skipped, dir)));
        }
        let UsedClasses { names: classes, empty, labels } = used;
        if !empty.is_empty() {
            warnings.push(Warning::EmptyClasses { classes: empty });
        }
        let without_class = labels.iter().filter(|labels| labels.is_empty()).count();
        if without_class > 0 {
            warnings.push(Warning::WithoutClass { count: without_class });
        }
        // Rows are renumbered without the skipped pictures.
        let official_train = official_train.map(|count| kept.partition_point(|i| *i < count));
        let before_validation = kept.partition_point(|i| *i < count - official_validation);
        let official_validation = kept.len() - before_validation;
        let renumbered = |rows: Vec<usize>| {
            let rows = rows.into_iter().filter_map(|row| kept.binary_search(&row).ok());
            rows.collect::<BTreeSet<_>>().into_iter().collect()
        };
        let lists = lists.map(|Lists { train, database, queries, validation }| Lists {
            train: renumbered(train),
            database: renumbered(database),
            queries: renumbered(queries),
            validation: renumbered(validation),
        });
        Ok(Self {
            shape,
            pixels,
            labels: labels_of(labels),
            classes,
            official_train,
            official_validation,
            lists,
            skipped: all_skipped,
            left_out,
            warnings,
            files: Vec::new(),
            encoded: Some(digest),
        })
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
            Pixels::Cached { rows, .. } => rows.len(),
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
}

/// Single labels where each image has exactly one.
fn labels_of(sets: Vec<Vec<u32>>) -> ClassLabels {
    match sets.iter().all(|set| set.len() == 1) {
        true => ClassLabels::Single(sets.into_iter().flatten().collect()),
        false => ClassLabels::Multiple(sets),
    }
}
