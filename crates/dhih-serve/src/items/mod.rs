//! The items on this machine's disk: the index as searches see it, and the changes to it and to the catalogue. Both are changed in one
//! order, so that a crash between them is made good when they are opened: an item is answered for once the catalogue and the index have it.

pub(crate) mod catalogue;
mod labels;
pub(crate) mod thumbnail;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use dhih_index::{CodeSet, Codes, Hit, Index, IndexWriter};

use self::catalogue::{Catalogue, Entry, Record, Unlike};
pub(crate) use self::labels::LabelShape;
use crate::search::{Found, Neighbour, Query, SearchError, Searcher};
use crate::{Error, Result};

/// What an index directory is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Searches alone. Any number of processes may.
    ReadOnly,
    /// Searches and changes. One process at a time.
    Writable,
}

/// Why an item was not added or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("this service was started to search alone (--read-only)")]
    ReadOnly,
    /// The codes are in a store that is loaded, not changed.
    #[error(
        "the codes are in a store, which takes generations from `dhih-serve load`, not single items"
    )]
    Elsewhere,
    #[error("the id {0} is taken")]
    Taken(u64),
    #[error("there is no item {0}")]
    Unknown(u64),
    /// These files were given to another run.
    #[error("the index is being reloaded")]
    Moved,
    #[error(transparent)]
    Failed(#[from] Error),
}

/// An item as a request or an import brings it.
#[derive(Debug, Clone)]
pub(crate) struct NewItem {
    /// Absent, it is the next that was never used.
    pub(crate) id: Option<u64>,
    pub(crate) record: Record,
    pub(crate) thumbnail: Vec<u8>,
    pub(crate) imported: bool,
}

/// An index with its catalogue.
#[derive(Debug)]
pub(crate) struct LocalItems {
    dir: PathBuf,
    index: ArcSwap<Index>,
    catalogue: Option<Arc<Catalogue>>,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    writer: Option<IndexWriter>,
    /// The next id that was never used.
    next: Option<u64>,
    shape: LabelShape,
}

impl LocalItems {
    /// Opens an index directory, and makes the index agree with the catalogue where it is to be writable.
    ///
    /// # Errors
    /// A damaged file; another process that writes.
    pub(crate) fn open(
        dir: &Path,
        model_sha256: &str,
        access: Access,
        known: Option<Arc<Catalogue>>,
    ) -> Result<Self> {
        if access == Access::ReadOnly {
            let index = Index::open(dir).map_err(|e| Error::index(dir, e))?;
            let shape = LabelShape::of(&index);
            let changes = Mutex::new(Changes { writer: None, next: None, shape });
            let index = ArcSwap::from_pointee(index);
            return Ok(Self { dir: dir.to_owned(), index, catalogue: None, changes });
        }
        let mut writer = IndexWriter::open(dir).map_err(|e| Error::index(dir, e))?;
        let catalogue = match known {
            Some(catalogue) => catalogue,
            None => Arc::new(Catalogue::open(dir, model_sha256)?),
        };
        let shape = LabelShape::of(&writer.snapshot());
        reconcile(dir, &mut writer, &catalogue, shape)?;
        let index = writer.snapshot();
        let last = index.ids().last().copied().max(catalogue.last_id()?);
        let next = last.map_or(Some(0), |last| last.checked_add(1));
        let changes = Mutex::new(Changes { writer: Some(writer), next, shape });
        let index = ArcSwap::from_pointee(index);
        Ok(Self { dir: dir.to_owned(), index, catalogue: Some(catalogue), changes })
    }

    /// The index as it is now.
    pub(crate) fn index(&self) -> Arc<Index> {
        self.index.load_full()
    }

    /// Whether items can be added and removed.
    pub(crate) fn is_writable(&self) -> bool {
        self.catalogue.is_some()
    }

    /// What labels the index has.
    pub(crate) fn shape(&self) -> LabelShape {
        self.changes().shape
    }

    /// The catalogue, where there is one.
    pub(crate) fn catalogue(&self) -> Option<&Arc<Catalogue>> {
        self.catalogue.as_ref()
    }

    /// Where the index is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds items, all or none; their ids. When this returns they are on disk and are found.
    pub(crate) fn add(&self, items: Vec<NewItem>) -> Result<Vec<u64>, ChangeError> {
        let catalogue = self.catalogue.as_ref().ok_or(ChangeError::ReadOnly)?;
        let mut changes = self.changes();
        let (mut next, shape) = (changes.next, changes.shape);
        let writer = changes.writer.as_mut().ok_or(ChangeError::Moved)?;
        let index = self.index.load();
        let mut entries: Vec<Entry> = Vec::with_capacity(items.len());
        for NewItem { id, record, thumbnail, imported } in items {
            let id = match id {
                Some(id) => id,
                None => next.ok_or(ChangeError::Taken(u64::MAX))?,
            };
            if index.contains(id) || entries.iter().any(|entry| entry.id == id) {
                return Err(ChangeError::Taken(id));
            }
            if next.is_some_and(|next| id >= next) {
                next = id.checked_add(1);
            }
            entries.push(Entry { id, record, thumbnail, imported });
        }
        let ids: Vec<u64> = entries.iter().map(|entry| entry.id).collect();
        let records = entries.iter().map(|entry| (entry.id, &entry.record));
        let set = set_of(index.bits(), records, shape)?;
        catalogue.commit(&entries, &[])?;
        if let Err(error) = writer.add(&set) {
            // Neither has them, if the catalogue can be told so; else the index will have them when it is opened again.
            catalogue.commit(&[], &ids)?;
            return Err(Error::index(&self.dir, error).into());
        }
        self.index.store(Arc::new(writer.snapshot()));
        changes.next = next;
        Ok(ids)
    }

    /// Removes an item. When this returns it is gone from the disk, and not found.
    pub(crate) fn remove(&self, id: u64) -> Result<(), ChangeError> {
        let catalogue = self.catalogue.as_ref().ok_or(ChangeError::ReadOnly)?;
        let mut changes = self.changes();
        let writer = changes.writer.as_mut().ok_or(ChangeError::Moved)?;
        if !self.index.load().contains(id) {
            return Err(ChangeError::Unknown(id));
        }
        catalogue.commit(&[], &[id])?;
        writer.remove(&[id]).map_err(|error| Error::index(&self.dir, error))?;
        self.index.store(Arc::new(writer.snapshot()));
        Ok(())
    }

    /// Lets `open` open the same files anew, while changes wait; where it fails, these items go on.
    pub(crate) fn hand_over<T>(
        &self,
        open: impl FnOnce(Option<Arc<Catalogue>>) -> Result<T>,
    ) -> Result<T> {
        let mut changes = self.changes();
        let had = changes.writer.take().is_some();
        let opened = open(self.catalogue.clone());
        if opened.is_err() && had {
            changes.writer = IndexWriter::open(&self.dir).ok();
        }
        opened
    }
}

/// The index on this machine's disk, as it is now.
impl Searcher for LocalItems {
    fn bits(&self) -> u32 {
        self.index().bits()
    }

    fn len(&self) -> usize {
        self.index().len()
    }

    fn search(&self, query: &Query<'_>) -> Result<Found, SearchError> {
        let Query { code, k, radius, filter, codes, .. } = *query;
        let index = self.index();
        let chosen = filter.map(|scope| scope.selection(&index));
        let hits = match (chosen, k) {
            (Some(chosen), usize::MAX) => chosen.within(code, radius)?,
            (Some(chosen), _) => chosen.knn_within(code, k, radius)?,
            (None, usize::MAX) => index.within(code, radius)?,
            (None, _) => index.knn_within(code, k, radius)?,
        };
        let neighbour = |&Hit { distance, id, .. }: &Hit| {
            let code = if codes { index.code(id) } else { None };
            let code = code.unwrap_or_default().to_vec();
            Neighbour { distance, id, code }
        };
        let neighbours = hits.iter().map(neighbour).collect();
        Ok(Found { neighbours, ..Found::default() })
    }

    fn code(&self, id: u64) -> Result<Option<Vec<u8>>, SearchError> {
        Ok(self.index().code(id).map(<[u8]>::to_vec))
    }
}

/// Makes an index agree with its catalogue.
fn reconcile(
    dir: &Path,
    writer: &mut IndexWriter,
    catalogue: &Catalogue,
    shape: LabelShape,
) -> Result<()> {
    let index = writer.snapshot();
    let Unlike { missing, left } = catalogue.unlike(|id| index.contains(id))?;
    if !missing.is_empty() {
        tracing::warn!(items = missing.len(), "in the catalogue and not in the index: added");
        let records = missing.iter().map(|(id, record)| (*id, record));
        let set = set_of(index.bits(), records, shape)?;
        writer.add(&set).map_err(|error| Error::index(dir, error))?;
    }
    if !left.is_empty() {
        tracing::warn!(
            items = left.len(),
            "removed in the catalogue and still in the index: removed"
        );
        writer.remove(&left).map_err(|error| Error::index(dir, error))?;
    }
    Ok(())
}

/// Items as an index takes them.
fn set_of<'a>(
    bits: u32,
    records: impl Iterator<Item = (u64, &'a Record)> + Clone,
    shape: LabelShape,
) -> Result<CodeSet> {
    let mut bytes = Vec::new();
    for (id, record) in records.clone() {
        let code = Codes::from_hex(bits, &record.code);
        let code = code.map_err(|e| Error::index(Path::new(&format!("item {id}")), e))?;
        bytes.extend_from_slice(code.as_bytes());
    }
    let codes = Codes::new(bits, bytes).map_err(|e| Error::index(Path::new("items"), e))?;
    let labels = shape.labels(records.clone().map(|(_, record)| record));
    let ids = Some(records.map(|(id, _)| id).collect());
    Ok(CodeSet { ids, labels, ..CodeSet::new(codes) })
}
