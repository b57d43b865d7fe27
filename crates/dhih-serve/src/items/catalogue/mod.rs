//! The catalogue: a redb file beside the index with the items that were added while serving (code, labels, source and thumbnail), the files
//! that were imported, and the codes that were removed. What it has committed survives a crash; `LocalItems` then makes the index agree.
//!
//! The tables and their formats are in this file, the values in `record.rs`, changes in `change.rs`, attributes of items in
//! `attributes.rs`, and the recovery after errors of the disk in `database.rs`. The log of changes for followers and for recovery is in
//! `journal.rs`, with the encoding of a change in `payload.rs`, positions in `position.rs` and the primary of a copy in `lineage.rs`. The
//! stored answers of idempotency keys are in `answers.rs`, and what is noted of the last change in `last_change.rs`.

mod answers;
mod attributes;
mod change;
mod copying;
mod database;
mod journal;
mod last_change;
mod lineage;
mod meta;
mod overlay;
mod panics;
mod payload;
mod position;
mod record;
mod replaced;
mod settled;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use roaring::RoaringTreemap;

use self::answers::{ANSWER_ORDER, ANSWERS};
pub(crate) use self::answers::{Answered, now_ms};
use self::attributes::Searchable;
use self::change::AttributesChanged;
pub(crate) use self::change::{Change, Claim, Entry, Removal};
pub(crate) use self::copying::{CatalogueSnapshot, Copied, History};
use self::database::{Database, Fault};
use self::journal::Journal;
pub(crate) use self::journal::Reach;
pub(crate) use self::lineage::Lineage;
pub(crate) use self::payload::{PayloadError, ReadChange};
pub(crate) use self::position::{Chain, LoggedChange, NoPosition, Position};
pub(crate) use self::record::{FormerCodes, ImportedFile, Record, import_key, legacy_import_key};
use self::replaced::Replaced;
use crate::{Error, MakerKind, Result};

/// The name of the file in an index directory.
pub(crate) const FILE: &str = "catalogue.redb";
/// The format that is written. Format 1 had `sources` (path below the folder -> id) and `removed` (ids) instead of `imports` and
/// `former_codes`. It is migrated when it is opened.
const FORMAT: u32 = 2;

const ITEMS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("items");
const THUMBNAILS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("thumbnails");
const IMPORTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("imports");
const FORMER_CODES: TableDefinition<'_, u64, &str> = TableDefinition::new("former_codes");
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// The attributes of items. Older programs do not know this table and leave it unchanged when they change items. The code in a row
/// therefore shows whether it belongs to the current item.
const ATTRIBUTES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("attributes");
const EXTERNAL_IDS: TableDefinition<'_, &str, u64> = TableDefinition::new("external_ids");
const FIELDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("fields");
const SOURCES_1: TableDefinition<'_, &str, u64> = TableDefinition::new("sources");
const REMOVED_1: TableDefinition<'_, u64, ()> = TableDefinition::new("removed");

/// Keys of the table `META`.
const MODEL: &str = "model_sha256";
const FORMAT_KEY: &str = "format";
const INDEX: &str = "index_id";

/// An open catalogue.
#[derive(Debug)]
pub(crate) struct Catalogue {
    database: Database,
    path: PathBuf,
    /// The ids of all items in memory, because every hit of a search is looked up.
    ids: RwLock<RoaringTreemap>,
    /// The postings that filters use.
    searchable: RwLock<Searchable>,
    journal: Journal,
    replaced: Replaced,
}

impl Catalogue {
    /// Whether an index directory has a catalogue.
    pub(crate) fn is_in(dir: &Path) -> bool {
        dir.join(FILE).symlink_metadata().is_ok()
    }

    /// Opens or creates the catalogue of an index directory.
    ///
    /// # Errors
    /// When the file is damaged, has a newer format, is not writable, or is open in another process.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let database = Database::open(&path)?;
        // An interrupted copy would still contain deleted data.
        copying::remove_leftover(&path);
        Self::of(database, path)
    }

    /// Opens the existing catalogue of an index directory without changing any file. What is written to it stays in memory.
    ///
    /// # Errors
    /// When the file is damaged, has a newer format, is not readable, or is open in another process.
    pub(crate) fn open_unchanged(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        Self::of(Database::open_unchanged(&path)?, path)
    }

    fn of(database: Database, path: PathBuf) -> Result<Self> {
        match database.write(create_tables)? {
            None => {
                let (ids, searchable, journal, replaced) = Default::default();
                let catalogue = Self { database, path, ids, searchable, journal, replaced };
                catalogue.read_ids()?;
                catalogue.read_published()?;
                Ok(catalogue)
            }
            Some(found) => Err(Error::CatalogueVersion {
                path,
                found,
                supported: journal::FORMAT_WITH_JOURNAL,
            }),
        }
    }

    /// Refuses a catalogue of a model other than `sha256`. A new catalogue is bound to this model.
    ///
    /// # Errors
    /// When the catalogue belongs to another model.
    pub(crate) fn check_model(&self, sha256: &str) -> Result<()> {
        let made_by = self.database.write(|change| {
            let mut meta = change.open_table(META)?;
            let known = meta.get(MODEL)?.map(|model| model.value().to_owned());
            if known.is_none() {
                meta.insert(MODEL, sha256)?;
            }
            Ok(known)
        })?;
        match made_by {
            Some(made_by) if made_by != sha256 => Err(Error::OtherModel {
                path: self.path.clone(),
                kind: MakerKind::Model,
                expected: format!("sha256 {sha256}"),
                got: format!("sha256 {made_by}"),
                make: "dhih-serve import, with an index directory of its own (--index)".into(),
            }),
            _ => Ok(()),
        }
    }

    /// Compares all pages of the file with their checksums: for a catalogue that was opened unchanged.
    ///
    /// # Errors
    /// When a page is damaged.
    pub(crate) fn verify(&self) -> Result<()> {
        self.database.verify()
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the open file.
    pub(crate) fn is_current(&self) -> bool {
        self.database.is_current()
    }

    /// Reopens the file if an error of the disk has closed it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn ensure_open(&self) -> Result<()> {
        self.database.ensure_open()
    }

    /// Makes a change as a whole. When this returns, it is on disk.
    ///
    /// # Errors
    /// When the disk is full or fails. The change may have been made nevertheless; [`record`](Self::record) shows that.
    pub(crate) fn commit(&self, change: &Change<'_>) -> Result<()> {
        let settled = self.settled();
        let written = self.database.write(|tables| {
            let changed = change.write(tables)?;
            let mut codes = HashMap::new();
            change.note_codes(&mut codes);
            self.replaced.keep(&changed, &codes);
            last_change::note(tables, change)?;
            journal::log(tables, change, settled)?;
            Ok(changed)
        });
        self.note_written(written, std::iter::once(*change))
    }

    /// Updates the state in memory after changes were written.
    fn note_written<'c>(
        &self,
        written: Result<Vec<AttributesChanged>>,
        changes: impl Iterator<Item = Change<'c>>,
    ) -> Result<()> {
        let changed = written.inspect_err(|_| {
            // The outcome is unknown, and the disk may not be readable. In this case the ids remain those before the change.
            let _ = self.read_ids();
        })?;
        self.note(changed);
        let mut ids = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            for removal in change.removed {
                ids.remove(removal.id);
            }
            for (from, _) in change.moved {
                ids.remove(*from);
            }
            ids.extend(change.moved.iter().map(|(_, to)| *to));
            ids.extend(change.added.iter().map(|entry| entry.id));
        }
        Ok(())
    }

    fn read_ids(&self) -> Result<()> {
        let ids = self.database.read(|tables| {
            let mut ids = RoaringTreemap::new();
            for entry in tables.open_table(ITEMS)?.iter()? {
                ids.insert(entry?.0.value());
            }
            Ok(ids)
        })?;
        *self.ids.write().unwrap_or_else(PoisonError::into_inner) = ids;
        Ok(())
    }

    /// Whether it has an item with this id. Does not read the disk.
    pub(crate) fn has(&self, id: u64) -> bool {
        self.ids.read().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// The number of items.
    pub(crate) fn len(&self) -> usize {
        self.ids.read().unwrap_or_else(PoisonError::into_inner).len() as usize
    }

    /// The record of an item.
    pub(crate) fn record(&self, id: u64) -> Result<Option<Record>> {
        Ok(self.records(&[id])?.pop().flatten())
    }

    /// The records of these items, in order.
    pub(crate) fn records(&self, ids: &[u64]) -> Result<Vec<Option<Record>>> {
        self.database.read(|tables| {
            let items = tables.open_table(ITEMS)?;
            let one = |id| items.get(id)?.map(|bytes| parse(bytes.value())).transpose();
            ids.iter().map(one).collect()
        })
    }

    /// The thumbnail of an item.
    pub(crate) fn thumbnail(&self, id: u64) -> Result<Option<Vec<u8>>> {
        self.database.read(|tables| {
            let thumbnails = tables.open_table(THUMBNAILS)?;
            Ok(thumbnails.get(id)?.map(|bytes| bytes.value().to_vec()))
        })
    }

    /// The record of an imported file, by its [`import_key`].
    pub(crate) fn imported(&self, key: &str) -> Result<Option<ImportedFile>> {
        self.database.read(|tables| {
            let imports = tables.open_table(IMPORTS)?;
            imports.get(key)?.map(|bytes| parse(bytes.value())).transpose()
        })
    }

    /// The former codes of an id.
    pub(crate) fn former_codes(&self, id: u64) -> Result<FormerCodes> {
        self.database.read(|tables| {
            let former = tables.open_table(FORMER_CODES)?;
            Ok(former.get(id)?.map(|text| FormerCodes::parse(text.value())).unwrap_or_default())
        })
    }

    /// Whether an item has or had this id.
    pub(crate) fn knows(&self, id: u64) -> Result<bool> {
        self.database.read(|tables| {
            let known = tables.open_table(ITEMS)?.get(id)?.is_some();
            Ok(known || tables.open_table(FORMER_CODES)?.get(id)?.is_some())
        })
    }

    /// The greatest id below `end` that an item has or had.
    pub(crate) fn last_id_below(&self, end: u64) -> Result<Option<u64>> {
        self.database.read(|tables| {
            let items = tables.open_table(ITEMS)?.range(..end)?.next_back().transpose()?;
            let former = tables.open_table(FORMER_CODES)?.range(..end)?.next_back().transpose()?;
            Ok(items.map(|(id, _)| id.value()).max(former.map(|(id, _)| id.value())))
        })
    }

    /// The identity of the index that the catalogue last agreed with.
    pub(crate) fn index_id(&self) -> Result<Option<String>> {
        self.database.read(|tables| {
            let meta = tables.open_table(META)?;
            Ok(meta.get(INDEX)?.map(|id| id.value().to_owned()))
        })
    }

    /// Scans all items, and the former codes of all ids, both by ascending id. `item` and `former` collect into the result.
    pub(crate) fn scan<T: Default>(
        &self,
        item: impl Fn(&mut T, u64, Record),
        former: impl Fn(&mut T, u64, FormerCodes),
    ) -> Result<T> {
        self.database.read(|tables: &ReadTransaction| {
            let mut gathered = T::default();
            for entry in tables.open_table(ITEMS)?.iter()? {
                let (id, bytes) = entry?;
                item(&mut gathered, id.value(), parse(bytes.value())?);
            }
            for entry in tables.open_table(FORMER_CODES)?.iter()? {
                let (id, text) = entry?;
                former(&mut gathered, id.value(), FormerCodes::parse(text.value()));
            }
            Ok(gathered)
        })
    }
}

/// Creates the tables and migrates those of format 1. Returns the format if it is unknown.
fn create_tables(change: &WriteTransaction) -> Result<Option<String>, Fault> {
    let mut meta = change.open_table(META)?;
    let of = |key: &str| -> Result<_, Fault> { Ok(meta.get(key)?.map(|it| it.value().to_owned())) };
    let (is_new, format) = (of(MODEL)?.is_none(), of(FORMAT_KEY)?);
    let known = [FORMAT, journal::FORMAT_WITH_JOURNAL].map(|known| known.to_string());
    if format.as_ref().is_some_and(|format| !known.contains(format)) {
        return Ok(format);
    }
    change.open_table(ITEMS)?;
    change.open_table(THUMBNAILS)?;
    change.open_table(IMPORTS)?;
    change.open_table(FORMER_CODES)?;
    change.open_table(ATTRIBUTES)?;
    change.open_table(EXTERNAL_IDS)?;
    change.open_table(FIELDS)?;
    change.open_table(ANSWERS)?;
    change.open_table(ANSWER_ORDER)?;
    if format.is_none() {
        if !is_new {
            migrate_format_1(change)?;
        }
        meta.insert(FORMAT_KEY, &*FORMAT.to_string())?;
    }
    Ok(None)
}

/// Migrates the tables of format 1.
fn migrate_format_1(change: &WriteTransaction) -> Result<(), Fault> {
    {
        let (sources, removed) = (change.open_table(SOURCES_1)?, change.open_table(REMOVED_1)?);
        let (mut imports, mut former) =
            (change.open_table(IMPORTS)?, change.open_table(FORMER_CODES)?);
        for entry in sources.iter()? {
            let (path, id) = entry?;
            let file = ImportedFile { item: Some(id.value()), ..ImportedFile::default() };
            imports.insert(&*legacy_import_key(path.value()), &*json(&file)?)?;
        }
        let unknown = FormerCodes { has_unknown: true, ..FormerCodes::default() }.text();
        for id in removed.iter()? {
            former.insert(id?.0.value(), &*unknown)?;
        }
    }
    change.delete_table(SOURCES_1)?;
    change.delete_table(REMOVED_1)?;
    Ok(())
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|e| Fault::Corrupted(format!("a value is no JSON: {e}")))
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Fault> {
    Ok(serde_json::to_vec(value).map_err(std::io::Error::other)?)
}

#[cfg(test)]
mod tests;
