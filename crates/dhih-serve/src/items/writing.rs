//! `Writing`: the state for changes of the items: catalogue, writer, waiting additions, and failed changes. `changing.rs` makes the
//! changes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;
use dhih_index::{Batch, Index, IndexWriter};

use super::ChangeError;
use super::additions::Additions;
use super::agreement::is_current;
use super::catalogue::{Catalogue, Change, Removal};
use super::fingerprint::Fingerprint;
use super::numbering::Numbering;
use crate::Result;

/// The state for changes.
#[derive(Debug)]
pub(super) struct Writing {
    /// Empty while items consist only of what the index has.
    pub(super) catalogue: OnceLock<Arc<Catalogue>>,
    changes: Mutex<Changes>,
    /// Additions that wait for a group commit.
    pub(super) additions: Additions,
    /// Whether the files are being handed over to another run; no change begins any more.
    pub(super) is_closed: AtomicBool,
    /// The address of the primary, if these items are a copy. Only the changes of the primary are made to a copy.
    pub(super) primary: ArcSwapOption<String>,
    /// The epoch of the primary that has taken the place of this one; 0 if none has.
    pub(super) superseded_by: AtomicU64,
    /// Whether changes are impossible at the moment.
    pub(super) is_broken: AtomicBool,
    pub(super) is_recovering: AtomicBool,
    /// The code of the error of the last change; empty if it succeeded.
    pub(super) last_error: ArcSwapOption<&'static str>,
}

#[derive(Debug)]
pub(super) struct Changes {
    /// Absent after an error, until the index has been reopened.
    pub(super) writer: Option<IndexWriter>,
    pub(super) numbers: Numbering,
    /// The change whose outcome is unknown, if there is one.
    pub(super) unsettled: Option<Failed>,
    /// That of the index, where a journal is kept.
    pub(super) fingerprint: Fingerprint,
}

/// A change that failed halfway. It is undone or completed before the next one.
#[derive(Debug, Clone, Default)]
pub(super) struct Failed {
    /// The items that it adds, replaces or removes. A declaration of fields has none.
    pub(super) items: Vec<Unsettled>,
    /// The idempotency keys of its requests.
    pub(super) keys: Vec<String>,
}

/// An item of a change whose outcome may become unknown.
#[derive(Debug, Clone)]
pub(super) struct Unsettled {
    pub(super) id: u64,
    /// The removal that undoes the change. `None` where the change must be completed instead.
    pub(super) undo: Option<Removal>,
}

/// A change in the forms for catalogue and index.
pub(super) struct Steps<'a> {
    pub(super) change: Change<'a>,
    pub(super) batch: Batch,
    pub(super) touched: Vec<Unsettled>,
}

impl<'a> Steps<'a> {
    /// A change of the catalogue alone, which touches no item.
    pub(super) fn of_catalogue(change: Change<'a>) -> Self {
        Self { change, batch: Batch::new(), touched: Vec::new() }
    }
}

impl Writing {
    pub(super) fn new(catalogue: Option<Arc<Catalogue>>, changes: Changes) -> Self {
        Self {
            catalogue: catalogue.map(OnceLock::from).unwrap_or_default(),
            changes: Mutex::new(changes),
            additions: Additions::default(),
            is_closed: AtomicBool::new(false),
            primary: ArcSwapOption::empty(),
            superseded_by: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
            is_recovering: AtomicBool::new(false),
            last_error: ArcSwapOption::empty(),
        }
    }

    /// The catalogue, where there is one.
    pub(super) fn catalogue(&self) -> Option<&Arc<Catalogue>> {
        self.catalogue.get()
    }

    /// Makes a change of the catalogue, if there is one.
    pub(super) fn commit(&self, change: &Change<'_>) -> Result<()> {
        self.catalogue().map_or(Ok(()), |catalogue| catalogue.commit(change))
    }

    /// The number of the last change of the catalogue, if there is one.
    pub(super) fn change_number(&self) -> Result<Option<u64>> {
        self.catalogue().map(|catalogue| catalogue.change_number()).transpose()
    }

    /// Whether the path of the catalogue, if there is one, still leads to the open file.
    pub(super) fn is_catalogue_current(&self) -> bool {
        self.catalogue().is_none_or(|catalogue| catalogue.is_current())
    }

    /// The item with an external id in `index`, which is a snapshot of these items.
    pub(super) fn item_of(&self, index: &Index, external_id: &str) -> Result<Option<u64>> {
        let Some(catalogue) = self.catalogue() else { return Ok(None) };
        let known = catalogue.item_of(external_id)?;
        Ok(known.filter(|(id, code)| is_current(index)(*id, code)).map(|(id, _)| id))
    }

    pub(super) fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses changes of clients if these items are a copy, or another service has taken the place of this primary.
    pub(super) fn check_primary(&self) -> Result<(), ChangeError> {
        match &*self.primary.load() {
            Some(primary) => Err(ChangeError::Follows(primary.to_string())),
            None if self.is_superseded() => Err(ChangeError::Superseded),
            None => Ok(()),
        }
    }

    pub(super) fn is_superseded(&self) -> bool {
        self.superseded_by.load(Ordering::Acquire) > 0
    }

    pub(super) fn check_open(&self) -> Result<(), ChangeError> {
        match self.is_closed.load(Ordering::Acquire) {
            true => Err(ChangeError::Reloading),
            false => Ok(()),
        }
    }
}

impl Changes {
    pub(super) fn new(writer: IndexWriter, numbers: Numbering, fingerprint: Fingerprint) -> Self {
        Self { writer: Some(writer), numbers, unsettled: None, fingerprint }
    }
}
