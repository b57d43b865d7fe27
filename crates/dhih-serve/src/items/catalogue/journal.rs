//! The journal: a bounded, numbered log of the last changes of a catalogue. Each change is appended in the transaction that makes it, so
//! the journal and the tables always agree. Followers receive the changes from the journal. After a crash, the journal shows which changes
//! the index may lack. The positions and bounds of the journal are rows of the table `META` (`meta.rs`).
//!
//! ```text
//! base | first change kept ... published | ... head
//!                              the index has the changes up to here, and only these are sent to followers
//! ```
//!
//! A change that moves items or binds the catalogue to another index is not logged. It begins a new history, and followers have to fetch a
//! snapshot.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use tokio::sync::watch;

use super::answers::now_ms;
use super::change::Change;
use super::database::Fault;
use super::meta::{
    BASE, BYTES, FORK, FORMER_PRIMARY, HEAD, LIMIT, Meta, PRIMARY, SETTLED, SUPERSEDED, UNTOUCHED,
    begin_history, head_of, raise_epoch, random, read_number, read_position, set_new_history,
};
use super::payload::{self, Fork, ReadChange};
use super::position::{Chain, LoggedChange, Position, Settled};
use super::{Catalogue, FORMAT, FORMAT_KEY, META};
use crate::{Error, Result};

/// The changes by number. A row holds the checksum, the time and the payload.
const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");

/// The rows of `META` that are removed from a copy that begins a history of its own.
const OWN: [&str; 8] = [BASE, HEAD, SETTLED, UNTOUCHED, BYTES, LIMIT, PRIMARY, FORMER_PRIMARY];
/// The format of a catalogue with a journal. It differs from the one without, so that programs that do not know the journal refuse the
/// file. They would change the tables without logging the changes.
pub(super) const FORMAT_WITH_JOURNAL: u32 = FORMAT + 1;

/// The bytes of a row before its payload: the checksum and the time.
const ROW_HEAD: usize = 40;

/// The part of the journal's state that is in memory.
#[derive(Debug)]
pub(super) struct Journal {
    /// The position of the last change that the index has; `None` if no journal is kept.
    published: watch::Sender<Option<Position>>,
    /// The fingerprint of the items of the index that the next change does not touch.
    pub(super) untouched: AtomicU64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { published: watch::Sender::new(None), untouched: AtomicU64::new(0) }
    }
}

/// How a journal relates to the position of a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The journal continues from this position.
    Here,
    /// The journal has dropped the change after this position.
    TooFarBehind,
    /// The history of the catalogue does not contain this position.
    OtherHistory,
    /// No journal is kept.
    NoJournal,
}

impl Catalogue {
    /// Starts keeping a journal of at most `bytes`, or applies this bound to the existing one. 0 ends the journal. The caller ensures that
    /// the index has every change of the catalogue, and that no promotion is in progress.
    ///
    /// # Errors
    /// When the disk is full or fails, or the journal of a copy would end: the copy's position is in it.
    pub(crate) fn keep_journal(&self, bytes: u64) -> Result<()> {
        if bytes == 0
            && let Some(primary) = self.lineage()?.primary
        {
            let dir = self.path().parent().unwrap_or(self.path());
            return Err(Error::JournalOfCopy { path: dir.to_owned(), primary });
        }
        self.database.write(|change| {
            if bytes == 0 {
                return end(change);
            }
            if head_of(change)?.is_none() {
                let at = Position { number: 0, chain: random()? };
                restart(change, at, self.untouched())?;
                begin_history(change)?;
            }
            let mut meta = change.open_table(META)?;
            meta.insert(LIMIT, &*bytes.to_string())?;
            meta.insert(FORMAT_KEY, &*FORMAT_WITH_JOURNAL.to_string())?;
            Ok(())
        })?;
        self.publish()
    }

    /// Publishes all changes: the index now has them, so followers may receive them.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) fn publish(&self) -> Result<()> {
        self.journal.published.send_replace(self.head()?);
        Ok(())
    }

    /// Restores the published position from the disk after opening. It may be earlier than the actual one, because it is stored only
    /// together with the next change.
    pub(super) fn read_published(&self) -> Result<()> {
        self.set_untouched(self.database.read(|tables| read_number(tables, UNTOUCHED))?);
        let published = self.database.read(|tables| {
            let Some(head) = read_position(tables, HEAD)? else { return Ok(None) };
            let settled = read_number(tables, SETTLED)?;
            if settled >= head.number {
                return Ok(Some(head));
            }
            let base = read_position(tables, BASE)?.filter(|base| base.number == settled);
            let at = row(tables, settled)?.map(|row| row.position()).or(base);
            at.ok_or_else(|| Fault::Corrupted(format!("the journal lacks change {settled}")))
                .map(Some)
        })?;
        self.journal.published.send_replace(published);
        Ok(())
    }

    /// The position of the last change that the index has; `None` if no journal is kept.
    pub(crate) fn published(&self) -> Option<Position> {
        *self.journal.published.borrow()
    }

    /// A receiver that is notified of every newly published position.
    pub(crate) fn watch_published(&self) -> watch::Receiver<Option<Position>> {
        self.journal.published.subscribe()
    }

    /// Whether the journal continues from a position.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) fn reach(&self, position: &Position) -> Result<Reach> {
        self.database.read(|tables| {
            let ends = (read_position(tables, BASE)?, read_position(tables, HEAD)?);
            let (Some(base), Some(head)) = ends else { return Ok(Reach::NoJournal) };
            let known = match position.number {
                number if number > head.number => None,
                number if number < base.number => return Ok(Reach::TooFarBehind),
                number if number == base.number => Some(base),
                number => row(tables, number)?.map(|row| row.position()),
            };
            Ok(if known.as_ref() == Some(position) { Reach::Here } else { Reach::OtherHistory })
        })
    }

    /// The changes with numbers above `after` and up to `last`, in order. Returns as many as have at most `bytes` together, but at least
    /// one if there is any.
    ///
    /// # Errors
    /// When the catalogue cannot be read, or a row is malformed.
    pub(crate) fn logged(&self, after: u64, last: u64, bytes: usize) -> Result<Vec<LoggedChange>> {
        self.database.read(|tables| {
            let (mut rows, mut taken) = (Vec::new(), 0);
            // The table does not exist before a journal is kept for the first time.
            if read_position(tables, HEAD)?.is_none() {
                return Ok(rows);
            }
            for entry in tables.open_table(JOURNAL)?.range(after.saturating_add(1)..=last)? {
                let (number, row) = entry?;
                taken += row.value().len();
                if !rows.is_empty() && taken > bytes {
                    break;
                }
                rows.push(parse_row(number.value(), row.value())?);
            }
            Ok(rows)
        })
    }

    /// Makes changes of a primary in one transaction, all or none, and appends them to the journal with the primary's numbers, times and
    /// checksums. The changes must continue from [`head`](Self::head). When this returns, they are on disk, but not yet in the index.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub(crate) fn replay(&self, changes: &[(LoggedChange, ReadChange)]) -> Result<()> {
        let settled = self.settled();
        let written = self.database.write(|tables| {
            let (mut changed, mut codes) = (Vec::new(), HashMap::new());
            for (logged, read) in changes {
                let change = read.change();
                changed.extend(change.write(tables)?);
                change.note_codes(&mut codes);
                append(tables, logged, settled)?;
                if let Some(Fork { epoch }) = read.fork {
                    raise_epoch(tables, epoch)?;
                }
            }
            self.replaced.keep(&changed, &codes);
            Ok(changed)
        });
        let all = changes.iter().map(|(_, read)| read.change());
        self.note_written(written, all)
    }

    /// The position of the last change, whether the index has it or not; `None` if no journal is kept.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) fn head(&self) -> Result<Option<Position>> {
        self.database.read(|tables| read_position(tables, HEAD))
    }
}

/// Appends a change to the journal, if one is kept.
pub(super) fn log(
    tables: &WriteTransaction,
    change: &Change<'_>,
    settled: Settled,
) -> Result<(), Fault> {
    let Some(head) = head_of(tables)? else { return Ok(()) };
    if change.index_id.is_some() || !change.moved.is_empty() {
        tracing::info!("the index is another one: followers have to take all items anew");
        let at = Position { number: head.number + 1, chain: random()? };
        return restart(tables, at, settled.untouched);
    }
    let payload = payload::encode(change).map_err(std::io::Error::other)?;
    append(tables, &next(&head, payload), settled)
}

/// Drops all kept changes, because their payloads contain deleted data. The position stays, so a follower that has every change can go on.
/// `all` is the fingerprint of all items of the index.
pub(super) fn forget(change: &WriteTransaction, all: u64) -> Result<(), Fault> {
    match head_of(change)? {
        Some(head) => restart(change, head, all),
        None => Ok(()),
    }
}

/// Removes the journal and its positions from a copy of the catalogue, so that the copy does not continue the history of the original.
pub(super) fn disown(change: &WriteTransaction) -> Result<(), Fault> {
    end(change)?;
    let mut meta = change.open_table(META)?;
    // Both are about other services that have the history of the original.
    meta.remove(SUPERSEDED)?;
    meta.remove(FORK)?;
    drop(meta);
    // With an id of its own, followers of the original do not take a restored copy for a former primary.
    set_new_history(&mut Meta::open(change)?)
}

fn end(change: &WriteTransaction) -> Result<(), Fault> {
    change.delete_table(JOURNAL)?;
    let mut meta = change.open_table(META)?;
    for key in OWN {
        meta.remove(key)?;
    }
    meta.insert(FORMAT_KEY, &*FORMAT.to_string())?;
    Ok(())
}

/// Empties the journal and sets its position. `all` is the fingerprint of all items of the index.
pub(super) fn restart(change: &WriteTransaction, at: Position, all: u64) -> Result<(), Fault> {
    change.delete_table(JOURNAL)?;
    change.open_table(JOURNAL)?;
    let mut meta = change.open_table(META)?;
    for key in [BASE, HEAD] {
        meta.insert(key, &*at.to_string())?;
    }
    meta.insert(SETTLED, &*at.number.to_string())?;
    meta.insert(UNTOUCHED, &*all.to_string())?;
    meta.insert(BYTES, "0")?;
    Ok(())
}

pub(super) fn next(head: &Position, payload: Vec<u8>) -> LoggedChange {
    let (number, at_ms) = (head.number + 1, now_ms());
    let mut change = LoggedChange { number, at_ms, chain: head.chain, payload };
    change.chain = head.chain.after(&change);
    change
}

/// Appends the row of a change, and drops the oldest rows until the journal is within its bound.
pub(super) fn append(
    tables: &WriteTransaction,
    logged: &LoggedChange,
    Settled { number, untouched }: Settled,
) -> Result<(), Fault> {
    let mut journal = tables.open_table(JOURNAL)?;
    let row = [&logged.chain.0[..], &logged.at_ms.to_le_bytes(), &logged.payload].concat();
    journal.insert(logged.number, &*row)?;
    let mut meta = Meta::open(tables)?;
    // After a restart of the journal, `SETTLED` is newer than the published position in memory: the index has everything up to the new
    // base.
    let settled = number.max(meta.number(SETTLED)?);
    let (limit, mut bytes) = (meta.number(LIMIT)?, meta.number(BYTES)? + row.len() as u64);
    let mut base = None;
    while bytes > limit {
        let oldest = {
            let Some((number, row)) = journal.first()? else { break };
            // The changes that the index may lack are kept even beyond the bound. Recovery after a crash needs them.
            if number.value() > settled {
                break;
            }
            parse_row(number.value(), row.value())?
        };
        journal.remove(oldest.number)?;
        bytes = bytes.saturating_sub((ROW_HEAD + oldest.payload.len()) as u64);
        base = Some(oldest.position());
    }
    if let Some(base) = base {
        meta.set(BASE, &base.to_string())?;
    }
    meta.set(HEAD, &logged.position().to_string())?;
    meta.set(SETTLED, &settled.to_string())?;
    meta.set(UNTOUCHED, &untouched.to_string())?;
    meta.set(BYTES, &bytes.to_string())
}

fn row(tables: &ReadTransaction, number: u64) -> Result<Option<LoggedChange>, Fault> {
    let journal = tables.open_table(JOURNAL)?;
    journal.get(number)?.map(|row| parse_row(number, row.value())).transpose()
}

fn parse_row(number: u64, row: &[u8]) -> Result<LoggedChange, Fault> {
    let wrong = || Fault::Corrupted(format!("change {number} of the journal is malformed"));
    let (chain, rest) = row.split_first_chunk::<32>().ok_or_else(wrong)?;
    let (at_ms, payload) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
    let (chain, at_ms) = (Chain(*chain), u64::from_le_bytes(*at_ms));
    Ok(LoggedChange { number, at_ms, chain, payload: payload.to_vec() })
}
