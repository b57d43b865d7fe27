//! Makes changes of the items, and recovers where a step of a change fails.
//!
//! A change is written to the catalogue, if there is one, and then to the index. It is answered once both have synced it. The catalogue
//! comes first because only it has everything: an item that the index lacks can be added from the catalogue (`agreement.rs`), but a
//! thumbnail cannot be made from a code. If a step fails, the change is undone or completed at once, or else before the next change. Until
//! then its outcome is unknown. After an error that closes index or catalogue, they are reopened at once and then every second. They must
//! still be the same directory and the same index.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dhih_index::{Batch, Index, IndexWriter};

use super::ChangeError;
use super::agreement::{Comparison, is_current};
use super::catalogue::{Catalogue, Change};
use super::local::LocalItems;
use super::writing::{Changes, Failed, Steps, Unsettled, Writing};
use crate::file_identity::FileIdentity;
use crate::{Error, Result};

/// The interval of attempts to reopen index and catalogue.
const RETRY: Duration = Duration::from_secs(1);

impl LocalItems {
    /// Makes a change of a client as soon as no other change is in progress.
    pub(super) fn change<T>(
        self: &Arc<Self>,
        make: impl FnOnce(&Writing, &mut Changes) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        // Check this when the change gets its turn, because a promotion may have come before it.
        self.maintain(|writing, changes| {
            writing.check_primary()?;
            make(writing, changes)
        })
    }

    /// Does work on the files that is not a change of a client, as soon as no change is in progress.
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
            _ => changes.writer.is_none() || changes.unsettled.is_some(),
        };
        writing.is_broken.store(is_broken, Ordering::Relaxed);
        if is_broken {
            self.recover_in_background(writing);
        }
        done
    }

    /// Carries out the steps of a change. The caller has checked that the index accepts the batch, as far as that is possible without its
    /// disk: when an item was replaced, the catalogue cannot go back. `is_in` tells whether an index contains the change; it is asked only
    /// where there is no catalogue, which numbers its changes. Returns the index after the change.
    pub(super) fn make(
        &self,
        writing: &Writing,
        changes: &mut Changes,
        steps: Steps<'_>,
        is_in: impl Fn(&Index) -> bool,
    ) -> Result<Arc<Index>, ChangeError> {
        let Steps { change, batch, touched } = steps;
        let before = writing.change_number()?;
        self.touch(writing.catalogue(), changes, touched.iter().map(|it| it.id));
        let committed = writing.commit(&change);
        let is_committed = committed.is_ok();
        let made = committed.and_then(|()| self.apply(changes, &batch));
        let Err(error) = made else { return Ok(self.index()) };
        tracing::error!(%error, "a change of the items failed");
        let keys = change.answered.iter().map(|answer| answer.key.clone()).collect();
        changes.unsettled = Some(Failed { items: touched, keys });
        let settled = self.settle(writing, changes).and_then(|()| writing.change_number());
        // An undone change has two numbers: its own, and that of the removal which has undone it.
        let is_made = settled.map(|after| match (before, after) {
            (Some(before), Some(after)) => after == before + 1,
            _ => is_in(&self.index()),
        });
        match is_made {
            // The catalogue has it on disk, and the index agrees.
            Ok(true) if is_committed && before.is_some() => Ok(self.index()),
            Ok(false) => Err(ChangeError::Failed(error)),
            // It can be read, but the disk has not confirmed it and may lose it with the power.
            Ok(true) => Err(ChangeError::OutcomeUnknown(error)),
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

    /// Changes the index, and publishes the new snapshot to searches.
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
        if let Some(catalogue) = self.catalogue() {
            catalogue.note_index_caught_up();
        }
        Ok(())
    }

    /// Rewrites the index as one segment without removed items, and publishes the new snapshot to searches.
    pub(super) fn compact_index(&self, changes: &mut Changes) -> Result<()> {
        let writer = self.writer(changes)?;
        writer.compact().map_err(|error| Error::index(&self.dir, error))?;
        self.index.store(Arc::new(writer.snapshot()));
        Ok(())
    }

    /// The writer of the index. After an error has closed it, it is reopened, but only for the same directory and the same index.
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

    /// The catalogue, which is created if there is none: an index without a model gets one with the first metadata, external id or
    /// declaration of fields.
    pub(super) fn make_catalogue<'w>(&self, writing: &'w Writing) -> Result<&'w Arc<Catalogue>> {
        if let Some(catalogue) = writing.catalogue() {
            return Ok(catalogue);
        }
        let (catalogue, index) = (Arc::new(Catalogue::open(&self.dir)?), self.index());
        if let Some(model) = index.model_sha256() {
            catalogue.check_model(model)?;
        }
        catalogue.commit(&Change { index_id: Some(&self.index_id), ..Change::default() })?;
        tracing::info!(dir = %self.dir.display(), "the index has a catalogue from now on");
        Ok(writing.catalogue.get_or_init(|| catalogue))
    }

    /// Repairs what earlier failures have left, and refuses files that were replaced by others.
    fn make_usable(&self, writing: &Writing, changes: &mut Changes) -> Result<()> {
        writing.catalogue().map_or(Ok(()), |catalogue| catalogue.ensure_open())?;
        let index = self.writer(changes)?.snapshot();
        if !writing.is_catalogue_current() || !matches!(index.refresh(), Ok(None)) {
            return Err(Error::Replaced { path: self.dir.clone() });
        }
        self.settle(writing, changes)
    }

    /// Undoes or completes the change whose outcome is unknown.
    fn settle(&self, writing: &Writing, changes: &mut Changes) -> Result<()> {
        let Some(failed) = &changes.unsettled else { return Ok(()) };
        let Failed { items, keys } = failed.clone();
        // The reopened index contains the change if its record in the write-ahead log is complete.
        let index = self.writer(changes)?.snapshot();
        if let Some(catalogue) = writing.catalogue() {
            let mut removed = Vec::new();
            for Unsettled { id, undo } in &items {
                let is_there = undo.is_some() && catalogue.record(*id)?.is_some();
                removed.extend(undo.clone().filter(|_| is_there));
            }
            if !removed.is_empty() {
                // A change that is undone must not leave its stored answers: a repetition of its requests is then tried again.
                let change = Change { removed: &removed, forgotten: &keys, ..Change::default() };
                catalogue.commit(&change)?;
            }
            let ids: Vec<u64> = items.iter().map(|unsettled| unsettled.id).collect();
            let comparison = Comparison { index: &index, catalogue, shape: &self.shape };
            let difference = comparison.of_ids(&ids)?;
            if !difference.is_empty() {
                self.apply(changes, &difference.batch(&self.shape)?)?;
            }
            // A copy takes several changes of its primary at once. Only the journal then has every code that the index may have of an item.
            self.apply_outstanding(catalogue, changes)?;
            // The postings in memory do not have the attributes that the failed change has written.
            catalogue.read_attributes(is_current(&self.index()))?;
        }
        changes.unsettled = None;
        Ok(())
    }

    /// Lets followers be given the changes so far, where none is left half made.
    fn publish(&self, writing: &Writing, changes: &mut Changes) {
        let Some(catalogue) = writing.catalogue().filter(|it| it.published().is_some()) else {
            return;
        };
        if changes.unsettled.is_some() {
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

    /// Retries in the background until changes are possible again, or until these items are dropped.
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

    /// Makes one attempt to recover. Returns whether no further attempt is needed.
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

#[cfg(test)]
mod tests;
