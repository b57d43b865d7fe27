//! The parts in which a set is published, and the names of folders and files that denote them. `csv_columns.rs` has the parts of a list.

use std::ffi::OsStr;
use std::path::Path;

/// A part of a set. The order is that of their rows in the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Train,
    Test,
    Validation,
}

impl Part {
    /// The part that a folder of this name contains.
    pub(super) fn of_folder(name: &OsStr) -> Option<Self> {
        match name.to_ascii_lowercase().to_str()? {
            "train" => Some(Self::Train),
            "test" => Some(Self::Test),
            "val" | "valid" | "validation" | "dev" => Some(Self::Validation),
            _ => None,
        }
    }

    /// The part that a name denotes by one of its words. Among words of several parts, test comes before validation and validation before
    /// training, so that nothing that may be tested on is trained on.
    fn named(name: &str) -> Option<Self> {
        let lower = name.to_lowercase();
        let has = |wanted: &[&str]| {
            lower.split(|c: char| !c.is_alphabetic()).any(|word| wanted.contains(&word))
        };
        let parts = [
            (Self::Test, &["test", "testing", "eval", "evaluation"][..]),
            (Self::Validation, &["validation", "valid", "val", "dev"]),
            (Self::Train, &["train", "training"]),
        ];
        parts.into_iter().find(|(_, words)| has(words)).map(|(part, _)| part)
    }

    /// The part of a file below `dir`. Its own name counts first, then the name of its folder, and then that of the folder above.
    pub(super) fn of_file(file: &Path, dir: &Path) -> Self {
        let relative = file.strip_prefix(dir).unwrap_or(file);
        let mut names = relative.components().rev().map(|name| name.as_os_str().to_string_lossy());
        names.find_map(|name| Self::named(&name)).unwrap_or(Self::Train)
    }
}
