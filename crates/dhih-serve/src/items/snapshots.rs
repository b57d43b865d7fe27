//! Copies of the items as a whole: a snapshot beside them while changes go on, and the same files without what was deleted.

use std::path::Path;
use std::sync::Arc;

use dhih_index::CheckpointOptions;

use super::catalogue::{Copied, FILE};
use super::{ChangeError, LocalItems};
use crate::{Error, Result};

/// What files took before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
}

impl LocalItems {
    /// Writes index and catalogue of one moment into a directory that is made for it. Changes go on meanwhile. When this returns the snapshot is
    /// on disk; it is opened as any index directory is.
    ///
    /// # Errors
    /// A disk that does not take it. Nothing of the snapshot is left then.
    pub(crate) fn snapshot(self: &Arc<Self>, to: &Path) -> Result<usize, ChangeError> {
        // Both of the same moment: no change is under way between the two.
        let (index, catalogue) = self.change(|writing, _| {
            let catalogue =
                writing.catalogue().map(|catalogue| catalogue.snapshot()).transpose()?;
            Ok((self.index(), catalogue))
        })?;
        let write = || -> Result<()> {
            // Copies, not links: what happens to a block of the disk happens to one of them.
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

    /// Writes index and catalogue anew, without the bytes of what was deleted. Searches go on meanwhile, changes wait.
    ///
    /// # Errors
    /// A disk that does not take it. Nothing is lost then, and what was deleted may still be in the files.
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

    /// Bytes of the files of the directory.
    fn bytes(&self) -> u64 {
        let files = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.metadata().ok())
            .filter(|file| file.is_file())
            .map(|file| file.len())
            .sum()
    }
}
