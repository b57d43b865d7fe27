//! The attributes of items (external id and metadata) on disk, and the postings of the declared fields in memory, which filters use.

use std::sync::PoisonError;

use redb::{ReadTransaction, ReadableTable};

use super::change::AttributesChanged;
use super::database::Fault;
use super::{ATTRIBUTES, Catalogue, EXTERNAL_IDS, FIELDS, parse};
use crate::Result;
use crate::items::metadata::{
    self, Attributes, FieldCounts, FieldType, Fields, IdSet, Metadata, MetadataFilter, Postings,
};

/// The postings with a version, which grows with every change.
#[derive(Debug, Default)]
pub(super) struct Searchable {
    postings: Postings,
    version: u64,
}

impl Catalogue {
    /// The attributes of an item, if they belong to the item with this code.
    pub(crate) fn attributes(&self, id: u64, code: &str) -> Result<Option<Attributes>> {
        Ok(self.attributes_of(&[id])?.pop().flatten().filter(|it| it.code == code))
    }

    /// The attributes of these items, whatever their codes.
    pub(crate) fn attributes_of(&self, ids: &[u64]) -> Result<Vec<Option<Attributes>>> {
        self.database.read(|tables| {
            let attributes = tables.open_table(ATTRIBUTES)?;
            let one = |id| attributes.get(id)?.map(|bytes| parse(bytes.value())).transpose();
            ids.iter().map(one).collect()
        })
    }

    /// What users kept with an item of this code that was replaced or deleted a moment ago, for those who read an index that has it.
    pub(crate) fn replaced_attributes(&self, id: u64, code: &str) -> Option<Attributes> {
        self.replaced.find(id, code)
    }

    /// The item with an external id, and the code that it had when it got the external id.
    pub(crate) fn item_of(&self, external_id: &str) -> Result<Option<(u64, String)>> {
        self.database.read(|tables| {
            let Some(id) = tables.open_table(EXTERNAL_IDS)?.get(external_id)? else {
                return Ok(None);
            };
            let attributes = tables.open_table(ATTRIBUTES)?.get(id.value())?;
            let attributes: Option<Attributes> =
                attributes.map(|bytes| parse(bytes.value())).transpose()?;
            Ok(attributes.map(|attributes| (id.value(), attributes.code)))
        })
    }

    /// The declared fields.
    pub(crate) fn fields(&self) -> Fields {
        self.searchable().postings.fields().clone()
    }

    /// Refuses metadata with values of other types than those of the declared fields.
    ///
    /// # Errors
    /// When a value has another type.
    pub(crate) fn check_metadata(&self, metadata: &Metadata) -> Result<(), metadata::Fault> {
        self.searchable().postings.fields().check(metadata)
    }

    /// The counts of each declared field, with at most `most` of its values.
    pub(crate) fn field_counts(&self, most: usize) -> Vec<FieldCounts> {
        self.searchable().postings.counts(most)
    }

    /// The items that pass a filter, after every change of the catalogue.
    pub(crate) fn matching(&self, filter: &MetadataFilter) -> IdSet {
        filter.matching(&self.searchable().postings)
    }

    /// Changes the items that pass a filter into those that pass in an earlier index. `code_of` gives the codes of its items.
    pub(crate) fn matching_before(
        &self,
        passing: IdSet,
        filter: &MetadataFilter,
        code_of: impl Fn(u64) -> Option<String>,
    ) -> IdSet {
        let earlier = self.replaced.in_index(code_of);
        let mut postings = Postings::new(self.fields());
        for (id, attributes) in &earlier {
            postings.insert(*id, &attributes.metadata);
        }
        passing.replace(earlier.into_keys().collect(), filter.matching(&postings))
    }

    /// Notes that the index has every change of the catalogue.
    pub(crate) fn note_index_caught_up(&self) {
        self.replaced.caught_up();
    }

    /// Whether the index may lack the last change of the catalogue.
    pub(crate) fn is_ahead_of_index(&self) -> bool {
        self.replaced.is_ahead()
    }

    /// The version of the postings.
    pub(crate) fn attributes_version(&self) -> u64 {
        self.searchable().version
    }

    /// Reads the postings from disk. `is_current` tells whether the index has an item with this id and code; attributes of others are left
    /// out.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub(crate) fn read_attributes(&self, is_current: impl Fn(u64, &str) -> bool) -> Result<()> {
        let postings = self.database.read(|tables| {
            let mut postings = Postings::new(declared(tables)?);
            for_each_attributes(tables, &is_current, |id, attributes| {
                postings.insert(id, &attributes.metadata);
                Ok(())
            })?;
            Ok(postings)
        })?;
        self.replace_postings(postings);
        Ok(())
    }

    /// The ids of items whose attributes belong to an item with another code.
    pub(crate) fn foreign_attributes(
        &self,
        is_current: impl Fn(u64, &str) -> bool,
    ) -> Result<Vec<u64>> {
        self.database.read(|tables| {
            let mut foreign = Vec::new();
            for_each_attributes(
                tables,
                |id, code| !is_current(id, code),
                |id, _| {
                    foreign.push(id);
                    Ok(())
                },
            )?;
            Ok(foreign)
        })
    }

    /// The postings of these fields, which are to be declared.
    ///
    /// # Errors
    /// The outer error: the disk cannot be read. The inner error: an item has a value of another type.
    pub(crate) fn postings_of(
        &self,
        fields: &Fields,
        is_current: impl Fn(u64, &str) -> bool,
    ) -> Result<Result<Postings, metadata::Fault>> {
        let gathered = self.database.read(|tables| {
            let mut postings = Postings::new(fields.clone());
            let mut wrong = None;
            for_each_attributes(tables, &is_current, |id, attributes| {
                match fields.check(&attributes.metadata) {
                    Ok(()) => postings.insert(id, &attributes.metadata),
                    Err(fault) if wrong.is_none() => wrong = Some((id, fault)),
                    Err(_) => {}
                }
                Ok(())
            })?;
            Ok(wrong.map_or(Ok(postings), Err))
        })?;
        Ok(gathered.map_err(|(id, metadata::Fault(message))| {
            metadata::Fault(format!("item {id}: {message}"))
        }))
    }

    /// Updates the postings after a change.
    pub(super) fn note(&self, changed: Vec<AttributesChanged>) {
        if changed.is_empty() {
            return;
        }
        let mut searchable = self.searchable.write().unwrap_or_else(PoisonError::into_inner);
        for AttributesChanged { id, before, after } in changed {
            if let Some(before) = before {
                searchable.postings.remove(id, &before.metadata);
            }
            if let Some(after) = after {
                searchable.postings.insert(id, &after.metadata);
            }
        }
        searchable.version += 1;
    }

    /// Makes filters use these postings.
    pub(crate) fn replace_postings(&self, postings: Postings) {
        let mut searchable = self.searchable.write().unwrap_or_else(PoisonError::into_inner);
        let version = searchable.version + 1;
        *searchable = Searchable { postings, version };
    }

    fn searchable(&self) -> std::sync::RwLockReadGuard<'_, Searchable> {
        self.searchable.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn declared(tables: &ReadTransaction) -> Result<Fields, Fault> {
    let mut fields = std::collections::BTreeMap::new();
    for entry in tables.open_table(FIELDS)?.iter()? {
        let (name, of) = entry?;
        fields.insert(name.value().to_owned(), parse::<FieldType>(of.value())?);
    }
    Fields::new(fields).map_err(|fault| Fault::Corrupted(fault.to_string()))
}

/// Calls `take` for the attributes that `is_wanted` selects by the id and the code that they belong to.
fn for_each_attributes(
    tables: &ReadTransaction,
    is_wanted: impl Fn(u64, &str) -> bool,
    mut take: impl FnMut(u64, Attributes) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for entry in tables.open_table(ATTRIBUTES)?.iter()? {
        let (id, bytes) = entry?;
        let (id, attributes) = (id.value(), parse::<Attributes>(bytes.value())?);
        if is_wanted(id, &attributes.code) {
            take(id, attributes)?;
        }
    }
    Ok(())
}
