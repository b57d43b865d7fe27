//! Changes of what users store with existing items: replaces metadata, declares fields, and claims imported files. `changing.rs` makes the
//! changes.

use std::collections::HashMap;
use std::sync::Arc;

use dhih_index::{Batch, Index, to_hex};

use super::ChangeError;
use super::agreement::is_current;
use super::catalogue::{Change, Claim};
use super::local::LocalItems;
use super::metadata::{Attributes, Fields, Metadata};
use super::writing::{Steps, Unsettled};

/// New metadata of an item.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) id: u64,
    /// A new external id; `None` keeps the present one.
    pub(crate) external_id: Option<String>,
    pub(crate) metadata: Metadata,
}

impl LocalItems {
    /// Replaces the metadata of items and, where given, their external ids: of all of them or none. When this returns, they are on disk,
    /// and filters use them.
    ///
    /// # Errors
    /// When there is no such item, a value has another type than its field, another item has an external id, or files cannot be written to.
    pub(crate) fn keep(self: &Arc<Self>, kept: Vec<Kept>) -> Result<Arc<Index>, ChangeError> {
        self.change(|writing, changes| {
            let index = self.index();
            let catalogue = self.make_catalogue(writing)?;
            let (fields, claims) = (catalogue.fields(), Claims::of(&kept)?);
            let mut attributes = Vec::with_capacity(kept.len());
            for Kept { id, external_id, metadata } in kept {
                let code = index.code(id).map(to_hex).ok_or(ChangeError::Unknown(id))?;
                fields.check(&metadata)?;
                if let Some(external_id) = &external_id
                    && let Some(of) = writing.item_of(&index, external_id)?
                    && of != id
                    && !claims.is_released_by(of)
                {
                    let external_id = external_id.clone();
                    return Err(ChangeError::ExternalIdTaken { external_id, id: of });
                }
                let before = catalogue.attributes(id, &code)?.unwrap_or_default();
                let external_id = external_id.or(before.external_id);
                attributes.push((id, Attributes { code, external_id, metadata }));
            }
            let change = Change { attributes: &attributes, ..Change::default() };
            let touched =
                attributes.iter().map(|(id, _)| Unsettled { id: *id, undo: None }).collect();
            let steps = Steps { change, batch: Batch::new(), touched };
            self.make(writing, changes, steps, |_| false)
        })
    }

    /// Replaces the declaration of the fields. When this returns, it is on disk, and filters use it.
    ///
    /// # Errors
    /// When an item has a value of another type, or files cannot be written to.
    pub(crate) fn declare(self: &Arc<Self>, fields: &Fields) -> Result<(), ChangeError> {
        self.change(|writing, changes| {
            let catalogue = self.make_catalogue(writing)?;
            let postings = catalogue.postings_of(fields, is_current(&self.index()))??;
            let change = Change { fields: Some(fields), ..Change::default() };
            self.make(writing, changes, Steps::of_catalogue(change), |_| false)?;
            catalogue.replace_postings(postings);
            Ok(())
        })
    }

    /// Gives imported files of format 1 their own keys in the catalogue. Items do not change.
    ///
    /// # Errors
    /// When the catalogue cannot be written to.
    pub(crate) fn claim(self: &Arc<Self>, claimed: &[Claim]) -> Result<(), ChangeError> {
        self.change(|writing, changes| {
            let change = Change { claimed, ..Change::default() };
            self.make(writing, changes, Steps::of_catalogue(change), |_| false).map(drop)
        })
    }
}

/// The items that get new external ids in one change, by these external ids.
struct Claims(HashMap<String, u64>);

impl Claims {
    /// Refuses one external id for two items.
    fn of(kept: &[Kept]) -> Result<Self, ChangeError> {
        let mut items = HashMap::new();
        for Kept { id, external_id, .. } in kept {
            let Some(external_id) = external_id else { continue };
            let other = items.insert(external_id.clone(), *id).filter(|other| other != id);
            if let Some(other) = other {
                let external_id = external_id.clone();
                return Err(ChangeError::ExternalIdTaken { external_id, id: other });
            }
        }
        Ok(Self(items))
    }

    /// Whether an item gives up the external id that it has, because it gets another one.
    fn is_released_by(&self, item: u64) -> bool {
        self.0.values().any(|id| *id == item)
    }
}
