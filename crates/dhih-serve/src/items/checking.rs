//! `dhih-serve check`: whether an index is whole and agrees with its catalogue. Nothing is changed.

use std::path::Path;

use dhih_index::Index;
use serde::Serialize;

use super::agreement::{Difference, is_current};
use super::catalogue::Catalogue;
use crate::{Error, Result};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Items of the index, of which every byte was read.
    pub items: usize,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Items of the catalogue; absent where there is none.
    pub catalogued: Option<usize>,
    /// Items that the catalogue has, and the index lacks or has with a former code. The service adds them when it starts.
    pub outdated: Vec<u64>,
    /// Items that were deleted in the catalogue, and the index has. The service removes them when it starts.
    pub removed: Vec<u64>,
    /// Items of the catalogue whose ids the index has given to others. The service gives them other ids when it starts.
    pub displaced: Vec<u64>,
    /// Items that have metadata or an external id of an item with another code. It is kept and does not count.
    pub foreign_metadata: Vec<u64>,
}

impl Checked {
    /// Whether index and catalogue have the same items.
    pub fn agree(&self) -> bool {
        [&self.outdated, &self.removed, &self.displaced].iter().all(|list| list.is_empty())
    }
}

/// Checks an index directory that no service has open.
///
/// # Errors
/// A damaged file; one that another process has open.
pub fn check_index(dir: &Path) -> Result<Checked> {
    let failed = |error| Error::index(dir, error);
    let index = Index::open(dir).map_err(failed)?;
    let verified = index.verify().map_err(failed)?;
    let mut checked =
        Checked { items: verified.codes, bytes: verified.bytes, ..Checked::default() };
    if !Catalogue::is_in(dir) {
        return Ok(checked);
    }
    let catalogue = Catalogue::open(dir)?;
    let Difference { outdated, removed, displaced } = Difference::of(&index, &catalogue)?;
    let ids = |items: Vec<(u64, _)>| items.into_iter().map(|(id, _)| id).collect();
    checked.catalogued = Some(catalogue.len());
    (checked.outdated, checked.displaced) = (ids(outdated), ids(displaced));
    checked.removed = removed;
    checked.foreign_metadata = catalogue.foreign_attributes(is_current(&index))?;
    Ok(checked)
}
