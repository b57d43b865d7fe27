//! `OpenOptions`: additional work on the files of an index when it is opened, beyond reading their headers.

use std::path::Path;

use crate::error::Result;
use crate::index::Index;
use crate::index::component::Component;
use crate::store::format;

/// How an index is opened, after the manner of [`std::fs::OpenOptions`]. Without options it opens as [`Index::open`] does: at once,
/// whatever its size.
///
/// ```
/// use dhih_index::{CodeSet, Codes, IndexBuilder, OpenOptions, Verify};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// IndexBuilder::default().build(&CodeSet::new(Codes::new(8, vec![1, 2, 3])?), &dir)?;
/// let index = OpenOptions::new().verify(Verify::Checksums).populate(true).open(&dir)?;
/// assert_eq!(index.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOptions {
    verify: Verify,
    populate: bool,
    lock: bool,
    on_disk: bool,
    huge_pages: bool,
}

/// The checks when an index is opened.
///
/// ```
/// use dhih_index::{CodeSet, Codes, IndexBuilder, OpenOptions, Verify};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// assert_eq!(OpenOptions::new().verify(Verify::All).open(&dir)?.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verify {
    /// Manifest and log as a whole, and the header of each segment.
    #[default]
    Headers,
    /// Also the checksum of every section: each byte is read once.
    Checksums,
    /// All that [`Index::verify`] checks.
    All,
}

impl OpenOptions {
    /// Options that do nothing beyond [`Index::open`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks the contents, too.
    #[must_use]
    pub fn verify(self, verify: Verify) -> Self {
        Self { verify, ..self }
    }

    /// Brings the segments into the page cache and maps their pages, so that the first searches need not wait for the disk.
    #[must_use]
    pub fn populate(self, populate: bool) -> Self {
        Self { populate, ..self }
    }

    /// For an index that is larger than memory. Searches read no more pages than they need, and ask for those of a step together, so that
    /// the disk reads them at the same time. An index that fits into memory gets there sooner without this, because the system reads ahead.
    #[must_use]
    pub fn on_disk(self, on_disk: bool) -> Self {
        Self { on_disk, ..self }
    }

    /// Keeps the segments in memory as long as the index is open (`mlock`); the system's limit must allow it.
    #[must_use]
    pub fn lock(self, lock: bool) -> Self {
        Self { lock, ..self }
    }

    /// Copies the segments into memory on large pages, where the system has them: [`Index::into_memory`].
    #[must_use]
    pub fn huge_pages(self, huge_pages: bool) -> Self {
        Self { huge_pages, ..self }
    }

    /// Opens the index in a directory.
    ///
    /// # Errors
    /// As for [`Index::open`]; what is checked and found wrong; memory that the system does not give or lock.
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<Index> {
        let mut index = Index::open(dir)?;
        if self.huge_pages {
            index = index.into_memory()?;
        }
        if self.on_disk && !self.huge_pages {
            index.keep_on_disk();
        }
        let segments = index.components.iter().filter_map(Component::segment);
        for segment in segments.clone() {
            if self.populate && !self.huge_pages {
                segment.populate();
            }
            if self.lock {
                segment.lock()?;
            }
        }
        match self.verify {
            Verify::Headers => {}
            Verify::Checksums => {
                for segment in segments {
                    format::verify(&segment.path, segment.file(), &segment.header)?;
                }
            }
            Verify::All => {
                index.verify()?;
            }
        }
        Ok(index)
    }
}
