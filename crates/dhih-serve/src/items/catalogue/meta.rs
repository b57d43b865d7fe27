//! The rows of the table `META` that the journal and the lineage have: their keys, and how they are read and written.

use redb::{ReadTransaction, ReadableTable, Table, WriteTransaction};

use super::META;
use super::database::Fault;
use super::position::{Chain, Position};
use crate::Result;

/// The keys of the rows in the table `META`. `BASE` is the position before the first change that is kept.
pub(super) const BASE: &str = "journal_base";
/// The position after the last change.
pub(super) const HEAD: &str = "journal_head";
/// The number of the last published change, as of the last append. The changes after it may be missing from the index.
pub(super) const SETTLED: &str = "journal_settled";
/// The fingerprint of the items of the index that no change after the settled one touches.
pub(super) const UNTOUCHED: &str = "journal_untouched";
/// The total size of the kept rows in bytes, and its upper bound.
pub(super) const BYTES: &str = "journal_bytes";
pub(super) const LIMIT: &str = "journal_limit";

/// The address of the primary. Present only in the copy of a follower.
pub(super) const PRIMARY: &str = "journal_primary";
/// The address of the former primary. Present only in a copy that was promoted.
pub(super) const FORMER_PRIMARY: &str = "journal_former_primary";
/// The epoch of the primary that has taken the place of this one. Present only in a former primary.
pub(super) const SUPERSEDED: &str = "journal_superseded";
/// The position before the last promotion: that of the last change that this history has in common with the one of the former primary.
pub(super) const FORK: &str = "journal_fork";
/// How many promotions there were in the history. It is kept when a journal ends, so that a former primary stays one.
pub(super) const EPOCH: &str = "journal_epoch";
/// A random id that a primary has in common with all its copies. It is kept when a journal ends, as the epoch is. Absent in a catalogue whose
/// journal was begun by an older program.
pub(super) const HISTORY: &str = "journal_history";

/// The table `META`, open for writing.
pub(super) struct Meta<'t>(Table<'t, &'static str, &'static str>);

impl<'t> Meta<'t> {
    pub(super) fn open(change: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self(change.open_table(META)?))
    }

    pub(super) fn position(&self, key: &str) -> Result<Option<Position>, Fault> {
        self.0.get(key)?.map(|text| parse_position(text.value())).transpose()
    }

    pub(super) fn number(&self, key: &str) -> Result<u64, Fault> {
        self.0.get(key)?.map_or(Ok(0), |text| parse_number(text.value()))
    }

    pub(super) fn has(&self, key: &str) -> Result<bool, Fault> {
        Ok(self.0.get(key)?.is_some())
    }

    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        self.0.insert(key, value)?;
        Ok(())
    }
}

/// The position of the last change. The table is closed on return, so that the caller can open it.
pub(super) fn head_of(change: &WriteTransaction) -> Result<Option<Position>, Fault> {
    Meta::open(change)?.position(HEAD)
}

pub(super) fn read_position(
    tables: &ReadTransaction,
    key: &str,
) -> Result<Option<Position>, Fault> {
    let meta = tables.open_table(META)?;
    meta.get(key)?.map(|text| parse_position(text.value())).transpose()
}

pub(super) fn read_number(tables: &ReadTransaction, key: &str) -> Result<u64, Fault> {
    let meta = tables.open_table(META)?;
    meta.get(key)?.map_or(Ok(0), |text| parse_number(text.value()))
}

/// Notes a promotion that began the epoch `known`, or the next one if that is not known. The epoch never falls. Returns it.
pub(super) fn raise_epoch(change: &WriteTransaction, known: Option<u64>) -> Result<u64, Fault> {
    let mut meta = Meta::open(change)?;
    let own = meta.number(EPOCH)?;
    let epoch = known.map_or(own.saturating_add(1), |known| known.max(own));
    meta.set(EPOCH, &epoch.to_string())?;
    Ok(epoch)
}

/// Gives a primary that begins its first journal the id of its history. A catalogue that is or was a copy has that of its primary, if that one
/// has any: an id of its own would look like another history.
pub(super) fn begin_history(change: &WriteTransaction) -> Result<(), Fault> {
    let mut meta = Meta::open(change)?;
    if meta.has(HISTORY)? || meta.has(PRIMARY)? || meta.has(EPOCH)? {
        return Ok(());
    }
    set_new_history(&mut meta)
}

pub(super) fn set_new_history(meta: &mut Meta<'_>) -> Result<(), Fault> {
    meta.set(HISTORY, &dhih_index::to_hex(&random()?.0[..16]))
}

fn parse_position(text: &str) -> Result<Position, Fault> {
    text.parse().map_err(|error| Fault::Corrupted(format!("{text:?}: {error}")))
}

fn parse_number(text: &str) -> Result<u64, Fault> {
    text.parse().map_err(|error| Fault::Corrupted(format!("{text:?}: {error}")))
}

pub(super) fn random() -> Result<Chain, Fault> {
    Ok(Chain::random().map_err(std::io::Error::other)?)
}
