//! Copies of all items: a snapshot in another directory while changes continue, or a rewrite of the files without deleted data.

use std::path::Path;
use std::sync::Arc;

use dhih_index::CheckpointOptions;

use super::catalogue::{Copied, FILE};
use super::{ChangeError, LocalItems};
use crate::{Error, Result};

/// Bytes of the files before and after a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
}

impl LocalItems {
    /// Writes a consistent snapshot of index and catalogue into a new directory. Changes continue meanwhile. When this returns, the
    /// snapshot is on disk; it can be opened as an index directory.
    ///
    /// # Errors
    /// When the disk is full or fails; then nothing of the snapshot remains.
    pub(crate) fn snapshot(self: &Arc<Self>, to: &Path) -> Result<usize, ChangeError> {
        // Taking both within one change makes them consistent, because no other change is in progress.
        let (index, catalogue) = self.change(|writing, _| {
            let catalogue =
                writing.catalogue().map(|catalogue| catalogue.snapshot()).transpose()?;
            Ok((self.index(), catalogue))
        })?;
        let write = || -> Result<()> {
            // Copies instead of hard links: a damaged block on disk then affects only one of the two.
            let options = CheckpointOptions::default().with_copy(true);
            index.checkpoint(to, options).map_err(|error| Error::index(to, error))?;
            match catalogue {
                Some(catalogue) => catalogue.write_to(&to.join(FILE), Copied::All),
                None => Ok(()),
            }
        };
        write().inspect_err(|_| drop(std::fs::remove_dir_all(to)))?;
        Ok(index.len())
    }

    /// Rewrites index and catalogue without the bytes of deleted items. Searches continue meanwhile, and changes wait.
    ///
    /// # Errors
    /// When the disk is full or fails. Nothing is lost then, but the files may still contain deleted data.
    pub(crate) fn compact(self: &Arc<Self>, copied: Copied) -> Result<Compacted, ChangeError> {
        self.change(|writing, changes| {
            let bytes_before = self.bytes();
            self.compact_index(changes)?;
            if let Some(catalogue) = writing.catalogue() {
                catalogue.rewrite(copied)?;
            }
            Ok(Compacted { bytes_before, bytes_after: self.bytes() })
        })
    }

    /// Bytes of the files in the directory.
    fn bytes(&self) -> u64 {
        let files = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.metadata().ok())
            .filter(|file| file.is_file())
            .map(|file| file.len())
            .sum()
    }
}
