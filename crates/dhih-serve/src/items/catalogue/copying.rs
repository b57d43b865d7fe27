//! Copies of the catalogue: a consistent copy in another file while changes continue, or a rewrite of the file without deleted data. redb
//! leaves the bytes of deleted values in its file until they are overwritten; only a new file is free of them.

use std::path::{Path, PathBuf};

use redb::{Key, ReadTransaction, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::database::Fault;
use super::record::ImportedFile;
use super::{
    ANSWER_ORDER, ANSWERS, ATTRIBUTES, Catalogue, EXTERNAL_IDS, FIELDS, FORMER_CODES, IMPORTS,
    ITEMS, META, THUMBNAILS, answers, journal, parse,
};
use crate::{Error, Result};

/// What a copy contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    All,
    /// Everything but the records of deleted items: their former codes, and the files that they were imported from.
    AllButDeleted,
}

/// What happens to the history in a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum History {
    /// The copy continues the history of the catalogue, without the changes so far. It is for a follower, which requests the changes after
    /// it.
    Kept,
    /// As `Kept`, for a rewrite of the catalogue in place. The stored answers are left out, because they contain data of deleted items.
    Rewritten,
    /// The copy has no history. It becomes a separate catalogue, which the followers of the original cannot follow.
    Dropped,
}

/// A snapshot of the catalogue.
pub(crate) struct CatalogueSnapshot {
    tables: ReadTransaction,
    /// The fingerprint of all items of the index of this moment.
    all: u64,
}

impl Catalogue {
    /// A snapshot of the catalogue. It is unaffected by later changes.
    pub(crate) fn snapshot(&self) -> Result<CatalogueSnapshot> {
        let all = self.untouched();
        self.database.begin_read().map(|tables| CatalogueSnapshot { tables, all })
    }

    /// Replaces the file of the catalogue by a copy, which has no bytes of deleted values. There must be no concurrent change.
    ///
    /// # Errors
    /// When the disk is full or fails; the previous file is then still in place.
    pub(crate) fn rewrite(&self, copied: Copied) -> Result<()> {
        let new = leftover(&self.path);
        let snapshot = self.snapshot()?;
        let written = snapshot.write_to(&new, copied, History::Rewritten);
        // Drop the snapshot before the file is replaced: no reader of the old file may remain.
        drop(snapshot);
        let replaced = written.and_then(|()| self.database.replace_by(&new));
        if replaced.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        replaced
    }
}

impl CatalogueSnapshot {
    /// Writes the snapshot as a catalogue. When this returns, it is on disk.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub(crate) fn write_to(&self, path: &Path, copied: Copied, history: History) -> Result<()> {
        let failed = |fault: Fault| Error::catalogue(path, fault);
        // An interrupted copy may have left a file.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(Fault::Io(error)));
            }
            _ => {}
        }
        let write = || -> Result<(), Fault> {
            let database = redb::Database::create(path)?;
            let change = database.begin_write()?;
            self.copy(&change, copied)?;
            copy_table(&self.tables, &change, ANSWERS, |_, _| Ok(history != History::Rewritten))?;
            copy_table(&self.tables, &change, ANSWER_ORDER, |_, _| {
                Ok(history != History::Rewritten)
            })?;
            match history {
                History::Kept => journal::forget(&change, self.all)?,
                History::Rewritten => {
                    answers::forget_all(&change)?;
                    journal::forget(&change, self.all)?;
                }
                History::Dropped => journal::disown(&change)?,
            }
            change.commit()?;
            Ok(())
        };
        write().map_err(failed)
    }

    fn copy(&self, to: &WriteTransaction, copied: Copied) -> Result<(), Fault> {
        let from = &self.tables;
        copy_table(from, to, META, |_, _| Ok(true))?;
        copy_table(from, to, FIELDS, |_, _| Ok(true))?;
        copy_table(from, to, ITEMS, |_, _| Ok(true))?;
        copy_table(from, to, THUMBNAILS, |_, _| Ok(true))?;
        copy_table(from, to, ATTRIBUTES, |_, _| Ok(true))?;
        copy_table(from, to, EXTERNAL_IDS, |_, _| Ok(true))?;
        let items = from.open_table(ITEMS)?;
        copy_table(from, to, FORMER_CODES, |id, _| {
            Ok(copied == Copied::All || items.get(id)?.is_some())
        })?;
        copy_table(from, to, IMPORTS, |_, file| {
            Ok(copied == Copied::All || parse::<ImportedFile>(file)?.item.is_some())
        })
    }
}

/// Removes the file that an interrupted rewrite has left beside a catalogue.
pub(super) fn remove_leftover(catalogue: &Path) {
    if std::fs::remove_file(leftover(catalogue)).is_ok() {
        tracing::info!(path = %catalogue.display(), "an interrupted copy of the catalogue was removed");
    }
}

fn leftover(catalogue: &Path) -> PathBuf {
    catalogue.with_extension("redb.new")
}

/// Copies the rows that `is_kept` selects.
fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
    is_kept: impl Fn(K::SelfType<'_>, V::SelfType<'_>) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let mut copy = to.open_table(table)?;
    for entry in from.open_table(table)?.iter()? {
        let (key, value) = entry?;
        if is_kept(key.value(), value.value())? {
            copy.insert(key.value(), value.value())?;
        }
    }
    Ok(())
}
