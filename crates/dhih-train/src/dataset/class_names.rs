//! Names of classes whose labels are numbers, and the removal of classes with too few images. `classes.rs` finds the classes that occur.

use std::collections::BTreeSet;
use std::path::Path;

use dhih_model::walk::Reason;

use super::Lists;
use super::classes::{UsedClasses, used_classes};
use super::labels::ClassLabels;
use super::raw::{Pictures, Raw};
use super::warning::Warning;
use crate::error::{Error, Result};

/// The names of classes of pictures whose labels are numbers. With known names, labels count from 0. Otherwise each number that occurs becomes a
/// name, and the labels of the pictures are renumbered without gaps.
pub(super) fn class_names(pictures: &mut Pictures, known: Option<Vec<String>>) -> Vec<String> {
    if let Some(known) = known {
        return known;
    }
    let used: BTreeSet<u32> = pictures.labels.iter().flatten().copied().collect();
    let used: Vec<u32> = used.into_iter().collect();
    let highest = used.last().map_or(0, |highest| u64::from(*highest) + 1);
    let missing = highest - used.len() as u64;
    if missing > 0 {
        let begins_at_one = missing == 1 && used.first() == Some(&1);
        pictures.warnings.push(match begins_at_one {
            true => Warning::LabelsBeginAtOne,
            false => Warning::LabelsHaveGaps { missing },
        });
        for label in pictures.labels.iter_mut().flatten() {
            *label = used.binary_search(label).unwrap_or_default() as u32;
        }
    }
    used.iter().map(u32::to_string).collect()
}

impl Raw {
    /// Removes the classes with fewer than `least` images, and the images whose classes are all removed, with warnings.
    ///
    /// # Errors
    /// When fewer than two classes remain.
    pub(super) fn without_small_classes(mut self, least: usize, dir: &Path) -> Result<Self> {
        let mut images = vec![0; self.classes.len()];
        let count = self.labels.len();
        for row in 0..count {
            self.labels.of(row).iter().for_each(|class| images[*class as usize] += 1);
        }
        if images.iter().all(|images| *images >= least) {
            return Ok(self);
        }
        let is_large = |class: &u32| images[*class as usize] >= least;
        let kept: Vec<usize> = (0..count)
            .filter(|row| {
                let labels = self.labels.of(*row);
                labels.is_empty() || labels.iter().any(is_large)
            })
            .collect();
        let large = |row: &usize| self.labels.of(*row).iter().copied().filter(is_large).collect();
        let labels: Vec<Vec<u32>> = kept.iter().map(large).collect();
        let used = used_classes(std::mem::take(&mut self.classes), labels).map_err(|reason| {
            Error::Data { path: dir.to_owned(), reason, cure: FEWER.to_owned() }
        })?;
        let UsedClasses { names, empty, labels } = used;
        if names.len() < 2 {
            let reason = format!("{} of its classes have at least {least} images", names.len());
            return Err(Error::Data { path: dir.to_owned(), reason, cure: FEWER.to_owned() });
        }
        let dropped = count - kept.len();
        self.left_out.add(&Reason::SmallClass, dropped);
        self.warnings.push(Warning::SmallClasses { classes: empty, images: dropped });
        self.classes = names;
        self.labels = match self.labels {
            ClassLabels::Single(_) => ClassLabels::Single(labels.into_iter().flatten().collect()),
            ClassLabels::Multiple(_) => ClassLabels::Multiple(labels),
        };
        self.retain(&kept, count);
        Ok(self)
    }

    /// Keeps the pixels of some of `count` images, and renumbers the rows of the parts.
    fn retain(&mut self, kept: &[usize], count: usize) {
        self.pixels.retain(kept, self.shape.len());
        let before = |end: usize| kept.partition_point(|row| *row < end);
        self.official_train = self.official_train.map(before);
        self.official_validation = kept.len() - before(count - self.official_validation);
        let renumber = |rows: &mut Vec<usize>| {
            *rows = rows.iter().filter_map(|row| kept.binary_search(row).ok()).collect();
        };
        if let Some(Lists { train, database, queries, validation }) = &mut self.lists {
            [train, database, queries, validation].into_iter().for_each(renumber);
        }
    }
}

/// What to do where too few classes are large enough.
const FEWER: &str = "give --min-class-images a lower number";
