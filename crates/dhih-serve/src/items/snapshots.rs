//! Copies of all items: a snapshot in another directory while changes continue, or a rewrite of the files without deleted data.

use std::path::Path;
use std::sync::Arc;

use dhih_index::{CheckpointOptions, Index};

use super::catalogue::{CatalogueSnapshot, Copied, FILE, History, Position};
use super::{ChangeError, LocalItems};
use crate::{Error, Result};

/// Bytes of the files before and after a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
}

/// The state of index and catalogue at one moment.
struct Moment {
    index: Arc<Index>,
    catalogue: Option<CatalogueSnapshot>,
    /// The position of the catalogue; `None` if no journal is kept.
    position: Option<Position>,
}

impl Moment {
    /// Writes both into a new directory. After an error nothing of it remains.
    fn write(&self, to: &Path, options: CheckpointOptions, history: History) -> Result<()> {
        let write = || -> Result<()> {
            self.index.checkpoint(to, options).map_err(|error| Error::index(to, error))?;
            match &self.catalogue {
                Some(catalogue) => catalogue.write_to(&to.join(FILE), Copied::All, history),
                None => Ok(()),
            }
        };
        write().inspect_err(|_| drop(std::fs::remove_dir_all(to)))
    }
}

impl LocalItems {
    /// Writes a consistent snapshot of index and catalogue into a new directory. Changes continue meanwhile. When this returns, the
    /// snapshot is on disk; it can be opened as an index directory.
    ///
    /// # Errors
    /// When the disk is full or fails; then nothing of the snapshot remains.
    pub(crate) fn snapshot(self: &Arc<Self>, to: &Path) -> Result<usize, ChangeError> {
        let moment = self.moment()?;
        // Copies instead of hard links: a damaged block on disk then affects only one of the two.
        moment.write(to, CheckpointOptions::default().with_copy(true), History::Dropped)?;
        Ok(moment.index.len())
    }

    /// Writes a snapshot for a follower, which continues the history. The files are hard links where the disk supports them, because the
    /// snapshot is sent and removed soon. Returns its position; `None` if no journal is kept, and then nothing is written.
    ///
    /// # Errors
    /// As for [`snapshot`](Self::snapshot).
    pub(crate) fn snapshot_to_follow(
        self: &Arc<Self>,
        to: &Path,
    ) -> Result<Option<Position>, ChangeError> {
        let moment = self.moment()?;
        let Some(position) = moment.position else { return Ok(None) };
        moment.write(to, CheckpointOptions::default(), History::Kept)?;
        Ok(Some(position))
    }

    /// Takes index and catalogue together while no change is in progress, so that they agree.
    fn moment(self: &Arc<Self>) -> Result<Moment, ChangeError> {
        self.maintain(|writing, _| {
            let catalogue =
                writing.catalogue().map(|catalogue| catalogue.snapshot()).transpose()?;
            let position = writing.catalogue().map_or(Ok(None), |catalogue| catalogue.head())?;
            Ok(Moment { index: self.index(), catalogue, position })
        })
    }

    /// Rewrites index and catalogue without the bytes of deleted items. Searches continue meanwhile, and changes wait.
    ///
    /// # Errors
    /// When the disk is full or fails. Nothing is lost then, but the files may still contain deleted data.
    pub(crate) fn compact(self: &Arc<Self>, copied: Copied) -> Result<Compacted, ChangeError> {
        self.maintain(|writing, changes| {
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
