//! Additions: which id each item of a request gets and whose place it takes, and the change of catalogue and index that follows. How a
//! change is made: `changing.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use dhih_index::{Batch, Index, to_hex};

use super::catalogue::{Change, Entry, Removal};
use super::changing::{Changes, Steps, Unsettled, Writing};
use super::metadata::Attributes;
use super::numbering::{MAX_ID, Numbering};
use super::{ChangeError, Changed, ItemId, LocalItems, Made, NewItem};

impl LocalItems {
    /// Adds items, or replaces some, all or none. When this returns they are on disk and are found.
    ///
    /// # Errors
    /// An id that is taken; files that cannot be written to.
    pub(crate) fn add(self: &Arc<Self>, items: Vec<NewItem>) -> Result<Changed, ChangeError> {
        let several = items.len() > 1;
        self.add_by(items, |number, refusal| match several {
            true => Err(ChangeError::OfItem { number, refusal: refusal.into() }),
            false => Err(refusal),
        })
    }

    /// Adds items, or replaces some: those that can be, in one change. What is wrong with the others is told of each.
    ///
    /// # Errors
    /// Files that cannot be written to: then none is added.
    pub(crate) fn add_each(self: &Arc<Self>, items: Vec<NewItem>) -> Result<Changed, ChangeError> {
        self.add_by(items, |_, refusal| match refusal {
            // Of the files, not of the item.
            ChangeError::Failed(_)
            | ChangeError::NotWritable(_)
            | ChangeError::OutcomeUnknown(_) => Err(refusal),
            refusal => Ok(refusal),
        })
    }

    /// Adds items. `refuse` says whether an item that cannot be added is left out, or ends the addition.
    fn add_by(
        self: &Arc<Self>,
        items: Vec<NewItem>,
        refuse: impl Fn(usize, ChangeError) -> Result<ChangeError, ChangeError>,
    ) -> Result<Changed, ChangeError> {
        self.change(|writing, changes| {
            if items.iter().any(NewItem::has_attributes) {
                self.make_catalogue(writing)?;
            }
            let index = self.index();
            let mut adding = Adding::new(self, &index, writing, changes.numbers);
            let mut outcomes = Vec::with_capacity(items.len());
            for (number, item) in items.into_iter().enumerate() {
                outcomes.push(match adding.take(item) {
                    Ok(made) => Ok(made),
                    Err(refusal) => Err(refuse(number, refusal)?),
                });
            }
            let Adding { numbers, entries, touched, .. } = adding;
            if entries.is_empty() {
                return Ok(Changed { outcomes, index });
            }
            let index = self.make_additions(writing, changes, &entries, touched)?;
            changes.numbers = numbers;
            Ok(Changed { outcomes, index })
        })
    }

    fn make_additions(
        &self,
        writing: &Writing,
        changes: &mut Changes,
        entries: &[Entry],
        touched: Vec<Unsettled>,
    ) -> Result<Arc<Index>, ChangeError> {
        let records = entries.iter().map(|entry| (entry.id, &entry.record));
        let batch = Batch::new().upsert(self.shape.set_of(records)?);
        let change = Change { added: entries, ..Change::default() };
        let steps = Steps { change, batch, touched };
        self.make(writing, changes, steps, |index| {
            let is_there = |entry: &Entry| {
                index.code(entry.id).map(to_hex).as_ref() == Some(&entry.record.code)
            };
            entries.iter().all(is_there)
        })
    }
}

/// The items of a request, as they find their ids one after the other.
struct Adding<'a> {
    items: &'a LocalItems,
    index: &'a Index,
    writing: &'a Writing,
    numbers: Numbering,
    entries: Vec<Entry>,
    touched: Vec<Unsettled>,
    /// The places of the entries by id.
    places: HashMap<u64, usize>,
    /// The items that entries have given external ids to.
    external_ids: HashMap<String, u64>,
}

impl<'a> Adding<'a> {
    fn new(
        items: &'a LocalItems,
        index: &'a Index,
        writing: &'a Writing,
        numbers: Numbering,
    ) -> Self {
        let (entries, touched, places, external_ids) = Default::default();
        Self { items, index, writing, numbers, entries, touched, places, external_ids }
    }

    /// Takes an item, of which nothing is kept where it is refused.
    fn take(&mut self, item: NewItem) -> Result<Made, ChangeError> {
        let NewItem { id: wanted, mut record, thumbnail, digest, attributes } = item;
        self.items.shape.fit(&mut record).map_err(ChangeError::Vector)?;
        if let (Some(attributes), Some(catalogue)) = (&attributes, self.writing.catalogue()) {
            catalogue.fields().check(&attributes.metadata)?;
        }
        let external = attributes.as_ref().and_then(|it| it.external_id.as_deref());
        let known = external.map_or(Ok(None), |external| self.item_of(external))?;
        let id = match (wanted, known) {
            (ItemId::Upserted(None), Some(known)) => known,
            (ItemId::Upserted(Some(id)), Some(known)) if id == known => id,
            (ItemId::Replaced(id), Some(known)) if id == known => id,
            (_, Some(known)) => {
                let external_id = external.unwrap_or_default().to_owned();
                return Err(ChangeError::ExternalIdTaken { external_id, id: known });
            }
            (ItemId::Next | ItemId::Upserted(None), None) => self.next_id()?,
            (ItemId::Free(id) | ItemId::Upserted(Some(id)), None) if id > MAX_ID => {
                return Err(ChangeError::IdTooLarge(id));
            }
            (ItemId::Free(id), None) if self.is_taken(id) => return Err(ChangeError::Taken(id)),
            (ItemId::Replaced(id), None) if !self.index.contains(id) => {
                return Err(ChangeError::Unknown(id));
            }
            (ItemId::Free(id) | ItemId::Replaced(id) | ItemId::Upserted(Some(id)), None) => id,
        };
        let replaces = self.is_taken(id);
        self.numbers.note(id);
        self.external_ids.extend(external.map(|external| (external.to_owned(), id)));
        let replaced = self.index.code(id).map(to_hex);
        let undo = Removal { id, code: record.code.clone() };
        let undo = Some(undo).filter(|_| replaced.is_none());
        let attributes = attributes.map(|it| Attributes { code: record.code.clone(), ..it });
        let entry = Entry { id, record, thumbnail, digest, replaced, attributes };
        match self.places.insert(id, self.entries.len()) {
            // Twice in one request: the last one counts.
            Some(place) => {
                self.places.insert(id, place);
                self.entries[place] = entry;
                self.touched[place] = Unsettled { id, undo };
            }
            None => {
                self.entries.push(entry);
                self.touched.push(Unsettled { id, undo });
            }
        }
        Ok(Made { id, replaces })
    }

    fn next_id(&mut self) -> Result<u64, ChangeError> {
        let mut numbers = self.numbers;
        let id = numbers.take(|id| {
            let known = self.writing.catalogue().map_or(Ok(false), |it| it.knows(id))?;
            Ok(known || self.is_taken(id))
        })?;
        self.numbers = numbers;
        Ok(id)
    }

    fn is_taken(&self, id: u64) -> bool {
        self.index.contains(id) || self.places.contains_key(&id)
    }

    /// The item that has an external id.
    fn item_of(&self, external: &str) -> Result<Option<u64>, ChangeError> {
        if let Some(id) = self.external_ids.get(external) {
            return Ok(Some(*id));
        }
        Ok(LocalItems::item_of(self.writing, self.index, external)?)
    }
}
