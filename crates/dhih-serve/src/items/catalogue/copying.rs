//! Copies of the catalogue: as a file of its own, of one moment, while changes go on; or in its own place, without what was deleted. redb leaves the
//! bytes of deleted values in its file until something else takes their place, so that only a new file is without them.

use std::path::{Path, PathBuf};

use redb::{Key, ReadTransaction, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::database::Fault;
use super::record::ImportedFile;
use super::{
    ANSWER_ORDER, ANSWERS, ATTRIBUTES, Catalogue, EXTERNAL_IDS, FIELDS, FORMER_CODES, IMPORTS,
    ITEMS, META, THUMBNAILS, journal, parse,
};
use crate::{Error, Result};

/// What a copy leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    All,
    /// Not what keeps deleted items away: their codes, and the files that they were imported from.
    AllButDeleted,
}

/// Whose history a copy goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum History {
    /// That of the catalogue, without the changes so far: who has these takes part in it.
    Kept,
    /// The same, of the catalogue itself in its own place, without answers, which tell of what was deleted.
    Rewritten,
    /// None: what the copy becomes is no matter of those who follow the catalogue.
    Dropped,
}

/// The catalogue as it was at one moment.
pub(crate) struct CatalogueSnapshot {
    tables: ReadTransaction,
    /// The fingerprint of all items of the index of this moment.
    all: u64,
}

impl Catalogue {
    /// The catalogue as it is now. It is kept for as long as this is there, whatever is changed meanwhile.
    pub(crate) fn snapshot(&self) -> Result<CatalogueSnapshot> {
        let all = self.untouched();
        self.database.begin_read().map(|tables| CatalogueSnapshot { tables, all })
    }

    /// Puts a copy of itself in its own place, without the bytes of what was deleted. Nothing may change it meanwhile.
    ///
    /// # Errors
    /// A disk that does not take it; what was there before is there then.
    pub(crate) fn rewrite(&self, copied: Copied) -> Result<()> {
        let new = leftover(&self.path);
        let snapshot = self.snapshot()?;
        let written = snapshot.write_to(&new, copied, History::Rewritten);
        // The file that takes the place of another must not have readers of the other.
        drop(snapshot);
        let replaced = written.and_then(|()| self.database.replace_by(&new));
        if replaced.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        replaced
    }
}

impl CatalogueSnapshot {
    /// Writes a catalogue of this moment. When this returns it is on disk.
    ///
    /// # Errors
    /// A disk that does not take it.
    pub(crate) fn write_to(&self, path: &Path, copied: Copied, history: History) -> Result<()> {
        let failed = |fault: Fault| Error::catalogue(path, fault);
        // What an interrupted copy has left.
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
                History::Kept | History::Rewritten => journal::forget(&change, self.all)?,
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

/// Removes what an interrupted rewriting has left beside a catalogue.
pub(super) fn remove_leftover(catalogue: &Path) {
    if std::fs::remove_file(leftover(catalogue)).is_ok() {
        tracing::info!(path = %catalogue.display(), "an interrupted copy of the catalogue was removed");
    }
}

fn leftover(catalogue: &Path) -> PathBuf {
    catalogue.with_extension("redb.new")
}

/// Copies the rows that `is_kept` lets through.
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
