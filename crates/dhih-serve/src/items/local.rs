//! `LocalItems`: an index with its catalogue, open in this process. `changing.rs` changes both.
//!
//! The state for reads (index, form of the labels, whether changes are possible) is outside of the mutex for changes, so that no read waits
//! for a change. A change waits for other changes, but never for a reload: during one it is refused at once (`handover.rs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use dhih_index::{Filter, Index, IndexWriter};

use super::agreement::{is_current, reconcile};
use super::catalogue::{Catalogue, Lineage};
use super::fingerprint::Fingerprint;
use super::numbering::Numbering;
use super::replaying::{check_unchanged, outstanding};
use super::selections::Selections;
use super::writing::{Changes, Writing};
use super::{Access, ChangeError, ItemShape, LabelShape};
use crate::file_identity::FileIdentity;
use crate::{Error, Result};

/// The parameters of opening items.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) dir: &'a Path,
    /// SHA-256 of the model that must have made the codes, if it is known.
    pub(crate) model_sha256: Option<&'a str>,
    pub(crate) access: Access,
    /// The catalogue of the directory, if it is already open.
    pub(crate) catalogue: Option<Arc<Catalogue>>,
    /// Whether a catalogue is created if there is none. An existing catalogue is always used.
    pub(crate) makes_catalogue: bool,
}

/// An index with its catalogue, if it has one.
#[derive(Debug)]
pub(crate) struct LocalItems {
    /// The canonical path of the directory at the time of opening.
    pub(super) dir: PathBuf,
    pub(super) identity: FileIdentity,
    pub(super) index_id: String,
    pub(super) shape: ItemShape,
    pub(super) index: ArcSwap<Index>,
    pub(super) selections: Selections,
    /// Absent if the items were opened read-only.
    pub(super) writing: Option<Writing>,
}

impl LocalItems {
    /// Opens an index directory and checks the index by `check`. If it is opened for writing, makes it agree with the catalogue.
    ///
    /// # Errors
    /// When a file is damaged, another process writes to the directory, or `check` refuses the index.
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
            // A catalogue that is created now would be that of no copy.
            Access::Follower if catalogue.is_none() && !Catalogue::is_in(&dir) => {
                return Err(Error::NotAFollower { path: dir });
            }
            Access::Writable | Access::Follower => {
                // The writer removes an incomplete record from the end of the log, which a loss of power may leave and which is no damage.
                let mut writer = IndexWriter::open(&dir).map_err(failed)?;
                check(&writer.snapshot())?;
                let index = writer.snapshot();
                let catalogue = match catalogue {
                    None if makes_catalogue || Catalogue::is_in(&dir) => {
                        Some(Arc::new(Catalogue::open(&dir)?))
                    }
                    open => open,
                };
                let mut lineage = Lineage::default();
                if let Some(catalogue) = &catalogue {
                    let model = model_sha256.or(index.model_sha256());
                    model.map_or(Ok(()), |model| catalogue.check_model(model))?;
                    lineage = lineage_of(&dir, catalogue, access)?;
                    let shape = ItemShape::of(&index);
                    // The ids of a rebuilt index may belong to other items, so the journal applies only to the same index.
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
                writing.primary.store(lineage.primary.map(Arc::new));
                writing.superseded_by.store(lineage.superseded_by, Ordering::Release);
                (index, Some(writing))
            }
        };
        let shape = ItemShape::of(&index);
        if shape.labels != LabelShape::None {
            // The first filter by label collects the labels of all items. Doing this now spares the first request the wait.
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

    /// The current snapshot of the index.
    pub(crate) fn index(&self) -> Arc<Index> {
        self.index.load_full()
    }

    /// The form of the labels and vectors of items.
    pub(crate) fn shape(&self) -> &ItemShape {
        &self.shape
    }

    /// The catalogue, if there is one and the items were opened for writing.
    pub(crate) fn catalogue(&self) -> Option<&Arc<Catalogue>> {
        self.writing.as_ref()?.catalogue()
    }

    /// Whether the items were opened for writing.
    pub(crate) fn is_changeable(&self) -> bool {
        self.writing.is_some()
    }

    /// Whether a change is possible now, as far as is known.
    pub(crate) fn is_writable(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| {
            !writing.is_broken.load(Ordering::Relaxed) && writing.check_primary().is_ok()
        })
    }

    /// Refuses changes while the files are handed over to another run.
    ///
    /// # Errors
    /// When the files are being handed over, or the items were opened read-only.
    pub(crate) fn check_open(&self) -> Result<(), ChangeError> {
        self.writing.as_ref().ok_or(ChangeError::ReadOnly)?.check_open()
    }

    /// Refuses changes of clients: as [`check_open`](Self::check_open), and while these items are a copy.
    ///
    /// # Errors
    /// As for [`check_open`](Self::check_open), and when these items are the copy of a primary.
    pub(crate) fn check_changeable(&self) -> Result<(), ChangeError> {
        self.check_open()?;
        self.writing.as_ref().map_or(Ok(()), Writing::check_primary)
    }

    /// A code for why the last change failed; absent if it succeeded.
    pub(crate) fn last_error(&self) -> Option<&'static str> {
        self.writing.as_ref()?.last_error.load().as_deref().copied()
    }

    /// The item with an external id in `index`, which is a snapshot of this one.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) fn find(&self, index: &Index, external_id: &str) -> Result<Option<u64>> {
        self.writing.as_ref().map_or(Ok(None), |writing| writing.item_of(index, external_id))
    }
}

/// The lineage of the catalogue. Refuses a copy that is opened for changes of clients, and an index that is not a copy but is opened as a
/// follower's.
fn lineage_of(dir: &Path, catalogue: &Catalogue, access: Access) -> Result<Lineage> {
    let lineage = catalogue.lineage()?;
    match (&lineage.primary, &lineage.former_primary, access) {
        (Some(primary), _, Access::Writable) => {
            Err(Error::IsFollower { path: dir.to_owned(), primary: primary.clone() })
        }
        (None, None, Access::Follower) => Err(Error::NotAFollower { path: dir.to_owned() }),
        _ => Ok(lineage),
    }
}
