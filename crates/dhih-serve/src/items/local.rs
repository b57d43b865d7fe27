//! `LocalItems`: an index with its catalogue, open in this process, and the changes to both.
//!
//! How a change is made, and what happens where it fails: `changing.rs`.
//!
//! What a read needs (index, shape of the labels, whether it is writable) lies outside the mutex of the changes, so that no read waits
//! for a change. A change waits for another one, and never for a reload: that is told at once (`handover.rs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use dhih_index::{Batch, Filter, Index, IndexWriter, to_hex};

use super::agreement::reconcile;
use super::catalogue::{Catalogue, Change, Claim, Lineage, Removal};
use super::changing::{Changes, Steps, Unsettled, Writing};
use super::fingerprint::Fingerprint;
use super::keeping::is_current;
use super::numbering::Numbering;
use super::replaying::{check_unchanged, outstanding};
use super::selections::Selections;
use super::{Access, ChangeError, ItemShape, LabelShape};
use crate::file_identity::FileIdentity;
use crate::{Error, Result};

/// What is opened.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) dir: &'a Path,
    /// SHA-256 of the model that the codes must be of, where it is known.
    pub(crate) model_sha256: Option<&'a str>,
    pub(crate) access: Access,
    /// The catalogue of the directory, where it is open already.
    pub(crate) catalogue: Option<Arc<Catalogue>>,
    /// Whether a catalogue is made where there is none; one that is there is always kept.
    pub(crate) makes_catalogue: bool,
}

/// An index with its catalogue, if it has one.
#[derive(Debug)]
pub(crate) struct LocalItems {
    /// The directory, as its path was resolved when it was opened.
    pub(super) dir: PathBuf,
    pub(super) identity: FileIdentity,
    pub(super) index_id: String,
    pub(super) shape: ItemShape,
    pub(super) index: ArcSwap<Index>,
    pub(super) selections: Selections,
    /// Absent where it was opened to be searched alone.
    pub(super) writing: Option<Writing>,
}

impl LocalItems {
    /// Opens an index directory, has the index checked, and makes it agree with the catalogue where it is to be writable.
    ///
    /// # Errors
    /// A damaged file; another process that writes; what `check` refuses.
    pub(crate) fn open(opening: Opening<'_>, check: impl Fn(&Index) -> Result<()>) -> Result<Self> {
        let Opening { dir, model_sha256, access, catalogue, makes_catalogue } = opening;
        let unreadable = |source| Error::Input { path: dir.to_owned(), source };
        let dir = dir.canonicalize().map_err(unreadable)?;
        let identity = FileIdentity::of(&dir).map_err(unreadable)?;
        let failed = |e| Error::index(&dir, e);
        let (index, writing) = match access {
            Access::ReadOnly => {
                let index = Index::open(&dir).map_err(failed)?;
                check(&index)?;
                (index, None)
            }
            Access::Writable | Access::Follower => {
                // The writer cuts off what a loss of power left of the log, which is no damage.
                let mut writer = IndexWriter::open(&dir).map_err(failed)?;
                check(&writer.snapshot())?;
                let index = writer.snapshot();
                let catalogue = match catalogue {
                    None if makes_catalogue || Catalogue::is_in(&dir) => {
                        Some(Arc::new(Catalogue::open(&dir)?))
                    }
                    open => open,
                };
                let mut primary = None;
                if let Some(catalogue) = &catalogue {
                    let model = model_sha256.or(index.model_sha256());
                    model.map_or(Ok(()), |model| catalogue.check_model(model))?;
                    primary = primary_of(&dir, catalogue, access)?;
                    let shape = ItemShape::of(&index);
                    // In an index that was built anew, ids are those of others.
                    if catalogue.index_id()?.is_some_and(|id| id == index.id()) {
                        check_unchanged(catalogue, &index)?;
                        if let Some(batch) = outstanding(catalogue, &index, &shape)? {
                            writer.apply(&batch).map_err(failed)?;
                        }
                    }
                    reconcile(&dir, &mut writer, catalogue, &shape)?;
                    catalogue.publish()?;
                }
                let index = writer.snapshot();
                let mut fingerprint = Fingerprint::default();
                if let Some(catalogue) = catalogue.as_ref().filter(|it| it.published().is_some()) {
                    fingerprint = Fingerprint::of(&index);
                    if let Some(all) = fingerprint.end(&index) {
                        catalogue.settle(all)?;
                    }
                }
                catalogue.as_ref().map_or(Ok(()), |it| it.read_attributes(is_current(&index)))?;
                let numbers = Numbering::after(&index, catalogue.as_deref())?;
                let writing = Writing::new(catalogue, Changes::new(writer, numbers, fingerprint));
                writing.primary.store(primary.map(Arc::new));
                (index, Some(writing))
            }
        };
        let shape = ItemShape::of(&index);
        if shape.labels != LabelShape::None {
            // The first filter by label gathers all labels: better now than while a request waits.
            drop(index.select(&Filter::default().labels([0])));
        }
        let (index_id, index) = (index.id(), ArcSwap::from_pointee(index));
        let selections = Selections::default();
        Ok(Self { dir, identity, index_id, shape, index, selections, writing })
    }

    /// The directory, as its path was resolved when it was opened.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The index as it is now.
    pub(crate) fn index(&self) -> Arc<Index> {
        self.index.load_full()
    }

    /// What the index's items have beside their codes.
    pub(crate) fn shape(&self) -> &ItemShape {
        &self.shape
    }

    /// The catalogue, where there is one and it was opened to be changed.
    pub(crate) fn catalogue(&self) -> Option<&Arc<Catalogue>> {
        self.writing.as_ref()?.catalogue()
    }

    /// Whether it was opened to be changed.
    pub(crate) fn is_changeable(&self) -> bool {
        self.writing.is_some()
    }

    /// Whether a change can be made now, as far as is known.
    pub(crate) fn is_writable(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| {
            !writing.is_broken.load(Ordering::Relaxed) && writing.primary.load().is_none()
        })
    }

    /// Refuses changes at once while the files are given to another run.
    ///
    /// # Errors
    /// As said; it was opened to be searched alone.
    pub(crate) fn check_open(&self) -> Result<(), ChangeError> {
        self.writing.as_ref().ok_or(ChangeError::ReadOnly)?.check_open()
    }

    /// Refuses changes of somebody who uses the service at once: as [`check_open`](Self::check_open), and where these items are a copy.
    ///
    /// # Errors
    /// As said.
    pub(crate) fn check_changeable(&self) -> Result<(), ChangeError> {
        self.check_open()?;
        self.writing.as_ref().map_or(Ok(()), Writing::check_primary)
    }

    /// A word for why the last change failed; absent where it did not.
    pub(crate) fn last_error(&self) -> Option<&'static str> {
        self.writing.as_ref()?.last_error.load().as_deref().copied()
    }

    /// Removes an item. When this returns it is gone from the disk, and not found.
    ///
    /// # Errors
    /// There is no such item; files that cannot be written to.
    pub(crate) fn remove(self: &Arc<Self>, id: u64) -> Result<(), ChangeError> {
        self.remove_all(|index| match index.contains(id) {
            true => Ok(vec![id]),
            false => Err(ChangeError::Unknown(id)),
        })
        .map(drop)
    }

    /// Removes the items that `choose` names of the index as it is then, all or none. When this returns they are gone from the disk, and not
    /// found. How many there were.
    ///
    /// # Errors
    /// Those of `choose`; files that cannot be written to.
    pub(crate) fn remove_all(
        self: &Arc<Self>,
        choose: impl FnOnce(&Index) -> Result<Vec<u64>, ChangeError>,
    ) -> Result<usize, ChangeError> {
        self.change(|writing, changes| {
            let index = self.index();
            let ids = choose(&index)?;
            let removal =
                |id: &u64| index.code(*id).map(|code| Removal { id: *id, code: to_hex(code) });
            let removed: Vec<Removal> = ids.iter().filter_map(removal).collect();
            if removed.is_empty() {
                return Ok(0);
            }
            let change = Change { removed: &removed, ..Change::default() };
            let touched = removed.iter().map(|it| Unsettled { id: it.id, undo: None }).collect();
            let batch = Batch::new().remove(removed.iter().map(|removal| removal.id));
            let steps = Steps { change, batch, touched };
            let is_gone = |index: &Index| removed.iter().all(|it| !index.contains(it.id));
            self.make(writing, changes, steps, is_gone)?;
            Ok(removed.len())
        })
    }

    /// Notes which files of format 1 of the catalogue these are. Nothing of an item changes.
    ///
    /// # Errors
    /// A catalogue that cannot be written to.
    pub(crate) fn claim(self: &Arc<Self>, claimed: &[Claim]) -> Result<(), ChangeError> {
        self.change(|writing, _| Ok(writing.commit(&Change { claimed, ..Change::default() })?))
    }
}

/// The address of the primary that a catalogue is a copy of, where it may be opened for that.
fn primary_of(dir: &Path, catalogue: &Catalogue, access: Access) -> Result<Option<String>> {
    let Lineage { primary, former_primary } = catalogue.lineage()?;
    match (primary, former_primary, access) {
        (Some(primary), _, Access::Writable) => {
            Err(Error::IsFollower { path: dir.to_owned(), primary })
        }
        (None, None, Access::Follower) => Err(Error::NotAFollower { path: dir.to_owned() }),
        (primary, ..) => Ok(primary),
    }
}
