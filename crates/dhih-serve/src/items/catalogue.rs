//! The catalogue: what was added while serving, in a redb file beside the index: code, labels, source and thumbnail of each item,
//! and the ids of what was removed. What it has committed survives a crash; `LocalItems` makes the index agree with it.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The file's name in an index directory.
pub(crate) const FILE: &str = "catalogue.redb";

const ITEMS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("items");
const THUMBNAILS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("thumbnails");
const SOURCES: TableDefinition<'_, &str, u64> = TableDefinition::new("sources");
const REMOVED: TableDefinition<'_, u64, ()> = TableDefinition::new("removed");
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const MODEL: &str = "model_sha256";

/// Memory that redb may keep pages in.
const CACHE: usize = 64 << 20;

/// What is kept of an item beside its thumbnail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// In hexadecimal.
    pub(crate) code: String,
    /// Numbers of its classes.
    pub(crate) labels: Vec<i64>,
    /// Where it came from: a path below the imported folder, or the name of the uploaded file.
    pub(crate) source: Option<String>,
}

/// An item to be added.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) record: Record,
    /// A PNG or JPEG file.
    pub(crate) thumbnail: Vec<u8>,
    /// Whether the source is looked up by [`Catalogue::of_source`] later: those of imports are unique, upload names are not.
    pub(crate) imported: bool,
}

/// An open catalogue.
#[derive(Debug)]
pub(crate) struct Catalogue {
    database: Database,
    path: PathBuf,
    /// The ids of all items, for who asks about every hit of a search.
    ids: RwLock<RoaringTreemap>,
}

/// What a crash has left between the catalogue and an index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unlike {
    /// Items that the index lacks.
    pub(crate) missing: Vec<(u64, Record)>,
    /// Removed ids that the index still has.
    pub(crate) left: Vec<u64>,
}

/// Any failure of redb.
type Fault = redb::Error;

impl Catalogue {
    /// Opens or makes the catalogue of an index of the model `model_sha256`.
    ///
    /// # Errors
    /// A damaged file, one of another model, one that another process has open.
    pub(crate) fn open(dir: &Path, model_sha256: &str) -> Result<Self> {
        let path = dir.join(FILE);
        let database = Database::builder().set_cache_size(CACHE).create(&path);
        let database = database.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Error::Locked { path: path.clone() },
            other => Error::catalogue(&path, other),
        })?;
        let mut catalogue = Self { database, path, ids: RwLock::default() };
        let made_by = catalogue.begin(model_sha256).map_err(|e| catalogue.fault(e))?;
        if made_by != model_sha256 {
            return Err(Error::OtherModel {
                path: catalogue.path,
                expected: format!("sha256 {model_sha256}"),
                got: format!("sha256 {made_by}"),
                make: "dhih-serve import, with an index directory of its own (--index)".into(),
            });
        }
        let ids = catalogue.all_ids().map_err(|e| catalogue.fault(e))?;
        catalogue.ids = RwLock::new(ids);
        Ok(catalogue)
    }

    fn all_ids(&self) -> Result<RoaringTreemap, Fault> {
        let mut ids = RoaringTreemap::new();
        for item in self.database.begin_read()?.open_table(ITEMS)?.iter()? {
            ids.insert(item?.0.value());
        }
        Ok(ids)
    }

    /// Whether it has an item of this id. Reads no disk.
    pub(crate) fn has(&self, id: u64) -> bool {
        self.ids.read().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Makes the tables; the model that the catalogue is of.
    fn begin(&self, model_sha256: &str) -> Result<String, Fault> {
        let change = self.database.begin_write()?;
        let made_by = {
            change.open_table(ITEMS)?;
            change.open_table(THUMBNAILS)?;
            change.open_table(SOURCES)?;
            change.open_table(REMOVED)?;
            let mut meta = change.open_table(META)?;
            let known = meta.get(MODEL)?.map(|model| model.value().to_owned());
            if known.is_none() {
                meta.insert(MODEL, model_sha256)?;
            }
            known.unwrap_or_else(|| model_sha256.to_owned())
        };
        change.commit()?;
        Ok(made_by)
    }

    fn fault(&self, error: Fault) -> Error {
        Error::catalogue(&self.path, error)
    }

    /// Adds and removes items at once. When this returns they are on disk.
    pub(crate) fn commit(&self, added: &[Entry], removed: &[u64]) -> Result<()> {
        self.try_commit(added, removed).map_err(|e| self.fault(e))?;
        let mut ids = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        for id in removed {
            ids.remove(*id);
        }
        ids.extend(added.iter().map(|entry| entry.id));
        Ok(())
    }

    fn try_commit(&self, added: &[Entry], removed: &[u64]) -> Result<(), Fault> {
        let change = self.database.begin_write()?;
        {
            let mut items = change.open_table(ITEMS)?;
            let mut thumbnails = change.open_table(THUMBNAILS)?;
            let mut sources = change.open_table(SOURCES)?;
            let mut gone = change.open_table(REMOVED)?;
            for &id in removed {
                let record = items.remove(id)?.and_then(|bytes| parse(bytes.value()));
                thumbnails.remove(id)?;
                gone.insert(id, ())?;
                if let Some(source) = record.and_then(|record| record.source) {
                    let is_its = sources.get(&*source)?.is_some_and(|of| of.value() == id);
                    if is_its {
                        sources.remove(&*source)?;
                    }
                }
            }
            for Entry { id, record, thumbnail, imported } in added {
                let bytes = serde_json::to_vec(record).map_err(std::io::Error::other)?;
                items.insert(id, &*bytes)?;
                thumbnails.insert(id, &**thumbnail)?;
                gone.remove(id)?;
                if let Some(source) = record.source.as_deref().filter(|_| *imported) {
                    sources.insert(source, id)?;
                }
            }
        }
        change.commit()?;
        Ok(())
    }

    /// What is kept of an item.
    pub(crate) fn record(&self, id: u64) -> Result<Option<Record>> {
        let read = || -> Result<Option<Record>, Fault> {
            let items = self.database.begin_read()?.open_table(ITEMS)?;
            Ok(items.get(id)?.and_then(|bytes| parse(bytes.value())))
        };
        read().map_err(|e| self.fault(e))
    }

    /// An item's thumbnail.
    pub(crate) fn thumbnail(&self, id: u64) -> Result<Option<Vec<u8>>> {
        let read = || -> Result<Option<Vec<u8>>, Fault> {
            let thumbnails = self.database.begin_read()?.open_table(THUMBNAILS)?;
            Ok(thumbnails.get(id)?.map(|bytes| bytes.value().to_vec()))
        };
        read().map_err(|e| self.fault(e))
    }

    /// The item that was imported from there.
    pub(crate) fn of_source(&self, source: &str) -> Result<Option<u64>> {
        let read = || -> Result<Option<u64>, Fault> {
            let sources = self.database.begin_read()?.open_table(SOURCES)?;
            Ok(sources.get(source)?.map(|id| id.value()))
        };
        read().map_err(|e| self.fault(e))
    }

    /// The greatest id that an item has or had.
    pub(crate) fn last_id(&self) -> Result<Option<u64>> {
        let read = || -> Result<Option<u64>, Fault> {
            let snapshot = self.database.begin_read()?;
            let (items, gone) = (snapshot.open_table(ITEMS)?, snapshot.open_table(REMOVED)?);
            let last = items.last()?.map(|(id, _)| id.value());
            Ok(last.max(gone.last()?.map(|(id, _)| id.value())))
        };
        read().map_err(|e| self.fault(e))
    }

    /// In what an index is unlike the catalogue that knows the ids `is_known`.
    pub(crate) fn unlike(&self, is_known: impl Fn(u64) -> bool) -> Result<Unlike> {
        let read = || -> Result<_, Fault> {
            let snapshot = self.database.begin_read()?;
            let (mut missing, mut left) = (Vec::new(), Vec::new());
            for item in snapshot.open_table(ITEMS)?.iter()? {
                let (id, bytes) = item?;
                if !is_known(id.value()) {
                    let record = parse(bytes.value()).ok_or_else(|| {
                        Fault::Corrupted(format!("the record of item {} is no JSON", id.value()))
                    })?;
                    missing.push((id.value(), record));
                }
            }
            for id in snapshot.open_table(REMOVED)?.iter()? {
                left.extend(Some(id?.0.value()).filter(|id| is_known(*id)));
            }
            Ok(Unlike { missing, left })
        };
        read().map_err(|e| self.fault(e))
    }
}

fn parse(bytes: &[u8]) -> Option<Record> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, source: &str) -> Entry {
        let record = Record { code: "0f".into(), labels: vec![1], source: Some(source.into()) };
        Entry { id, record, thumbnail: vec![id as u8], imported: true }
    }

    #[test]
    fn what_is_committed_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path(), "model").unwrap();
        catalogue.commit(&[entry(7, "a.png"), entry(9, "b/c.png")], &[]).unwrap();
        catalogue.commit(&[], &[7, 3]).unwrap();
        assert!(matches!(Catalogue::open(dir.path(), "model"), Err(Error::Locked { .. })));
        drop(catalogue);
        let catalogue = Catalogue::open(dir.path(), "model").unwrap();
        assert_eq!(catalogue.record(9).unwrap(), Some(entry(9, "b/c.png").record));
        assert_eq!(catalogue.thumbnail(9).unwrap(), Some(vec![9]));
        assert_eq!([7, 9, 3].map(|id| catalogue.has(id)), [false, true, false]);
        assert_eq!((catalogue.record(7).unwrap(), catalogue.thumbnail(7).unwrap()), (None, None));
        let of = |source| catalogue.of_source(source).unwrap();
        assert_eq!((of("a.png"), of("b/c.png")), (None, Some(9)));
        assert_eq!(catalogue.last_id().unwrap(), Some(9));
        let Unlike { missing, left } = catalogue.unlike(|id| id == 3).unwrap();
        assert_eq!((missing.len(), missing[0].0, left), (1, 9, vec![3]));
        // An id that was removed may come back.
        catalogue.commit(&[entry(3, "d.png")], &[]).unwrap();
        assert!(catalogue.has(3));
        let unlike = Unlike { missing: Vec::new(), left: vec![7] };
        assert_eq!(catalogue.unlike(|_| true).unwrap(), unlike);
    }

    #[test]
    fn a_catalogue_of_another_model_or_a_damaged_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Catalogue::open(dir.path(), "model").unwrap());
        let error = Catalogue::open(dir.path(), "other").unwrap_err().to_string();
        assert!(error.contains("sha256 model") && error.contains("sha256 other"), "{error}");
        std::fs::write(dir.path().join(FILE), b"no catalogue").unwrap();
        let error = Catalogue::open(dir.path(), "model").unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
    }
}
