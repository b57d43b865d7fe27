//! Makes an index agree with its catalogue. The catalogue is committed first and is therefore authoritative. Items are compared by id and
//! code, because an id alone does not show that an index was rebuilt:
//!
//! - An item that the index lacks is added.
//! - If the index has a former code under the id of an item, the item replaces it.
//! - If the last change has replaced an item by another of the same code, labels and vectors are compared as well: a crash may have kept
//!   the change from the index. Labels and vectors of other items stay as they are in the index, which may have been built anew with
//!   other ones.
//! - If the index has any other code there, it was rebuilt and has given the id to another item. The catalogue's item gets a new id,
//!   together with its thumbnail and source.
//! - A code that was removed under its id is removed again. Any other code of the index stays.
//!
//! The rules depend only on what is on disk. A crash between two steps therefore does not change the outcome.

use std::collections::BTreeSet;
use std::path::Path;

use dhih_index::{Batch, Index, IndexWriter, to_hex};

use crate::items::ItemShape;
use crate::items::catalogue::{Catalogue, Change, FormerCodes, Record};
use crate::items::numbering::Numbering;
use crate::{Error, Result};

/// The differences between an index and its catalogue.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    /// Items that the index lacks, or has with a former code, or has as they were before the last change replaced them by others of the same
    /// code.
    pub(super) outdated: Vec<(u64, Record)>,
    /// Ids of items that were removed in the catalogue and are in the index.
    pub(super) removed: Vec<u64>,
    /// Items whose ids the index has given to other items.
    pub(super) displaced: Vec<(u64, Record)>,
}

/// An index and its catalogue, to be compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison<'a> {
    pub(super) index: &'a Index,
    pub(super) catalogue: &'a Catalogue,
    pub(super) shape: &'a ItemShape,
}

/// The result of a scan of the catalogue, before former codes are compared.
#[derive(Default)]
struct Found {
    missing: Vec<(u64, Record)>,
    conflicts: Vec<(u64, Record)>,
    maybe_removed: Vec<u64>,
}

impl Comparison<'_> {
    /// Compares all items.
    pub(super) fn of_all(&self) -> Result<Difference> {
        let Self { index, catalogue, .. } = *self;
        let is_same_index = catalogue.index_id()?.is_none_or(|id| id == index.id());
        let same_code = match is_same_index {
            true => catalogue.replaced_by_same_code()?,
            false => BTreeSet::new(),
        };
        let item = |found: &mut Found, id: u64, record: Record| match index.code(id) {
            None => found.missing.push((id, record)),
            Some(code) if to_hex(code) == record.code => {
                if same_code.contains(&id) && !self.shape.is_kept(index, id, &record) {
                    found.missing.push((id, record));
                }
            }
            Some(_) => found.conflicts.push((id, record)),
        };
        let former = |found: &mut Found, id: u64, codes: FormerCodes| {
            let code = index.code(id).map(to_hex);
            if code.is_some_and(|code| was_removed(&codes, &code, is_same_index)) {
                found.maybe_removed.push(id);
            }
        };
        let found = catalogue.scan(item, former)?;
        let mut difference = Difference { outdated: found.missing, ..Difference::default() };
        for (id, record) in found.conflicts {
            self.add_conflict(&mut difference, (id, record), is_same_index)?;
        }
        for id in found.maybe_removed {
            if catalogue.record(id)?.is_none() {
                difference.removed.push(id);
            }
        }
        Ok(difference)
    }

    /// Compares the items with these ids, which a change has touched that failed.
    pub(super) fn of_ids(&self, ids: &[u64]) -> Result<Difference> {
        let Self { index, catalogue, .. } = *self;
        let mut difference = Difference::default();
        for &id in ids {
            match (catalogue.record(id)?, index.code(id).map(to_hex)) {
                (None, None) => {}
                (None, Some(code)) => {
                    if was_removed(&catalogue.former_codes(id)?, &code, true) {
                        difference.removed.push(id);
                    }
                }
                (Some(record), None) => difference.outdated.push((id, record)),
                (Some(record), Some(code)) if code == record.code => {
                    if !self.shape.is_kept(index, id, &record) {
                        difference.outdated.push((id, record));
                    }
                }
                (Some(record), Some(_)) => {
                    self.add_conflict(&mut difference, (id, record), true)?;
                }
            }
        }
        Ok(difference)
    }

    /// Adds an item for which the index has another code.
    fn add_conflict(
        &self,
        difference: &mut Difference,
        item: (u64, Record),
        is_same_index: bool,
    ) -> Result<()> {
        let code = self.index.code(item.0).map(to_hex).unwrap_or_default();
        let former = self.catalogue.former_codes(item.0)?;
        match was_removed(&former, &code, is_same_index) {
            true => difference.outdated.push(item),
            false => difference.displaced.push(item),
        }
        Ok(())
    }
}

impl Difference {
    /// The batch that makes the index agree.
    pub(super) fn batch(&self, shape: &ItemShape) -> Result<Batch> {
        let records = self.outdated.iter().map(|(id, record)| (*id, record));
        let set = shape.set_of(records)?;
        Ok(Batch::new().remove(self.removed.iter().copied()).upsert(set))
    }

    /// Whether the index needs no change.
    pub(super) fn is_empty(&self) -> bool {
        self.outdated.is_empty() && self.removed.is_empty()
    }
}

fn was_removed(codes: &FormerCodes, code: &str, is_same_index: bool) -> bool {
    codes.contains(code) || (codes.has_unknown && is_same_index)
}

/// Makes an index agree with its catalogue.
pub(super) fn reconcile(
    dir: &Path,
    writer: &mut IndexWriter,
    catalogue: &Catalogue,
    shape: &ItemShape,
) -> Result<()> {
    let index = writer.snapshot();
    let mut difference = Comparison { index: &index, catalogue, shape }.of_all()?;
    let mut numbers = Numbering::after(&index, Some(catalogue))?;
    let mut moved = Vec::new();
    for (from, record) in std::mem::take(&mut difference.displaced) {
        let to = numbers.take(|id| Ok(index.contains(id) || catalogue.knows(id)?))?;
        tracing::warn!(
            from,
            to,
            "an item of the index that was built anew has this id: the added one gets another"
        );
        moved.push((from, to));
        difference.outdated.push((to, record));
    }
    let id = index.id();
    if !moved.is_empty() || catalogue.index_id()?.is_none_or(|known| known != id) {
        catalogue.commit(&Change { moved: &moved, index_id: Some(&id), ..Change::default() })?;
    }
    if difference.is_empty() {
        return Ok(());
    }
    let (added, removed) = (difference.outdated.len(), difference.removed.len());
    tracing::warn!(added, removed, "the index is made to agree with the catalogue");
    let batch = difference.batch(shape)?;
    writer.apply(&batch).map(drop).map_err(|error| Error::index(dir, error))
}

/// Whether an index has an item with this code, in hexadecimal.
pub(crate) fn is_current(index: &Index) -> impl Fn(u64, &str) -> bool {
    |id, code| index.code(id).map(to_hex).as_deref() == Some(code)
}
