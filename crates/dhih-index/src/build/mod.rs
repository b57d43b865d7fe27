//! Builds an index of a set of codes, and builds segments for compaction. The index of the directory is replaced in one step, so that at
//! any moment either the old or the new one is there. `store/format.rs` defines the layout of the files.
//!
//! ```text
//! CodeSet --------------------------+--> in_memory.rs   groups.rs -> tables -> sections -------+
//!   \                               |                                                          |
//!    rows.rs (a stream by id;       | fits into memory?                                        +--> layout.rs -> segment
//!    external/by_id.rs sorts it)    |                                                          |    (sample.rs: profile)
//!          \                        +--> external/      runs on disk -> merges -> sections ----+
//!           write_segment_of_stream
//! ```

mod external;
pub(crate) mod groups;
mod in_memory;
pub(crate) mod layout;
pub(crate) mod partition;
pub(crate) mod rows;
pub(crate) mod sample;
mod spill;
mod tables;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::Path;

use crate::build::layout::{SegmentSpec, Substrings};
use crate::build::rows::RowStream;
pub use crate::build::tables::Goal;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::codes::shape::Shape;
use crate::error::{Error, Result};
use crate::progress::{Listener, Progress, Reporter};
use crate::store::disk;
use crate::store::format::Origin;
use crate::store::lock::lock;
use crate::store::manifest::{Entry, Manifest};
use crate::store::segment::{Metadata, Segment};
use crate::store::sweep::sweep;
use crate::table::substring;
use crate::vectors::stored::VectorType;

/// How an index is built.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder, IndexConfig};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(16, vec![1, 2, 3, 4, 5, 6])?);
/// let config = IndexConfig::default().with_substrings(2).with_memory(1 << 30);
/// IndexBuilder::new(config).build(&set, &dir)?;
/// assert_eq!(Index::open(&dir)?.info().substrings.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexConfig {
    /// Number of substrings, a table for each; `None` chooses it for the goal, or from the number and the length of
    /// the codes.
    pub substrings: Option<u32>,
    /// What the index is built for; `None` builds it for any search. It has no effect if `substrings` is given.
    pub goal: Option<Goal>,
    /// Bytes of memory that a build may take, beside what the set of codes holds in memory itself; `None` sets no limit. Where the
    /// codes do not fit, they are sorted on disk, in the index directory, which takes about as much room there as the index
    /// and more time. The index is the same, byte for byte. A build on disk needs about 60 MiB, and 12 bytes for each value of the longest
    /// substring, 200 MB at most; it refuses to begin with less.
    pub memory: Option<u64>,
    /// How the numbers of vectors are kept, where the set has vectors; `None` keeps them as they are given.
    pub vectors: Option<VectorType>,
}

impl IndexConfig {
    /// Sets the number of substrings. With `None`, the build chooses a number that suits the codes.
    #[must_use]
    pub fn with_substrings(self, count: impl Into<Option<u32>>) -> Self {
        Self { substrings: count.into(), ..self }
    }

    /// Sets what the index is built for. With `None`, it is built for any search.
    #[must_use]
    pub fn with_goal(self, goal: impl Into<Option<Goal>>) -> Self {
        Self { goal: goal.into(), ..self }
    }

    /// Sets the limit of memory in bytes. `None` removes the limit.
    #[must_use]
    pub fn with_memory(self, bytes: impl Into<Option<u64>>) -> Self {
        Self { memory: bytes.into(), ..self }
    }

    /// Sets how the numbers of vectors are kept. `None` keeps them as they are given.
    #[must_use]
    pub fn with_vectors(self, number: impl Into<Option<VectorType>>) -> Self {
        Self { vectors: number.into(), ..self }
    }
}

/// Builds index directories.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
/// assert_eq!(Index::open(&dir)?.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct IndexBuilder {
    config: IndexConfig,
    listener: Option<Listener>,
}

impl IndexBuilder {
    /// A builder of indexes of this configuration.
    pub fn new(config: IndexConfig) -> Self {
        Self { config, listener: None }
    }

    /// Calls `callback` with the progress of a build, at the end of each stage and in long stages from time to time. Where it returns
    /// [`ControlFlow::Break`], the build ends with [`Error::Cancelled`] and the directory's index stays as it was.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use dhih_index::{CodeSet, Codes, Error, Index, IndexBuilder};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("index");
    /// let set = CodeSet::new(Codes::new(8, vec![1, 2, 3])?);
    /// let builder = IndexBuilder::default().on_progress(|progress| {
    ///     println!("{progress}");
    ///     ControlFlow::Break(())
    /// });
    /// assert!(matches!(builder.build(&set, &dir), Err(Error::Cancelled)));
    /// assert!(matches!(Index::open(&dir), Err(Error::NoIndex { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn on_progress(
        self,
        callback: impl FnMut(Progress) -> ControlFlow<()> + Send + 'static,
    ) -> Self {
        Self { listener: Some(Listener::new(callback)), ..self }
    }

    /// Builds an index of these codes in `dir`. The directory is made if it is missing. If it has an index, that is replaced in one step.
    /// The same codes give the same bytes.
    ///
    /// # Errors
    /// What [`CodeSet::check`] refuses, 2^32 - 1 codes or more, a number of substrings that does
    /// not suit the codes' length, too little memory for a build on disk, a directory that cannot be written or that another
    /// process is writing, a full disk; a callback that cancels.
    pub fn build(&self, set: &CodeSet, dir: &Path) -> Result<()> {
        self.check(set)?;
        disk::make_directory(dir).map_err(Error::io("make", dir))?;
        let _lock = lock(dir)?;
        // An interrupted build may have left as much on the disk as this one needs.
        if let Ok(manifest) = Manifest::read(dir) {
            sweep(dir, &manifest);
        }
        // An index that replaces another continues its count of generations.
        let generation = Manifest::last_generation(dir) + 1;
        let entry = self.write_segment(set, Origin { id: 0, generation }, dir)?;
        // Codes that stay in a mapped file may have been overwritten while they were sorted.
        set.check_unchanged()?;
        let header = Segment::open(&dir.join(&entry.file))?.header;
        let manifest = Manifest::new(header.features, header.origin, vec![entry], None);
        manifest.write(dir)?;
        sweep(dir, &manifest);
        Ok(())
    }

    /// Refuses sets that cannot be built. Ids that occur twice are found later, when rows are sorted.
    fn check(&self, set: &CodeSet) -> Result<()> {
        set.check_unchanged()?;
        set.check_all_but_unique_ids()?;
        if set.codes.len() >= u32::MAX as usize {
            return Err(Error::TooMany { codes: set.codes.len() });
        }
        match self.config.substrings {
            Some(count) => substring::choose(set.codes.bits(), &[], Some(count)).map(drop),
            None => Ok(()),
        }
    }

    /// Writes the segment of a set, under a name that no manifest knows yet.
    pub(crate) fn write_segment(&self, set: &CodeSet, origin: Origin, dir: &Path) -> Result<Entry> {
        let reporter = Reporter::new(self.listener.clone());
        let mut shape = Shape::of(set);
        if let (Some(form), Some(number)) = (&mut shape.vectors, self.config.vectors) {
            form.number = number;
        }
        let substrings = match (self.config.substrings, self.config.goal) {
            (None, Some(goal)) => tables::choose(&set.codes, goal)?,
            (count, _) => count,
        };
        let spec = SegmentSpec {
            shape,
            metadata: metadata(set, shape)?,
            rows: set.codes.len(),
            substrings: Substrings::Choose(substrings),
            memory: self.config.memory,
            origin,
        };
        // The vectors of a set are not copied into memory, so they do not count here.
        match fits(&spec, 0)? {
            true => in_memory::write_set(&spec, set, dir, &reporter),
            false => external::write_set(spec, set, dir, &reporter),
        }
    }
}

/// Writes the segment of a stream of items, under a name that no manifest knows yet. Its bytes are those of the segment of a set with the
/// same items in the same order.
pub(crate) fn write_segment_of_stream(
    spec: &SegmentSpec,
    rows: &mut dyn RowStream,
    dir: &Path,
    reporter: &Reporter,
) -> Result<Entry> {
    match fits(spec, spec.shape.vector_width())? {
        true => in_memory::write_stream(spec, rows, dir, reporter),
        false => external::write_stream(spec, rows, dir, reporter),
    }
}

/// Whether a segment can be built in memory. `vectors` is the number of bytes of each vector that are in memory.
fn fits(spec: &SegmentSpec, vectors: usize) -> Result<bool> {
    match spec.memory {
        Some(memory) => Ok(in_memory::memory(spec, vectors)? <= memory),
        None => Ok(true),
    }
}

/// The metadata section of a set, whose items are stored in some shape.
fn metadata(set: &CodeSet, shape: Shape) -> Result<Vec<u8>> {
    let label_columns = match &set.labels {
        Some(Labels::MultiHot { classes, .. }) => Some(*classes),
        _ => None,
    };
    let (model_sha256, classes) = (set.model_sha256.clone(), set.classes.clone());
    Metadata { model_sha256, classes, label_columns, vectors: shape.vectors }.to_json()
}
