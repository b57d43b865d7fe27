//! How a change of the items is made, and what happens where a step of it fails.
//!
//! A change goes to the catalogue, where there is one, and then to the index, and is answered once both have synced it. In this order, because only the
//! catalogue has everything: what it has and the index lacks can be made good (`agreement.rs`), the thumbnail of a code cannot. Where a
//! step fails, what was begun is undone or ended at once, or before the next change; until then its outcome is not known. Index and
//! catalogue are opened again after an error that closes them, at once and then every second; what they are opened again from must be
//! the same directory and the same index.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use dhih_index::{Batch, Index, IndexWriter};

use super::ChangeError;
use super::adding::Additions;
use super::agreement::Difference;
use super::catalogue::{Catalogue, Change, Removal};
use super::fingerprint::Fingerprint;
use super::keeping::is_current;
use super::local::LocalItems;
use super::numbering::Numbering;
use crate::file_identity::FileIdentity;
use crate::{Error, Result};

/// How long after a failure it is tried to open index and catalogue again.
const RETRY: Duration = Duration::from_secs(1);

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
    /// The address of the primary whose changes are made here, and nobody else's.
    pub(super) primary: ArcSwapOption<String>,
    /// Whether a change cannot be made at the moment.
    pub(super) is_broken: AtomicBool,
    is_recovering: AtomicBool,
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
    /// The keys of their requests.
    keys: Vec<String>,
    /// That of the index, where a journal is kept.
    pub(super) fingerprint: Fingerprint,
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

impl LocalItems {
    /// Makes a change of somebody who uses the service when it is its turn.
    pub(super) fn change<T>(
        self: &Arc<Self>,
        make: impl FnOnce(&Writing, &mut Changes) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        // Asked when it is its turn: these items may be promoted meanwhile.
        self.maintain(|writing, changes| {
            writing.check_primary()?;
            make(writing, changes)
        })
    }

    /// Does work on the files, when it is its turn, that is no change of somebody who uses the service.
    pub(super) fn maintain<T>(
        self: &Arc<Self>,
        make: impl FnOnce(&Writing, &mut Changes) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let writing = self.writing.as_ref().ok_or(ChangeError::ReadOnly)?;
        writing.check_open()?;
        let mut changes = writing.changes();
        writing.check_open()?;
        let done = match self.make_usable(writing, &mut changes) {
            Ok(()) => make(writing, &mut changes),
            Err(error @ Error::DiskFull { .. }) => Err(ChangeError::Failed(error)),
            Err(error) => Err(ChangeError::NotWritable(error)),
        };
        self.publish(writing, &mut changes);
        let error = match &done {
            Ok(_) => None,
            Err(
                ChangeError::Failed(error)
                | ChangeError::NotWritable(error)
                | ChangeError::OutcomeUnknown(error),
            ) => Some(Arc::new(error.code())),
            Err(_) => return done,
        };
        writing.last_error.store(error);
        let is_broken = match &done {
            Err(ChangeError::NotWritable(_) | ChangeError::OutcomeUnknown(_)) => true,
            _ => changes.writer.is_none() || !changes.unsettled.is_empty(),
        };
        writing.is_broken.store(is_broken, Ordering::Relaxed);
        if is_broken {
            self.recover_in_background(writing);
        }
        done
    }

    /// Makes the steps of a change, whose batch the index takes as far as is known without its disk: of an item that took the place of another,
    /// the catalogue could not go back. The index that has it. `is_made` tells of an index whether it has the change.
    pub(super) fn make(
        &self,
        writing: &Writing,
        changes: &mut Changes,
        steps: Steps<'_>,
        is_made: impl Fn(&Index) -> bool,
    ) -> Result<Arc<Index>, ChangeError> {
        let Steps { change, batch, touched } = steps;
        self.touch(writing.catalogue(), changes, touched.iter().map(|it| it.id));
        let made = writing.commit(&change).and_then(|()| self.apply(changes, &batch));
        let Err(error) = made else { return Ok(self.index()) };
        tracing::error!(%error, "a change of the items failed");
        changes.unsettled.extend(touched);
        changes.keys.extend(change.answered.iter().map(|answer| answer.key.clone()));
        match self.settle(writing, changes) {
            Ok(()) if is_made(&self.index()) => Ok(self.index()),
            Ok(()) => Err(ChangeError::Failed(error)),
            Err(unsettled) => {
                tracing::error!(error = %unsettled, "it is not known yet whether the change was made");
                Err(ChangeError::OutcomeUnknown(error))
            }
        }
    }

    /// Notes which items a change is about before it is written anywhere.
    pub(super) fn touch(
        &self,
        catalogue: Option<&Arc<Catalogue>>,
        changes: &mut Changes,
        touched: impl Iterator<Item = u64>,
    ) {
        let untouched = changes.fingerprint.begin(&self.index(), touched);
        if let (Some(catalogue), Some(untouched)) = (catalogue, untouched) {
            catalogue.set_untouched(untouched);
        }
    }

    /// Changes the index, and lets searches see it.
    pub(super) fn apply(&self, changes: &mut Changes, batch: &Batch) -> Result<()> {
        let writer = self.writer(changes)?;
        let applied = writer.apply(batch);
        if let Some(error) = writer.merge_error() {
            tracing::warn!(error = %error.with_causes(), "merging the index failed; no change is lost, and it is tried again");
        }
        if let Err(error) = applied {
            use dhih_index::Error::{CommitFailed, Fenced, Poisoned};
            if matches!(error, Poisoned { .. } | Fenced { .. } | CommitFailed { .. }) {
                changes.writer = None;
            }
            return Err(Error::index(&self.dir, error));
        }
        self.index.store(Arc::new(writer.snapshot()));
        Ok(())
    }

    /// Writes the index as one segment without what was removed, and lets searches see it.
    pub(super) fn compact_index(&self, changes: &mut Changes) -> Result<()> {
        let writer = self.writer(changes)?;
        writer.compact().map_err(|error| Error::index(&self.dir, error))?;
        self.index.store(Arc::new(writer.snapshot()));
        Ok(())
    }

    /// The writer, which is opened again where an error has closed it: of the same directory and index, or not at all.
    fn writer<'c>(&self, changes: &'c mut Changes) -> Result<&'c mut IndexWriter> {
        let replaced = || Error::Replaced { path: self.dir.clone() };
        if changes.writer.is_none() {
            if FileIdentity::of(&self.dir).ok().as_ref() != Some(&self.identity) {
                return Err(replaced());
            }
            let writer = IndexWriter::open(&self.dir).map_err(|e| Error::index(&self.dir, e))?;
            if writer.snapshot().id() != self.index_id {
                return Err(replaced());
            }
            tracing::info!("the index is open again to be changed");
            self.index.store(Arc::new(writer.snapshot()));
            changes.writer = Some(writer);
        }
        changes.writer.as_mut().ok_or_else(replaced)
    }

    /// Makes good what earlier failures have left, and refuses files that others have replaced.
    fn make_usable(&self, writing: &Writing, changes: &mut Changes) -> Result<()> {
        writing.catalogue().map_or(Ok(()), |catalogue| catalogue.ensure_open())?;
        let index = self.writer(changes)?.snapshot();
        if !writing.is_catalogue_current() || !matches!(index.refresh(), Ok(None)) {
            return Err(Error::Replaced { path: self.dir.clone() });
        }
        self.settle(writing, changes)
    }

    /// Takes back or ends the changes of which it is not known how far they came.
    fn settle(&self, writing: &Writing, changes: &mut Changes) -> Result<()> {
        if changes.unsettled.is_empty() {
            return Ok(());
        }
        // The index that is opened again shows what its log has of the change.
        let index = self.writer(changes)?.snapshot();
        if let Some(catalogue) = writing.catalogue() {
            let mut removed = Vec::new();
            for Unsettled { id, undo } in &changes.unsettled {
                let is_there = undo.is_some() && catalogue.record(*id)?.is_some();
                removed.extend(undo.clone().filter(|_| is_there));
            }
            if !removed.is_empty() {
                // A request that is taken back may be made again.
                let forgotten = &changes.keys;
                catalogue.commit(&Change { removed: &removed, forgotten, ..Change::default() })?;
            }
            let ids: Vec<u64> = changes.unsettled.iter().map(|unsettled| unsettled.id).collect();
            let difference = Difference::of_ids(&index, catalogue, &ids)?;
            if !difference.is_empty() {
                self.apply(changes, &difference.batch(&self.shape)?)?;
            }
            // Of an item that kept its code, only the journal tells what else has changed.
            self.apply_outstanding(catalogue, changes)?;
            // What the failed change has left of the attributes is on disk alone.
            catalogue.read_attributes(is_current(&self.index()))?;
        }
        changes.unsettled.clear();
        changes.keys.clear();
        Ok(())
    }

    /// Lets followers be given the changes so far, where none is left half made.
    fn publish(&self, writing: &Writing, changes: &mut Changes) {
        let Some(catalogue) = writing.catalogue().filter(|it| it.published().is_some()) else {
            return;
        };
        if !changes.unsettled.is_empty() {
            return;
        }
        match catalogue.publish() {
            Ok(()) => {
                if let Some(all) = changes.fingerprint.end(&self.index()) {
                    catalogue.set_untouched(all);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "followers are given the last change with the next one");
            }
        }
    }

    /// Tries until changes can be made again, or nobody has these items any more.
    fn recover_in_background(self: &Arc<Self>, writing: &Writing) {
        if writing.is_recovering.swap(true, Ordering::Relaxed) {
            return;
        }
        let items = Arc::downgrade(self);
        let recover = move || {
            while let Some(items) = items.upgrade() {
                if items.recover() {
                    return;
                }
                drop(items);
                std::thread::sleep(RETRY);
            }
        };
        let thread = std::thread::Builder::new().name("dhih-recover".into()).spawn(recover);
        if let Err(error) = thread {
            tracing::error!(%error, "no thread to recover; it is tried at the next change");
            writing.is_recovering.store(false, Ordering::Relaxed);
        }
    }

    /// Whether nothing is left to be tried.
    fn recover(&self) -> bool {
        let Some(writing) = &self.writing else { return true };
        let mut changes = writing.changes();
        let usable = match writing.check_open() {
            Ok(()) => self.make_usable(writing, &mut changes),
            Err(_) => Ok(()),
        };
        let is_done = usable.is_ok();
        if is_done {
            writing.is_recovering.store(false, Ordering::Relaxed);
        }
        match usable {
            Ok(()) => {
                self.publish(writing, &mut changes);
                writing.is_broken.store(false, Ordering::Relaxed);
                tracing::info!("items can be changed again");
            }
            Err(error) => tracing::debug!(%error, "items cannot be changed yet"),
        }
        is_done
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
    pub(super) fn new(writer: IndexWriter, numbers: Numbering, fingerprint: Fingerprint) -> Self {
        let (unsettled, keys) = Default::default();
        Self { writer: Some(writer), numbers, unsettled, keys, fingerprint }
    }
}
