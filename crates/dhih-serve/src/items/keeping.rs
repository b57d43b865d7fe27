//! What users keep with items that stay as they are: metadata is replaced, fields are declared, external ids are looked up. How a change is
//! made: `changing.rs`.

use std::sync::Arc;

use dhih_index::{Batch, Index, to_hex};

use super::catalogue::{Catalogue, Change};
use super::changing::{Steps, Unsettled, Writing};
use super::metadata::{Attributes, Fields, Metadata};
use super::{ChangeError, LocalItems};
use crate::Result;

/// What is to be kept with an item.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) id: u64,
    /// `None` leaves the one that it has.
    pub(crate) external_id: Option<String>,
    pub(crate) metadata: Metadata,
}

impl LocalItems {
    /// Gives items other metadata, and external ids where these are given, all or none. When this returns they are on disk, and filters go by
    /// them.
    ///
    /// # Errors
    /// There is no such item; a value that is not of its field's type; an external id that another item has; files that cannot be written to.
    pub(crate) fn keep(self: &Arc<Self>, kept: Vec<Kept>) -> Result<Arc<Index>, ChangeError> {
        self.change(|writing, changes| {
            let index = self.index();
            let catalogue = self.make_catalogue(writing)?;
            let fields = catalogue.fields();
            let mut attributes = Vec::with_capacity(kept.len());
            for Kept { id, external_id, metadata } in kept {
                let code = index.code(id).map(to_hex).ok_or(ChangeError::Unknown(id))?;
                fields.check(&metadata)?;
                if let Some(external_id) = &external_id
                    && let Some(of) = Self::item_of(writing, &index, external_id)?
                    && of != id
                {
                    return Err(ChangeError::ExternalIdTaken {
                        external_id: external_id.clone(),
                        id: of,
                    });
                }
                let before = catalogue.attributes(id, &code)?.unwrap_or_default();
                let external_id = external_id.or(before.external_id);
                attributes.push((id, Attributes { code, external_id, metadata }));
            }
            let change = Change { attributes: &attributes, ..Change::default() };
            let touched =
                attributes.iter().map(|(id, _)| Unsettled { id: *id, undo: None }).collect();
            let steps = Steps { change, batch: Batch::new(), touched };
            self.make(writing, changes, steps, |_| {
                let is_kept = |(id, wanted): &(u64, Attributes)| {
                    let kept =
                        catalogue.attributes(*id, &wanted.code).ok().map(Option::unwrap_or_default);
                    kept.is_some_and(|kept| {
                        (kept.external_id, kept.metadata)
                            == (wanted.external_id.clone(), wanted.metadata.clone())
                    })
                };
                attributes.iter().all(is_kept)
            })
        })
    }

    /// Declares fields in the place of those before. When this returns the declaration is on disk, and filters go by it.
    ///
    /// # Errors
    /// An item has a value of another type; files that cannot be written to.
    pub(crate) fn declare(self: &Arc<Self>, fields: &Fields) -> Result<(), ChangeError> {
        self.change(|writing, _| {
            let index = self.index();
            let catalogue = self.make_catalogue(writing)?;
            Ok(catalogue.declare(fields, is_current(&index))??)
        })
    }

    /// The item of an index, which is a snapshot of this one, that has an external id.
    ///
    /// # Errors
    /// A catalogue that cannot be read.
    pub(crate) fn find(&self, index: &Index, external_id: &str) -> Result<Option<u64>> {
        self.writing.as_ref().map_or(Ok(None), |writing| Self::item_of(writing, index, external_id))
    }

    /// The item that has an external id now.
    pub(super) fn item_of(
        writing: &Writing,
        index: &Index,
        external_id: &str,
    ) -> Result<Option<u64>> {
        let Some(catalogue) = writing.catalogue() else { return Ok(None) };
        let known = catalogue.item_of(external_id)?;
        Ok(known.filter(|(id, code)| is_current(index)(*id, code)).map(|(id, _)| id))
    }

    /// The catalogue, which is made where there is none yet: an index without a model has one from the first metadata, external id or declaration on.
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
}

/// Whether an index has an item with this code, in hexadecimal.
pub(crate) fn is_current(index: &Index) -> impl Fn(u64, &str) -> bool {
    |id, code| index.code(id).map(to_hex).as_deref() == Some(code)
}
