//! What a walk leaves out, and why: typed reasons, their counts, and the list of faults.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::names::text_of;
use super::{faults_of, has_picture_ending};
use crate::error::{Error, Result};

/// Why an entry of a folder is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Its name begins with a dot.
    #[error("its name begins with a dot")]
    Hidden,
    /// A folder that a system or an editor made.
    #[error("a folder that a system or an editor made")]
    HelperFolder,
    /// A link to a file or folder that was reached by another path before.
    #[error("a link to what was reached before")]
    Repeated,
    /// A file of another kind than the walk looks for, whose extension is not that of this kind either.
    #[error("a file of another kind")]
    OtherFile,
    /// A class without files.
    #[error("a class folder without pictures")]
    EmptyClass,
    /// A picture without a class.
    #[error("a picture without a class")]
    NoClass,
    /// A picture whose classes all have too few pictures.
    #[error("a picture whose classes have too few pictures")]
    SmallClass,
    /// A link whose target does not exist, or that leads to itself.
    #[error("a link that leads nowhere: {cause}")]
    DanglingLink {
        /// What the operating system reported.
        cause: String,
    },
    /// A file or folder that the user may not read, or that the disk fails to read.
    #[error("it cannot be read: {cause}")]
    Unreadable {
        /// What the operating system reported.
        cause: String,
    },
    /// A pipe, socket or device.
    #[error("it is a pipe, a socket or a device, not a file")]
    NotAFile,
    /// A file that is longer than any picture within the limits.
    #[error(
        "it has more than {} MiB, more than any picture within --max-pixels; raise that to take it",
        most_bytes >> 20
    )]
    TooLong {
        /// The limit: [`Limits::max_file_bytes`](crate::image::Limits::max_file_bytes).
        most_bytes: u64,
    },
    /// A file with the extension of a picture, whose first bytes are not those of one.
    #[error("not a picture by its content, though its ending says so")]
    NotAPicture,
    /// A picture that cannot be decoded.
    #[error("{cause}")]
    Broken {
        /// What the decoder reported.
        cause: String,
    },
}

impl Reason {
    /// The reason for a file or folder that cannot be read.
    pub fn unreadable(error: &io::Error) -> Self {
        Self::Unreadable { cause: error.to_string() }
    }

    /// The reason for a picture that cannot be decoded. The message of the decoder may quote the file, so that control characters are escaped.
    pub fn broken(error: impl ToString) -> Self {
        Self::Broken { cause: text_of(OsStr::new(&error.to_string())) }
    }

    /// The reason for a file whose content is not a picture.
    pub(super) fn of_other_content(path: &Path) -> Self {
        if has_picture_ending(path) { Self::NotAPicture } else { Self::OtherFile }
    }

    /// The name of the reason in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::HelperFolder => "helper_folder",
            Self::Repeated => "repeated",
            Self::OtherFile => "other_file",
            Self::EmptyClass => "empty_class",
            Self::NoClass => "no_class",
            Self::SmallClass => "small_class",
            Self::DanglingLink { .. } => "dangling_link",
            Self::Unreadable { .. } => "unreadable",
            Self::NotAFile => "not_a_file",
            Self::TooLong { .. } => "too_long",
            Self::NotAPicture => "not_a_picture",
            Self::Broken { .. } => "broken",
        }
    }

    /// Whether this is a fault that the user should know of. Faults are listed one by one, and `--strict` refuses them.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Hidden
            | Self::HelperFolder
            | Self::Repeated
            | Self::OtherFile
            | Self::EmptyClass
            | Self::NoClass
            | Self::SmallClass => false,
            Self::DanglingLink { .. }
            | Self::Unreadable { .. }
            | Self::NotAFile
            | Self::TooLong { .. }
            | Self::NotAPicture
            | Self::Broken { .. } => true,
        }
    }
}

/// An entry that is left out for a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, which begins with the root as it was given.
    pub path: PathBuf,
    /// Why it is left out.
    pub reason: Reason,
}

/// What is left out: the number of entries for each reason, and a list of the faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    counts: BTreeMap<&'static str, usize>,
    /// The names of folders that are left out by their name, and of classes without pictures.
    named: BTreeMap<&'static str, BTreeSet<String>>,
    faults: Vec<Entry>,
}

/// The most names, or faults in an error, that are shown.
const SHOWN: usize = 5;

impl Serialize for LeftOut {
    /// As a map from reasons to numbers of entries.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.counts.serialize(serializer)
    }
}

impl LeftOut {
    /// Adds an entry.
    pub fn push(&mut self, path: PathBuf, reason: Reason) {
        *self.counts.entry(reason.name()).or_default() += 1;
        if matches!(reason, Reason::HelperFolder | Reason::EmptyClass) {
            let name = text_of(path.file_name().unwrap_or_else(|| OsStr::new("")));
            self.named.entry(reason.name()).or_default().insert(name);
        }
        if reason.is_fault() {
            self.faults.push(Entry { path, reason });
        }
    }

    /// Counts entries that have no path of their own, such as rows of a table.
    pub fn add(&mut self, reason: &Reason, count: usize) {
        if count > 0 {
            *self.counts.entry(reason.name()).or_default() += count;
        }
    }

    /// Adds all entries of another walk.
    pub fn append(&mut self, other: Self) {
        for (name, count) in other.counts {
            *self.counts.entry(name).or_default() += count;
        }
        for (name, names) in other.named {
            self.named.entry(name).or_default().extend(names);
        }
        self.faults.extend(other.faults);
    }

    /// The number of entries that are left out for this reason, whatever its cause.
    pub fn count(&self, reason: &Reason) -> usize {
        self.counts.get(reason.name()).copied().unwrap_or_default()
    }

    /// The number of entries for each reason, by the names of the reasons in JSON.
    pub fn counts(&self) -> &BTreeMap<&'static str, usize> {
        &self.counts
    }

    /// The number of all entries.
    pub fn len(&self) -> usize {
        self.counts.values().sum()
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The entries that are left out for a fault, in the order in which they were found.
    pub fn faults(&self) -> &[Entry] {
        &self.faults
    }

    /// One line for people, such as `left out: 3 hidden, 2 helper folder (@eaDir)`; `None` where nothing is left out.
    pub fn summary(&self) -> Option<String> {
        let one = |(name, count): (&&str, &usize)| {
            let names = self.named.get(name).map(|names| {
                let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
                let more = if names.len() > SHOWN { ", ..." } else { "" };
                format!(" ({}{more})", shown.join(", "))
            });
            format!("{count} {}{}", name.replace('_', " "), names.unwrap_or_default())
        };
        let counts: Vec<String> = self.counts.iter().map(one).collect();
        (!counts.is_empty()).then(|| format!("left out: {}", counts.join(", ")))
    }

    /// As [`refuse_faults`](Self::refuse_faults), and refuses pictures that cannot be used ([`faults_of`]), before any of them is decoded. They
    /// are not added: whoever reads the pictures adds them.
    ///
    /// # Errors
    /// [`Error::LeftOut`] with the first faults.
    pub fn refuse_faults_and(&self, pictures: &[PathBuf]) -> Result<()> {
        let mut all = self.clone();
        all.append(faults_of(pictures));
        all.refuse_faults()
    }

    /// Checks, for `--strict`, that nothing is left out for a fault.
    ///
    /// # Errors
    /// [`Error::LeftOut`] with the first faults.
    pub fn refuse_faults(&self) -> Result<()> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let first = self
            .faults
            .iter()
            .take(SHOWN)
            .map(|Entry { path, reason }| format!("{}: {reason}", text_of(path.as_os_str())));
        let first = first.collect::<Vec<_>>().join("; ");
        let more = if self.faults.len() > SHOWN { "; ..." } else { "" };
        Err(Error::LeftOut { count: self.faults.len(), first: first + more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_faults_are_listed() {
        let mut left_out = LeftOut::default();
        assert_eq!((left_out.summary(), left_out.refuse_faults().is_ok()), (None, true));
        for path in ["a/@eaDir", "b/@eaDir", "lost+found"] {
            left_out.push(path.into(), Reason::HelperFolder);
        }
        left_out.push("a/.x".into(), Reason::Hidden);
        assert!(left_out.refuse_faults().is_ok());
        assert_eq!(
            left_out.summary().unwrap(),
            "left out: 3 helper folder (@eaDir, lost+found), 1 hidden"
        );
        let mut other = LeftOut::default();
        for i in 0..6 {
            other.push(format!("{i}.jpg").into(), Reason::NotAPicture);
        }
        left_out.append(other);
        left_out.add(&Reason::SmallClass, 0);
        left_out.add(&Reason::NoClass, 2);
        assert_eq!((left_out.len(), left_out.faults().len()), (12, 6));
        let names: Vec<_> = left_out.counts().keys().copied().collect();
        assert_eq!(names, ["helper_folder", "hidden", "no_class", "not_a_picture"]);
        let error = left_out.refuse_faults().unwrap_err().to_string();
        assert!(error.contains("(6)") && error.contains("4.jpg: not a picture"), "{error}");
        assert!(!error.contains("5.jpg") && error.contains("--strict"), "{error}");
    }
}
