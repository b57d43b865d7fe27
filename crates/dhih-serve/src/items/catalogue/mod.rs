//! The catalogue: what was added while serving, in a redb file beside the index: code, labels, source and thumbnail of each item, the
//! files that were imported, and the codes that were removed. What it has committed survives a crash; `LocalItems` makes the index agree.
//!
//! The tables and their formats are here, what the values are in `record.rs`, changes in `change.rs`, what users keep with items in
//! `attributes.rs`, answers that are given again in `answers.rs`, the changes themselves as followers get them in `journal.rs`, and in `database.rs` how it goes on after an error of the disk.

mod answers;
mod attributes;
mod change;
mod copying;
mod database;
mod journal;
mod lineage;
mod payload;
mod position;
mod record;
mod replaced;
mod settled;

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

/// The file's name in an index directory.
pub(crate) const FILE: &str = "catalogue.redb";
/// The format that is written. Format 1 had `sources` (path below the folder -> id) and `removed` (ids) in place of `imports` and
/// `former_codes`; it is carried over when it is opened.
const FORMAT: u32 = 2;

const ITEMS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("items");
const THUMBNAILS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("thumbnails");
const IMPORTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("imports");
const FORMER_CODES: TableDefinition<'_, u64, &str> = TableDefinition::new("former_codes");
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// What users keep with items. Programs before this table leave it be: by its code an item's row is known to be of another item.
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
    /// The ids of all items, for those who ask about every hit of a search.
    ids: RwLock<RoaringTreemap>,
    /// What filters go by.
    searchable: RwLock<Searchable>,
    journal: Journal,
    replaced: Replaced,
}

impl Catalogue {
    /// Whether an index directory has a catalogue.
    pub(crate) fn is_in(dir: &Path) -> bool {
        dir.join(FILE).symlink_metadata().is_ok()
    }

    /// Opens or makes the catalogue of an index directory.
    ///
    /// # Errors
    /// A damaged file, one of a newer format, one that another process has open, one that may not be written to.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let database = Database::open(&path)?;
        // A copy that was interrupted has what was deleted.
        copying::remove_leftover(&path);
        match database.write(begin)? {
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

    /// Refuses a catalogue of another model than `sha256`; a new one is of this model from now on.
    ///
    /// # Errors
    /// As said.
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

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still leads to the file that is open.
    pub(crate) fn is_current(&self) -> bool {
        self.database.is_current()
    }

    /// Opens it again where an error of the disk has closed it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn ensure_open(&self) -> Result<()> {
        self.database.ensure_open()
    }

    /// Makes a change, all of it or nothing. When this returns it is on disk.
    ///
    /// # Errors
    /// A disk that does not take it. The change may be there all the same: [`record`](Self::record) tells.
    pub(crate) fn commit(&self, change: &Change<'_>) -> Result<()> {
        let settled = self.settled();
        let written = self.database.write(|tables| {
            let changed = change.write(tables)?;
            self.replaced.keep(&changed);
            journal::log(tables, change, settled)?;
            Ok(changed)
        });
        self.note_written(written, std::iter::once(*change))
    }

    /// Notes in memory what changes have come to on disk.
    fn note_written<'c>(
        &self,
        written: Result<Vec<AttributesChanged>>,
        changes: impl Iterator<Item = Change<'c>>,
    ) -> Result<()> {
        let changed = written.inspect_err(|_| {
            // It is not known what is there, and the disk may not tell. The ids are then those before the change.
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

    /// Whether it has an item of this id. Reads no disk.
    pub(crate) fn has(&self, id: u64) -> bool {
        self.ids.read().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.ids.read().unwrap_or_else(PoisonError::into_inner).len() as usize
    }

    /// What is kept of an item.
    pub(crate) fn record(&self, id: u64) -> Result<Option<Record>> {
        Ok(self.records(&[id])?.pop().flatten())
    }

    /// What is kept of some items, in order.
    pub(crate) fn records(&self, ids: &[u64]) -> Result<Vec<Option<Record>>> {
        self.database.read(|tables| {
            let items = tables.open_table(ITEMS)?;
            let one = |id| items.get(id)?.map(|bytes| parse(bytes.value())).transpose();
            ids.iter().map(one).collect()
        })
    }

    /// An item's thumbnail.
    pub(crate) fn thumbnail(&self, id: u64) -> Result<Option<Vec<u8>>> {
        self.database.read(|tables| {
            let thumbnails = tables.open_table(THUMBNAILS)?;
            Ok(thumbnails.get(id)?.map(|bytes| bytes.value().to_vec()))
        })
    }

    /// What is known of an imported file, by [`import_key`].
    pub(crate) fn imported(&self, key: &str) -> Result<Option<ImportedFile>> {
        self.database.read(|tables| {
            let imports = tables.open_table(IMPORTS)?;
            imports.get(key)?.map(|bytes| parse(bytes.value())).transpose()
        })
    }

    /// The codes that items of this id had before.
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

    /// The identity of the index that it was last made to agree with.
    pub(crate) fn index_id(&self) -> Result<Option<String>> {
        self.database.read(|tables| {
            let meta = tables.open_table(META)?;
            Ok(meta.get(INDEX)?.map(|id| id.value().to_owned()))
        })
    }

    /// Goes through all items, and the codes of all ids that had others, by ascending id; what `item` and `former` gather.
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

/// Makes the tables and carries over those of format 1. The format, where it is not known here.
fn begin(change: &WriteTransaction) -> Result<Option<String>, Fault> {
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
            carry_over(change)?;
        }
        meta.insert(FORMAT_KEY, &*FORMAT.to_string())?;
    }
    Ok(None)
}

/// Carries over the tables of format 1.
fn carry_over(change: &WriteTransaction) -> Result<(), Fault> {
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
