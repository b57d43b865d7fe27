//! `OpenOptions`: additional work on the files of an index when they are opened, beyond reading their headers.

use crate::error::Result;
use crate::store::segment::Segment;
use crate::store::{format, verify};

/// How an index is opened, after the manner of [`std::fs::OpenOptions`]. Without options it opens as [`Index::open`](crate::Index::open)
/// does: at once, whatever its size.
///
/// The options hold for all files that the index will have: also for the segments that [`refresh`](crate::Index::refresh) finds, and for
/// those that a writer of [`open_writer`](Self::open_writer) makes.
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// All that [`Index::verify`](crate::Index::verify) checks.
    All,
}

impl OpenOptions {
    /// Options that do nothing beyond [`Index::open`](crate::Index::open).
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

    /// Copies the segments into memory on large pages, where the system has them: [`Index::into_memory`](crate::Index::into_memory).
    #[must_use]
    pub fn huge_pages(self, huge_pages: bool) -> Self {
        Self { huge_pages, ..self }
    }

    /// Whether searches ask for the pages that they are about to read.
    pub(crate) fn is_on_disk(self) -> bool {
        self.on_disk && !self.huge_pages
    }

    /// How much is checked.
    pub(crate) fn checks(self) -> Verify {
        self.verify
    }

    /// Prepares a segment that was just opened.
    pub(crate) fn prepare(self, mut segment: Segment) -> Result<Segment> {
        if self.huge_pages {
            segment = segment.in_memory()?;
        }
        if self.is_on_disk() {
            segment.keep_on_disk();
        }
        if self.populate && !self.huge_pages {
            segment.populate();
        }
        if self.lock {
            segment.lock()?;
        }
        if self.verify != Verify::Headers {
            format::verify(&segment.path, segment.file(), &segment.header)?;
        }
        if self.verify == Verify::All {
            verify::verify(&segment)?;
        }
        Ok(segment)
    }
}
