//! A change of the catalogue: writes all tables in one transaction.

use std::collections::HashMap;

use redb::{ReadableTable, Table, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::answers::{self, Answered};
use super::database::Fault;
use super::record::{FormerCodes, ImportedFile, Record, legacy_import_key};
use super::{
    ATTRIBUTES, EXTERNAL_IDS, FIELDS, FORMER_CODES, IMPORTS, INDEX, ITEMS, META, THUMBNAILS, json,
    parse,
};
use crate::items::metadata::{Attributes, Fields};

/// An item to be added, or to replace the one with its id.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) record: Record,
    /// The bytes of a PNG or JPEG file.
    pub(crate) thumbnail: Vec<u8>,
    /// SHA-256 of the file that it was imported from. The key of this file is in the record.
    pub(crate) digest: Option<String>,
    /// The code in hexadecimal of the item that it replaces.
    pub(crate) replaced: Option<String>,
    /// Its attributes; `None` keeps those of the item that it replaces.
    pub(crate) attributes: Option<Attributes>,
}

/// An item to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removal {
    pub(crate) id: u64,
    /// Its code in hexadecimal.
    pub(crate) code: String,
}

/// A change, made as a whole or not at all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Change<'a> {
    pub(crate) added: &'a [Entry],
    pub(crate) removed: &'a [Removal],
    /// Items that get another id: from, to.
    pub(crate) moved: &'a [(u64, u64)],
    /// Imported files of format 1 that get a key of their own.
    pub(crate) claimed: &'a [Claim],
    /// The identity of the index that the catalogue agrees with after the change.
    pub(crate) index_id: Option<&'a str>,
    /// New attributes of items that stay otherwise unchanged.
    pub(crate) attributes: &'a [(u64, Attributes)],
    /// The new declaration of the fields.
    pub(crate) fields: Option<&'a Fields>,
    /// The answers to store, of requests with an idempotency key.
    pub(crate) answered: &'a [Answered],
    /// The keys whose stored answers are dropped, because the changes of their requests were undone.
    pub(crate) forgotten: &'a [String],
}

/// The attributes of an item before and after a change.
#[derive(Debug)]
pub(super) struct AttributesChanged {
    pub(super) id: u64,
    pub(super) before: Option<Attributes>,
    pub(super) after: Option<Attributes>,
}

/// An imported file that format 1 identified only by its path below the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) digest: String,
}

/// The tables, open for writing.
struct Tables<'t> {
    items: Table<'t, u64, &'static [u8]>,
    thumbnails: Table<'t, u64, &'static [u8]>,
    imports: Table<'t, &'static str, &'static [u8]>,
    former: Table<'t, u64, &'static str>,
    attributes: Table<'t, u64, &'static [u8]>,
    external_ids: Table<'t, &'static str, u64>,
    /// The changes of attributes, for the postings.
    changed: Vec<AttributesChanged>,
}

impl<'a> Change<'a> {
    /// Notes the codes that the change gives to items.
    pub(super) fn note_codes(&self, codes: &mut HashMap<u64, &'a str>) {
        for removal in self.removed {
            codes.remove(&removal.id);
        }
        codes.extend(self.added.iter().map(|entry| (entry.id, &*entry.record.code)));
        codes.extend(self.attributes.iter().map(|(id, attributes)| (*id, &*attributes.code)));
    }

    pub(super) fn write(&self, change: &WriteTransaction) -> Result<Vec<AttributesChanged>, Fault> {
        let mut tables = Tables {
            items: change.open_table(ITEMS)?,
            thumbnails: change.open_table(THUMBNAILS)?,
            imports: change.open_table(IMPORTS)?,
            former: change.open_table(FORMER_CODES)?,
            attributes: change.open_table(ATTRIBUTES)?,
            external_ids: change.open_table(EXTERNAL_IDS)?,
            changed: Vec::new(),
        };
        self.removed.iter().try_for_each(|removal| tables.remove(removal))?;
        self.added.iter().try_for_each(|entry| tables.add(entry))?;
        self.moved.iter().try_for_each(|&(from, to)| tables.move_item(from, to))?;
        self.claimed.iter().try_for_each(|claim| tables.claim(claim))?;
        for (id, attributes) in self.attributes {
            tables.set_attributes(*id, Some(attributes.clone()), None)?;
        }
        self.answered.iter().try_for_each(|answer| answers::keep(change, answer))?;
        self.forgotten.iter().try_for_each(|key| answers::forget(change, key))?;
        if let Some(id) = self.index_id {
            change.open_table(META)?.insert(INDEX, id)?;
        }
        if let Some(fields) = self.fields {
            let mut declared = change.open_table(FIELDS)?;
            declared.retain(|_, _| false)?;
            for (name, of) in fields.iter() {
                declared.insert(name, &*json(&of)?)?;
            }
        }
        Ok(tables.changed)
    }
}

impl Tables<'_> {
    fn record(&self, id: u64) -> Result<Option<Record>, Fault> {
        self.items.get(id)?.map(|bytes| parse(bytes.value())).transpose()
    }

    fn imported(&self, key: &str) -> Result<Option<ImportedFile>, Fault> {
        self.imports.get(key)?.map(|bytes| parse(bytes.value())).transpose()
    }

    fn attributes(&self, id: u64) -> Result<Option<Attributes>, Fault> {
        self.attributes.get(id)?.map(|bytes| parse(bytes.value())).transpose()
    }

    /// Replaces the attributes of an item. `replaced` is the code of the item that it replaces.
    fn set_attributes(
        &mut self,
        id: u64,
        after: Option<Attributes>,
        replaced: Option<&str>,
    ) -> Result<(), Fault> {
        let after = after.filter(|attributes| !attributes.is_empty());
        let before: Option<Attributes> = match &after {
            Some(attributes) => {
                let before = self.attributes.insert(id, &*json(attributes)?)?;
                before.map(|bytes| parse(bytes.value())).transpose()?
            }
            None => {
                let before = self.attributes.remove(id)?;
                before.map(|bytes| parse(bytes.value())).transpose()?
            }
        };
        if let Some(external) = before.as_ref().and_then(|before| before.external_id.as_deref()) {
            let is_its_own = self.external_ids.get(external)?.is_some_and(|of| of.value() == id);
            if is_its_own {
                self.external_ids.remove(external)?;
            }
        }
        if let Some(external) = after.as_ref().and_then(|after| after.external_id.as_deref()) {
            self.external_ids.insert(external, id)?;
        }
        if before.is_some() || after.is_some() {
            // That the replaced item had no attributes is noted, too: filters must not find it with those of the new one.
            let nothing = |code: &str| Attributes { code: code.into(), ..Attributes::default() };
            let before = before.or_else(|| replaced.map(nothing));
            self.changed.push(AttributesChanged { id, before, after });
        }
        Ok(())
    }

    fn change_former(
        &mut self,
        id: u64,
        change: impl FnOnce(&mut FormerCodes),
    ) -> Result<(), Fault> {
        let known = self.former.get(id)?.map(|text| FormerCodes::parse(text.value()));
        let mut codes = known.clone().unwrap_or_default();
        change(&mut codes);
        if known.unwrap_or_default() != codes {
            self.former.insert(id, &*codes.text())?;
        }
        Ok(())
    }

    fn remove(&mut self, Removal { id, code }: &Removal) -> Result<(), Fault> {
        let record = self.record(*id)?;
        self.items.remove(id)?;
        self.thumbnails.remove(id)?;
        self.set_attributes(*id, None, None)?;
        self.change_former(*id, |codes| {
            codes.insert(code);
            record.iter().for_each(|record| codes.insert(&record.code));
        })?;
        let Some(record) = record else { return Ok(()) };
        // The next import must not add the file of a removed item again, so the file is kept without an item.
        let key = record.import.or_else(|| record.source.as_deref().map(legacy_import_key));
        let Some(key) = key else { return Ok(()) };
        if let Some(file) = self.imported(&key)?.filter(|file| file.item == Some(*id)) {
            let gone = ImportedFile { item: None, code: Some(record.code), ..file };
            self.imports.insert(&*key, &*json(&gone)?)?;
        }
        Ok(())
    }

    fn add(&mut self, entry: &Entry) -> Result<(), Fault> {
        let Entry { id, record, thumbnail, digest, replaced, attributes } = entry;
        let before = self.record(*id)?.map(|record| record.code);
        self.change_former(*id, |codes| {
            before.iter().chain(replaced).for_each(|before| codes.insert(before));
            codes.forget(&record.code);
        })?;
        let attributes = match attributes {
            Some(attributes) => Some(attributes.clone()),
            // The previous attributes now belong to the new code, unless they were those of an item that does not exist any more.
            None => self
                .attributes(*id)?
                .filter(|it| [before.as_deref(), replaced.as_deref()].contains(&Some(&*it.code))),
        };
        let of_code = |it| Attributes { code: record.code.clone(), ..it };
        self.set_attributes(*id, attributes.map(of_code), replaced.as_deref())?;
        self.items.insert(id, &*json(record)?)?;
        self.thumbnails.insert(id, &**thumbnail)?;
        if let Some(key) = &record.import {
            let file = ImportedFile { item: Some(*id), digest: digest.clone(), code: None };
            self.imports.insert(&**key, &*json(&file)?)?;
        }
        Ok(())
    }

    fn move_item(&mut self, from: u64, to: u64) -> Result<(), Fault> {
        let Some(record) = self.record(from)? else { return Ok(()) };
        let thumbnail = self.thumbnails.remove(from)?.map(|bytes| bytes.value().to_vec());
        self.items.remove(from)?;
        let key = record.import.clone().or_else(|| record.source.as_deref().map(legacy_import_key));
        if let Some(key) = key
            && let Some(file) = self.imported(&key)?.filter(|file| file.item == Some(from))
        {
            self.imports.insert(&*key, &*json(&ImportedFile { item: Some(to), ..file })?)?;
        }
        let attributes = self.attributes(from)?;
        self.set_attributes(from, None, None)?;
        self.set_attributes(to, attributes, None)?;
        // Otherwise an index with the item under its former id would show it twice.
        self.change_former(from, |codes| codes.insert(&record.code))?;
        self.items.insert(to, &*json(&Record { former_id: Some(from), ..record })?)?;
        self.thumbnails.insert(to, &*thumbnail.unwrap_or_default())?;
        Ok(())
    }

    fn claim(&mut self, Claim { path, key, digest }: &Claim) -> Result<(), Fault> {
        let legacy = legacy_import_key(path);
        let Some(file) = self.imported(&legacy)? else { return Ok(()) };
        self.imports.remove(&*legacy)?;
        if let Some(id) = file.item
            && let Some(record) = self.record(id)?
        {
            let record = Record { import: Some(key.clone()), ..record };
            self.items.insert(id, &*json(&record)?)?;
        }
        let file = ImportedFile { digest: Some(digest.clone()), ..file };
        self.imports.insert(&**key, &*json(&file)?)?;
        Ok(())
    }
}
