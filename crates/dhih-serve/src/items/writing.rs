//! `Writing`: what changes of the items need, from catalogue and writer to the state of changes that failed. How a change is made: `changing.rs`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;
use dhih_index::{Batch, Index, IndexWriter};

use super::ChangeError;
use super::additions::Additions;
use super::agreement::is_current;
use super::catalogue::{Catalogue, Change, Removal};
use super::numbering::Numbering;
use crate::Result;

/// What changes need.
#[derive(Debug)]
pub(super) struct Writing {
    /// Empty where items have nothing but what is in the index.
    pub(super) catalogue: OnceLock<Arc<Catalogue>>,
    changes: Mutex<Changes>,
    /// Additions that wait to be made together.
    pub(super) additions: Additions,
    /// Whether the files are given to another run: no change begins any more.
    pub(super) is_closed: AtomicBool,
    /// Whether a change cannot be made at the moment.
    pub(super) is_broken: AtomicBool,
    pub(super) is_recovering: AtomicBool,
    /// The code of the error that the last change ended with.
    pub(super) last_error: ArcSwapOption<&'static str>,
}

#[derive(Debug)]
pub(super) struct Changes {
    /// Absent after an error, until the index is open again.
    pub(super) writer: Option<IndexWriter>,
    pub(super) numbers: Numbering,
    /// Items of changes of which it is not known how far they came.
    pub(super) unsettled: Vec<Unsettled>,
}

/// An item of a change.
#[derive(Debug, Clone)]
pub(super) struct Unsettled {
    pub(super) id: u64,
    /// What takes the change back, where it is to be; otherwise it is ended.
    pub(super) undo: Option<Removal>,
}

/// A change as both files take it.
pub(super) struct Steps<'a> {
    pub(super) change: Change<'a>,
    pub(super) batch: Batch,
    pub(super) touched: Vec<Unsettled>,
}

impl Writing {
    pub(super) fn new(catalogue: Option<Arc<Catalogue>>, changes: Changes) -> Self {
        Self {
            catalogue: catalogue.map(OnceLock::from).unwrap_or_default(),
            changes: Mutex::new(changes),
            additions: Additions::default(),
            is_closed: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            is_recovering: AtomicBool::new(false),
            last_error: ArcSwapOption::empty(),
        }
    }

    /// The catalogue, where there is one.
    pub(super) fn catalogue(&self) -> Option<&Arc<Catalogue>> {
        self.catalogue.get()
    }

    /// Makes a change of the catalogue, where there is one.
    pub(super) fn commit(&self, change: &Change<'_>) -> Result<()> {
        self.catalogue().map_or(Ok(()), |catalogue| catalogue.commit(change))
    }

    /// Whether the catalogue is still the file that is open, where there is one.
    pub(super) fn is_catalogue_current(&self) -> bool {
        self.catalogue().is_none_or(|catalogue| catalogue.is_current())
    }

    /// The item of an index, which is a snapshot of these items, that has an external id.
    pub(super) fn item_of(&self, index: &Index, external_id: &str) -> Result<Option<u64>> {
        let Some(catalogue) = self.catalogue() else { return Ok(None) };
        let known = catalogue.item_of(external_id)?;
        Ok(known.filter(|(id, code)| is_current(index)(*id, code)).map(|(id, _)| id))
    }

    pub(super) fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn check_open(&self) -> Result<(), ChangeError> {
        match self.is_closed.load(Ordering::Acquire) {
            true => Err(ChangeError::Reloading),
            false => Ok(()),
        }
    }
}

impl Changes {
    pub(super) fn new(writer: IndexWriter, numbers: Numbering) -> Self {
        Self { writer: Some(writer), numbers, unsettled: Vec::new() }
    }
}
