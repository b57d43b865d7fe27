//! The classes of a set of pictures: their names, and the numbers of those that occur. Classes of a row: `labels.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Lists;
use super::labels::ClassLabels;
use super::raw::{Pictures, Raw};
use super::warning::Warning;
use crate::error::{Error, Result};

/// The names of the classes of pictures whose labels are numbers: the known ones, which count from 0; or else, of each number that occurs, the
/// number itself, and the pictures' labels are renumbered without gaps.
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

/// Classes that occur, with the labels in their numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UsedClasses {
    /// Names of the classes that occur.
    pub(super) names: Vec<String>,
    /// Names of the others.
    pub(super) empty: Vec<String>,
    /// Classes of each picture.
    pub(super) labels: Vec<Vec<u32>>,
}

/// Leaves out the classes that no picture has, and numbers the others anew in their order.
///
/// # Errors
/// The reason, where a label is beyond the names.
pub(super) fn used_classes(
    names: Vec<String>,
    mut labels: Vec<Vec<u32>>,
) -> Result<UsedClasses, String> {
    let mut used = vec![false; names.len()];
    for class in labels.iter().flatten() {
        match used.get_mut(*class as usize) {
            Some(used) => *used = true,
            None => return Err(beyond(*class, names.len(), &labels)),
        }
    }
    let mut number = 0;
    let numbers: Vec<u32> = used
        .iter()
        .map(|is_used| {
            number += u32::from(*is_used);
            number.saturating_sub(1)
        })
        .collect();
    for class in labels.iter_mut().flatten() {
        *class = numbers[*class as usize];
    }
    let (mut kept, mut empty) = (Vec::new(), Vec::new());
    for (name, is_used) in names.into_iter().zip(used) {
        if is_used { kept.push(name) } else { empty.push(name) }
    }
    Ok(UsedClasses { names: kept, empty, labels })
}

fn beyond(class: u32, classes: usize, labels: &[Vec<u32>]) -> String {
    let begins_at_one = labels.iter().flatten().min() == Some(&1) && class as usize == classes;
    let hint = match begins_at_one {
        true => {
            " (names are counted from 0, and the labels begin at 1: subtract 1 from them, or give the class 0 a name)"
        }
        false => "",
    };
    format!("label {class}, but there are {classes} classes{hint}")
}

/// Why there are too few classes: their number, and the first of the classes without a usable picture.
pub(super) fn too_few_classes(
    used: &UsedClasses,
    skipped: &[(PathBuf, String)],
    dir: &Path,
) -> String {
    let reason = format!("it has {} classes, at least 2 are needed", used.names.len());
    let Some(name) = used.empty.first() else { return reason };
    let first = skipped.iter().find(|(path, _)| path.starts_with(dir.join(name)));
    let first = first.or(skipped.first());
    let why = first.map(|(path, why)| format!(" ({}: {why})", path.display()));
    format!("{reason}: class {name:?} has no usable image{}", why.unwrap_or_default())
}

impl Raw {
    /// Drops the classes that have fewer than `least` images, and the images all of whose classes are dropped, and warns of both.
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
        self.warnings.push(Warning::SmallClasses { classes: empty, images: dropped });
        self.classes = names;
        self.labels = match self.labels {
            ClassLabels::Single(_) => ClassLabels::Single(labels.into_iter().flatten().collect()),
            ClassLabels::Multiple(_) => ClassLabels::Multiple(labels),
        };
        self.retain(&kept, count);
        Ok(self)
    }

    /// Keeps the pixels of some of `count` images, and numbers the rows of the parts anew.
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
