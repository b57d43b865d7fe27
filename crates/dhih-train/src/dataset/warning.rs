//! Oddities of a dataset that do not prevent its use. They appear in the summary of a run and are recorded in its files. What makes a dataset
//! unusable is an error, and a picture that cannot be read is in `Dataset::skipped`.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An oddity of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// Classes that have a name but no usable picture; they are removed.
    EmptyClasses {
        /// Their names.
        classes: Vec<String>,
    },
    /// Class numbers begin at 1, and no names of classes are known; each class is named by its number.
    LabelsBeginAtOne,
    /// Class numbers without names have gaps; each class is named by its number.
    LabelsHaveGaps {
        /// How many numbers below the highest are not used.
        missing: u64,
    },
    /// Lines of a list of class names are blank. They were ignored, or stand for classes without a name.
    BlankLines {
        /// The list.
        path: PathBuf,
        /// How many of its lines are blank.
        count: usize,
    },
    /// Rows or lines have no label; their pictures are left out.
    Unlabelled {
        /// The file.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// The first of them: a row counted from 0, or a line counted from 1.
        first: usize,
    },
    /// Pictures that show none of the classes, in a set with several labels for each picture; they are kept.
    WithoutClass {
        /// How many there are.
        count: usize,
    },
    /// Classes that were removed because they have fewer pictures than `--min-class-images`.
    SmallClasses {
        /// Their names.
        classes: Vec<String>,
        /// Pictures that are left out because all their classes were removed.
        images: usize,
    },
}

/// The most names that a message lists; it tells how many more there are.
const SHOWN: usize = 10;

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::EmptyClasses { classes } => {
                let (count, names) = (classes.len(), listed(classes));
                write!(f, "{count} classes have no usable picture and are left out: {names}")
            }
            Self::LabelsBeginAtOne => {
                write!(f, "class numbers begin at 1, not at 0; each class is named by its number")
            }
            Self::LabelsHaveGaps { missing } => write!(
                f,
                "{missing} class numbers below the highest do not occur; each class is named by its number"
            ),
            Self::BlankLines { path, count } => {
                write!(f, "{count} lines of {} are blank", path.display())
            }
            Self::Unlabelled { path, count, first } => write!(
                f,
                "{count} pictures of {} have no label and are left out; the first is at {first}",
                path.display()
            ),
            Self::WithoutClass { count } => {
                write!(f, "{count} pictures show none of the classes; they are kept as such")
            }
            Self::SmallClasses { classes, images } => write!(
                f,
                "{} classes have too few pictures and are dropped, and with them {images} pictures: {}",
                classes.len(),
                listed(classes)
            ),
        }
    }
}
