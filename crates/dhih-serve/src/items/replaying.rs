//! Replays the changes of a primary. A copy applies them in the order in which the primary made them, and refuses all other changes until
//! it is promoted. This file also finds the changes that the index may lack after a crash, because they follow from the journal in the same
//! way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dhih_index::{Batch, Index};

use super::agreement::is_current;
use super::catalogue::{
    Catalogue, Lineage, LoggedChange, PayloadError, Position, ReadChange, Record,
};
use super::fingerprint::{Fingerprint, of_all_but};
use super::numbering::Numbering;
use super::writing::{Changes, Failed, Unsettled, Writing};
use super::{ChangeError, ItemShape, LocalItems};
use crate::{Error, Result};

/// Why changes of a primary were not applied. After any error but `Items`, none of them was; after `Items`, the outcome may be unknown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("these items follow no primary (any more)")]
    NotFollowing,
    /// The change was altered on its way, or belongs to another history.
    #[error("change {got} does not come after what is here, which goes to change {head}")]
    NotNext { head: u64, got: u64 },
    #[error("change {number} cannot be made here: {source}")]
    Unreadable { number: u64, source: PayloadError },
    #[error(transparent)]
    Items(Box<ChangeError>),
}

impl From<ChangeError> for ReplayError {
    fn from(refusal: ChangeError) -> Self {
        Self::Items(refusal.into())
    }
}

impl LocalItems {
    /// Keeps a journal of at most `bytes`; 0 ends it. Does nothing if the items were opened read-only.
    ///
    /// # Errors
    /// When the catalogue cannot be written to.
    pub(crate) fn keep_journal(self: &Arc<Self>, bytes: u64) -> Result<(), ChangeError> {
        match self.is_changeable() {
            true => self.maintain(|writing, changes| {
                let catalogue = self.make_catalogue(writing)?;
                if catalogue.published().is_none() {
                    changes.fingerprint = Fingerprint::of(&self.index());
                    self.touch(Some(catalogue), changes, std::iter::empty());
                }
                Ok(catalogue.keep_journal(bytes)?)
            }),
            false => Ok(()),
        }
    }

    /// The address of the primary, if these items are a copy.
    pub(crate) fn primary(&self) -> Option<Arc<String>> {
        self.writing.as_ref()?.primary.load_full()
    }

    /// The position of the last change that searches see; `None` if no journal is kept.
    pub(crate) fn position(&self) -> Option<Position> {
        self.catalogue()?.published()
    }

    /// Applies the next changes of the primary in one transaction. When this returns, they are on disk and can be found.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub(crate) fn replay(
        self: &Arc<Self>,
        changes: Vec<LoggedChange>,
    ) -> Result<Position, ReplayError> {
        self.maintain(|writing, state| {
            let followed = writing.primary.load().is_some();
            let Some(catalogue) = writing.catalogue().filter(|_| followed) else {
                return Ok(Err(ReplayError::NotFollowing));
            };
            let Some(head) = catalogue.head()? else { return Ok(Err(ReplayError::NotFollowing)) };
            match read(changes, head) {
                Ok((changes, last)) => {
                    self.make_again(catalogue, state, &changes)?;
                    Ok(Ok(last))
                }
                Err(error) => Ok(Err(error)),
            }
        })?
    }

    fn make_again(
        &self,
        catalogue: &Catalogue,
        state: &mut Changes,
        changes: &[(LoggedChange, ReadChange)],
    ) -> Result<(), ChangeError> {
        let touched = || changes.iter().flat_map(|(_, change)| change.ids());
        let untouched = state.fingerprint.begin(&self.index(), touched());
        untouched.into_iter().for_each(|untouched| catalogue.set_untouched(untouched));
        let made =
            catalogue.replay(changes).and_then(|()| self.apply_outstanding(catalogue, state));
        if let Err(error) = made {
            tracing::error!(%error, "changes of the primary could not be made; they are ended before others are");
            let items = touched().map(|id| Unsettled { id, undo: None }).collect();
            state.unsettled = Some(Failed { items, keys: Vec::new() });
            return Err(ChangeError::OutcomeUnknown(error));
        }
        touched().for_each(|id| state.numbers.note(id));
        if changes.iter().any(|(_, change)| change.fields.is_some()) {
            catalogue.read_attributes(is_current(&self.index()))?;
        }
        Ok(())
    }

    /// Applies to the index the changes of the journal that it may lack.
    pub(super) fn apply_outstanding(
        &self,
        catalogue: &Catalogue,
        state: &mut Changes,
    ) -> Result<()> {
        match outstanding(catalogue, &self.index(), &self.shape)? {
            Some(batch) => self.apply(state, &batch),
            None => {
                catalogue.note_index_caught_up();
                Ok(())
            }
        }
    }

    /// Records the address of the primary, which may have changed. Does nothing if these items are not a copy.
    ///
    /// # Errors
    /// When the catalogue cannot be written to.
    pub(crate) fn follow(self: &Arc<Self>, primary: String) -> Result<(), ChangeError> {
        self.maintain(|writing, _| {
            let known = writing.primary.load();
            if let (Some(known), Some(catalogue)) = (&*known, writing.catalogue())
                && **known != primary
            {
                catalogue.set_primary(&primary)?;
                writing.primary.store(Some(Arc::new(primary)));
            }
            Ok(())
        })
    }

    /// Promotes a copy: from now on it accepts changes of clients and follows no primary. Returns whether these items were a copy.
    ///
    /// # Errors
    /// When the catalogue cannot be written to.
    pub(crate) fn promote(self: &Arc<Self>) -> Result<bool, ChangeError> {
        self.maintain(|writing, state| {
            let Some(catalogue) = writing.catalogue() else { return Ok(false) };
            let was_copy = catalogue.promote()?;
            state.numbers = Numbering::after(&self.index(), Some(catalogue))?;
            writing.primary.store(None);
            writing.superseded_by.store(0, Ordering::Release);
            Ok(was_copy)
        })
    }

    /// Notes that a primary of the epoch `by` has taken the place of this one. From then on, changes of clients are refused. Returns whether
    /// the place is taken, which it is not where the own epoch is as high or these items are a copy.
    ///
    /// # Errors
    /// When the catalogue cannot be written to.
    pub(crate) fn supersede(self: &Arc<Self>, by: u64) -> Result<bool, ChangeError> {
        self.maintain(|writing, _| {
            let Some(catalogue) = writing.catalogue() else { return Ok(false) };
            let is_superseded = catalogue.supersede(by)?;
            if is_superseded {
                writing.superseded_by.store(by, Ordering::Release);
            }
            Ok(is_superseded)
        })
    }

    /// Whether another service has taken the place of this primary.
    pub(crate) fn is_superseded(&self) -> bool {
        self.writing.as_ref().is_some_and(Writing::is_superseded)
    }

    /// The lineage of these items; the default one where no catalogue is open.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) fn lineage(&self) -> Result<Lineage> {
        self.catalogue().map_or_else(|| Ok(Lineage::default()), |catalogue| catalogue.lineage())
    }
}

/// Checks that every change continues from the one before, which verifies its bytes, and decodes it. Returns the changes with the position
/// after the last.
fn read(
    changes: Vec<LoggedChange>,
    head: Position,
) -> Result<(Vec<(LoggedChange, ReadChange)>, Position), ReplayError> {
    let (mut all, mut last) = (Vec::with_capacity(changes.len()), head);
    for change in changes {
        if !change.follows(&last) {
            return Err(ReplayError::NotNext { head: last.number, got: change.number });
        }
        last = change.position();
        let read = ReadChange::decode(&change.payload);
        let unreadable = |source| ReplayError::Unreadable { number: change.number, source };
        let read = read.map_err(unreadable)?;
        all.push((change, read));
    }
    Ok((all, last))
}

/// Compares an index with the fingerprint in its journal. If another program has changed the index, a new history begins, because the journal
/// lacks these changes.
pub(super) fn check_unchanged(catalogue: &Catalogue, index: &Index) -> Result<()> {
    let (Some(published), Some(head)) = (catalogue.published(), catalogue.head()?) else {
        return Ok(());
    };
    let mut touched = BTreeSet::new();
    for change in catalogue.logged(published.number, head.number, usize::MAX)? {
        touched.extend(decoded(catalogue, &change)?.ids());
    }
    if of_all_but(index, &touched) != catalogue.untouched() {
        tracing::warn!(
            "the index was changed by another program: followers have to take all items anew"
        );
        catalogue.begin_anew()?;
    }
    Ok(())
}

fn decoded(catalogue: &Catalogue, change: &LoggedChange) -> Result<ReadChange> {
    ReadChange::decode(&change.payload).map_err(|error| Error::Journal {
        path: catalogue.path().to_owned(),
        number: change.number,
        reason: error.to_string(),
    })
}

/// The batch that applies to the index the changes after the published position; `None` if the index has them all.
pub(super) fn outstanding(
    catalogue: &Catalogue,
    index: &Index,
    shape: &ItemShape,
) -> Result<Option<Batch>> {
    let (Some(published), Some(head)) = (catalogue.published(), catalogue.head()?) else {
        return Ok(None);
    };
    // The last state of each item: its record, or `None` if it was removed.
    let mut wanted: BTreeMap<u64, Option<Record>> = BTreeMap::new();
    for change in catalogue.logged(published.number, head.number, usize::MAX)? {
        let read = decoded(catalogue, &change)?;
        wanted.extend(read.removed.into_iter().map(|removal| (removal.id, None)));
        wanted.extend(read.added.into_iter().map(|entry| (entry.id, Some(entry.record))));
    }
    wanted.retain(|id, record| match record {
        Some(record) => !shape.is_kept(index, *id, record),
        None => index.contains(*id),
    });
    if wanted.is_empty() {
        return Ok(None);
    }
    let removed = wanted.iter().filter(|(_, record)| record.is_none()).map(|(id, _)| *id);
    let kept = wanted.iter().filter_map(|(id, record)| Some((*id, record.as_ref()?)));
    Ok(Some(Batch::new().remove(removed).upsert(shape.set_of(kept)?)))
}

#[cfg(test)]
mod tests;
