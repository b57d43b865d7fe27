//! `Placing`: gives the items of several requests their ids, one after the other. A request that is refused leaves no trace.

use std::collections::{BTreeSet, HashMap};

use dhih_index::{Index, to_hex};

use super::catalogue::{Entry, Removal};
use super::local::LocalItems;
use super::metadata::Attributes;
use super::numbering::{MAX_ID, Numbering};
use super::writing::{Unsettled, Writing};
use super::{ChangeError, ItemId, Made, NewItem};

/// The placed items.
pub(super) struct Placed {
    pub(super) numbers: Numbering,
    pub(super) entries: Vec<Entry>,
    pub(super) touched: Vec<Unsettled>,
}

/// The state while items are placed.
pub(super) struct Placing<'a> {
    items: &'a LocalItems,
    index: &'a Index,
    writing: &'a Writing,
    numbers: Numbering,
    entries: Vec<Entry>,
    touched: Vec<Unsettled>,
    /// The positions in `entries` by id.
    places: HashMap<u64, usize>,
    /// The external ids that entries have claimed, with their items.
    external_ids: HashMap<String, u64>,
    /// The steps taken, so that they can be undone.
    done: Vec<Step>,
}

/// A step that can be undone.
enum Step {
    /// An entry was appended.
    Added,
    /// The entry at this position was replaced; the previous one.
    Replaced(usize, Box<(Entry, Unsettled)>),
    /// An external id was claimed; the item that had claimed it before.
    Named(String, Option<u64>),
}

/// A state to return to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    steps: usize,
    entries: usize,
    numbers: Numbering,
}

impl<'a> Placing<'a> {
    pub(super) fn new(
        items: &'a LocalItems,
        index: &'a Index,
        writing: &'a Writing,
        numbers: Numbering,
    ) -> Self {
        let (entries, touched, places, external_ids, done) = Default::default();
        Self { items, index, writing, numbers, entries, touched, places, external_ids, done }
    }

    /// The placed items. A change is undone or completed as a whole. One that replaces an item can only be completed, because the former
    /// item is not kept.
    pub(super) fn placed(self) -> Placed {
        let Self { numbers, entries, mut touched, .. } = self;
        if touched.iter().any(|item| item.undo.is_none()) {
            touched.iter_mut().for_each(|item| item.undo = None);
        }
        Placed { numbers, entries, touched }
    }

    pub(super) fn index(&self) -> &Index {
        self.index
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { steps: self.done.len(), entries: self.entries.len(), numbers: self.numbers }
    }

    /// The entries that were put since a mark, after the earlier ones or in the place of some.
    pub(super) fn since(&self, mark: Mark) -> Vec<&Entry> {
        let replaced = self.done[mark.steps..].iter().filter_map(|step| match step {
            Step::Replaced(place, _) => Some(*place),
            _ => None,
        });
        let places: BTreeSet<usize> = replaced.chain(mark.entries..self.entries.len()).collect();
        places.into_iter().map(|place| &self.entries[place]).collect()
    }

    /// Undoes all steps since a mark.
    pub(super) fn go_back(&mut self, mark: Mark) {
        while self.done.len() > mark.steps {
            match self.done.pop() {
                Some(Step::Added) => {
                    self.touched.pop();
                    let entry = self.entries.pop();
                    if let Some(entry) = entry {
                        self.places.remove(&entry.id);
                    }
                }
                Some(Step::Replaced(place, before)) => {
                    (self.entries[place], self.touched[place]) = *before;
                }
                Some(Step::Named(external_id, Some(before))) => {
                    self.external_ids.insert(external_id, before);
                }
                Some(Step::Named(external_id, None)) => {
                    self.external_ids.remove(&external_id);
                }
                None => {}
            }
        }
        self.numbers = mark.numbers;
    }

    /// Places an item. If it is refused, nothing changes.
    pub(super) fn place(&mut self, item: NewItem) -> Result<Made, ChangeError> {
        let NewItem { id: wanted, mut record, thumbnail, digest, attributes } = item;
        self.items.shape().fit(&mut record).map_err(ChangeError::Vector)?;
        if let (Some(attributes), Some(catalogue)) = (&attributes, self.writing.catalogue()) {
            catalogue.check_metadata(&attributes.metadata)?;
        }
        let external = attributes.as_ref().and_then(|it| it.external_id.clone());
        let known = external.as_deref().map_or(Ok(None), |external| self.item_of(external))?;
        let id = match (wanted, known) {
            (ItemId::Upserted(None), Some(known)) => known,
            (ItemId::Upserted(Some(id)) | ItemId::Replaced(id), Some(known)) if id == known => id,
            (_, Some(known)) => {
                let external_id = external.unwrap_or_default();
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
        if let Some(external) = external {
            let before = self.external_ids.insert(external.clone(), id);
            self.done.push(Step::Named(external, before));
        }
        let replaced = self.index.code(id).map(to_hex);
        let undo = Removal { id, code: record.code.clone() };
        let undo = Some(undo).filter(|_| replaced.is_none());
        let attributes = attributes.or_else(|| self.entry(id)?.attributes.clone());
        let attributes = attributes.map(|it| Attributes { code: record.code.clone(), ..it });
        let entry = Entry { id, record, thumbnail, digest, replaced, attributes };
        self.put(entry, Unsettled { id, undo });
        Ok(Made { id, replaces })
    }

    /// The entry with this id.
    fn entry(&self, id: u64) -> Option<&Entry> {
        self.places.get(&id).map(|place| &self.entries[*place])
    }

    /// Appends an entry, or replaces an earlier one with the same id: the last one wins.
    fn put(&mut self, entry: Entry, touched: Unsettled) {
        match self.places.get(&entry.id) {
            Some(&place) => {
                let entry = std::mem::replace(&mut self.entries[place], entry);
                let touched = std::mem::replace(&mut self.touched[place], touched);
                self.done.push(Step::Replaced(place, Box::new((entry, touched))));
            }
            None => {
                self.places.insert(entry.id, self.entries.len());
                self.entries.push(entry);
                self.touched.push(touched);
                self.done.push(Step::Added);
            }
        }
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

    /// The item with an external id.
    fn item_of(&self, external: &str) -> Result<Option<u64>, ChangeError> {
        let external_id = |entry: &Entry| entry.attributes.as_ref()?.external_id.clone();
        if let Some(id) = self.external_ids.get(external) {
            // A later entry with the same id may have given the item another external id.
            let has_it = self.entry(*id).and_then(external_id).as_deref() == Some(external);
            if has_it {
                return Ok(Some(*id));
            }
        }
        let known = self.writing.item_of(self.index, external)?;
        // An entry with attributes replaces the external id of its item.
        Ok(known.filter(|id| self.entry(*id).is_none_or(|entry| entry.attributes.is_none())))
    }
}

#[cfg(test)]
mod tests;
