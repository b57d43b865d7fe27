//! `dhih-serve check`: checks whether an index is undamaged and agrees with its catalogue. Changes nothing.

use std::path::Path;

use dhih_index::Index;
use serde::Serialize;

use super::agreement::{Difference, is_current};
use super::catalogue::Catalogue;
use crate::{Error, Result};

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The number of items in the index. All its bytes were read.
    pub items: usize,
    /// Bytes of its segments.
    pub bytes: u64,
    /// The number of items in the catalogue; absent where there is none.
    pub catalogued: Option<usize>,
    /// Items of the catalogue that the index lacks, or has with a former code. The service adds them when it starts.
    pub outdated: Vec<u64>,
    /// Items of the index that were deleted in the catalogue. The service removes them when it starts.
    pub removed: Vec<u64>,
    /// Items of the catalogue whose ids the index has given to other items. The service gives them new ids when it starts.
    pub displaced: Vec<u64>,
    /// Items whose metadata or external id belongs to an item with another code. These are kept, but not used.
    pub foreign_metadata: Vec<u64>,
}

impl Checked {
    /// Whether index and catalogue have the same items.
    pub fn agree(&self) -> bool {
        [&self.outdated, &self.removed, &self.displaced].iter().all(|list| list.is_empty())
    }
}

/// Checks an index directory. No service may have it open.
///
/// # Errors
/// When a file is damaged, or open in another process.
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
