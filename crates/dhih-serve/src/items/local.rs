//! `LocalItems`: an index with its catalogue, open in this process. How both are changed: `changing.rs`.
//!
//! What a read needs (index, shape of the labels, whether it is writable) lies outside the mutex of the changes, so that no read waits
//! for a change. A change waits for another one, and never for a reload: that is told at once (`handover.rs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use dhih_index::{Filter, Index, IndexWriter};

use super::agreement::{is_current, reconcile};
use super::catalogue::Catalogue;
use super::numbering::Numbering;
use super::selections::Selections;
use super::writing::{Changes, Writing};
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
            Access::Writable => {
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
                if let Some(catalogue) = &catalogue {
                    let model = model_sha256.or(index.model_sha256());
                    model.map_or(Ok(()), |model| catalogue.check_model(model))?;
                    reconcile(&dir, &mut writer, catalogue, &ItemShape::of(&index))?;
                }
                let index = writer.snapshot();
                catalogue.as_ref().map_or(Ok(()), |it| it.read_attributes(is_current(&index)))?;
                let numbers = Numbering::after(&index, catalogue.as_deref())?;
                (index, Some(Writing::new(catalogue, Changes::new(writer, numbers))))
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
        self.writing.as_ref().is_some_and(|writing| !writing.is_broken.load(Ordering::Relaxed))
    }

    /// Refuses changes at once while the files are given to another run.
    ///
    /// # Errors
    /// As said; it was opened to be searched alone.
    pub(crate) fn check_open(&self) -> Result<(), ChangeError> {
        self.writing.as_ref().ok_or(ChangeError::ReadOnly)?.check_open()
    }

    /// A word for why the last change failed; absent where it did not.
    pub(crate) fn last_error(&self) -> Option<&'static str> {
        self.writing.as_ref()?.last_error.load().as_deref().copied()
    }

    /// The item of an index, which is a snapshot of this one, that has an external id.
    ///
    /// # Errors
    /// A catalogue that cannot be read.
    pub(crate) fn find(&self, index: &Index, external_id: &str) -> Result<Option<u64>> {
        self.writing.as_ref().map_or(Ok(None), |writing| writing.item_of(index, external_id))
    }
}
