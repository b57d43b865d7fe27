//! Checkpoints: a copy of an index as it is at one moment, while writes go on.

use std::path::Path;

use crate::error::{Error, Result};
use crate::index::Index;
use crate::index::component::Component;
use crate::index::log::{logged_state, write_log_file};
use crate::index::writer::IndexWriter;
use crate::store::disk;
use crate::store::lock::lock;
use crate::store::manifest::{self, Manifest};

/// How a checkpoint is made.
///
/// ```
/// use dhih_index::{CheckpointOptions, CodeSet, Codes, Index, IndexBuilder};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let copy = dir.with_file_name("copy");
/// Index::open(&dir)?.checkpoint(&copy, CheckpointOptions::default().with_copy(true))?;
/// assert_eq!(Index::open(&copy)?.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointOptions {
    /// Copies the segments also where they could be shared. By default they are hard links, which take no time and no space; but a
    /// damaged disk block then damages both.
    pub copy: bool,
}

impl CheckpointOptions {
    /// Sets whether segments are copied instead of shared.
    #[must_use]
    pub fn with_copy(self, copy: bool) -> Self {
        Self { copy }
    }
}

impl Index {
    /// Writes this snapshot as an index of its own into `to`, which must not hold one. The index it is from may be changed meanwhile, by
    /// this process or another. When this returns the checkpoint is durable; to restore it, open it or move it to where the index was.
    ///
    /// # Errors
    /// A directory that holds an index already, a disk that does not take it. `to` then holds no index.
    pub fn checkpoint(&self, to: impl AsRef<Path>, options: CheckpointOptions) -> Result<()> {
        let to = to.as_ref();
        disk::make_directory(to).map_err(Error::io("make", to))?;
        let _lock = lock(to)?;
        if to.join(manifest::FILE).exists() {
            return Err(Error::CheckpointExists { dir: to.to_path_buf() });
        }
        for segment in self.components.iter().filter_map(Component::segment) {
            let name = segment.path.file_name().unwrap_or_default();
            let path = to.join(name);
            // An interrupted checkpoint may have left the file.
            if path.exists() {
                disk::remove(&path);
            }
            // The file may have been removed from the index meanwhile. Its bytes are still mapped, so they can be copied.
            let linked = !options.copy
                && disk::link(&segment.path, &path).map_err(Error::io("link", &path))?;
            if !linked {
                disk::write(&path, |out| out.write_all(segment.file()))?;
            }
        }
        let changes = logged_state(&self.components);
        let log = (!changes.is_empty()).then_some(self.origin.generation);
        if log.is_some() {
            write_log_file(to, self.shape(), self.origin, &changes)?;
        }
        disk::sync_directory(to).map_err(Error::io("sync", to))?;
        let entries = self.manifest.segments(&self.dir)?.to_vec();
        let written = Manifest::new(self.manifest.features(), self.origin, entries, log).write(to);
        if written.is_err() {
            // The manifest may have got its name without being durable.
            disk::remove(&to.join(manifest::FILE));
        }
        written
    }
}

impl IndexWriter {
    /// [`Index::checkpoint`] of the index as it is now.
    ///
    /// # Errors
    /// The same errors.
    pub fn checkpoint(&self, to: impl AsRef<Path>) -> Result<()> {
        self.snapshot().checkpoint(to, CheckpointOptions::default())
    }
}
