//! The lineage of a catalogue: whether it is the copy of a primary, its promotion, and whether another service has taken its place as a
//! primary. The lineage is stored in the table `META`, so that no flag and no other file can contradict it.
//!
//! The epoch counts the promotions of a history, which all copies of it know. Of two services with a common history that both accept
//! changes, the one with the lower epoch is a former primary. Epochs of different histories say nothing about each other; a random id shows
//! whether two services have the same history.

use redb::WriteTransaction;

use super::database::Fault;
use super::journal::{append, next};
use super::meta::{
    EPOCH, FORK, FORMER_PRIMARY, HISTORY, Meta, PRIMARY, SUPERSEDED, head_of, raise_epoch, random,
    read_number, read_position,
};
use super::position::{Position, Settled};
use super::{Catalogue, META, payload};
use crate::Result;

/// The lineage of a catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// The address of the primary that the catalogue is a copy of.
    pub(crate) primary: Option<String>,
    /// The address of the primary that the catalogue was a copy of until it was promoted.
    pub(crate) former_primary: Option<String>,
    /// The number of promotions in the history.
    pub(crate) epoch: u64,
    /// The random id of the history. Absent if an older program has begun it, or no journal was ever kept.
    pub(crate) history: Option<String>,
    /// The epoch of the primary that has taken the place of this one; 0 if none has.
    pub(crate) superseded_by: u64,
    /// The position before the last promotion of this catalogue.
    pub(crate) fork: Option<Position>,
}

impl Lineage {
    /// Whether the history `other` may be this one: their ids are the same, or one of them has none.
    pub(crate) fn may_be(&self, other: Option<&str>) -> bool {
        let (Some(own), Some(other)) = (&self.history, other) else { return true };
        own == other
    }

    /// Whether the history `other` is this one.
    pub(crate) fn is_surely(&self, other: Option<&str>) -> bool {
        other.is_some() && self.history.as_deref() == other
    }
}

impl Catalogue {
    /// Reads the lineage.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) fn lineage(&self) -> Result<Lineage> {
        self.database.read(|tables| {
            let meta = tables.open_table(META)?;
            let of = |key: &str| -> Result<_, Fault> {
                Ok(meta.get(key)?.map(|text| text.value().to_owned()))
            };
            Ok(Lineage {
                primary: of(PRIMARY)?,
                former_primary: of(FORMER_PRIMARY)?,
                epoch: read_number(tables, EPOCH)?,
                history: of(HISTORY)?,
                superseded_by: read_number(tables, SUPERSEDED)?,
                fork: read_position(tables, FORK)?,
            })
        })
    }

    /// Makes the catalogue the copy of the primary at `address`.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub(crate) fn set_primary(&self, address: &str) -> Result<()> {
        self.database.write(|change| {
            let mut meta = change.open_table(META)?;
            meta.remove(FORMER_PRIMARY)?;
            meta.remove(SUPERSEDED)?;
            meta.remove(FORK)?;
            meta.insert(PRIMARY, address)?;
            Ok(())
        })
    }

    /// Promotes a copy, or a former primary whose place another service has taken. The change that is logged for this has a random payload,
    /// so that the new history differs from that of the former primary from here on. The epoch becomes higher than all that are known.
    /// Returns whether there was something to promote.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub(crate) fn promote(&self) -> Result<bool> {
        let settled = self.settled();
        self.database.write(|change| {
            {
                let mut meta = change.open_table(META)?;
                let primary = meta.remove(PRIMARY)?.map(|address| address.value().to_owned());
                if let Some(primary) = &primary {
                    meta.insert(FORMER_PRIMARY, &**primary)?;
                }
                let superseded = meta.remove(SUPERSEDED)?.map(|epoch| epoch.value().to_owned());
                if let Some(epoch) = &superseded {
                    meta.insert(EPOCH, &**epoch)?;
                }
                if primary.is_none() && superseded.is_none() {
                    return Ok(false);
                }
            }
            let epoch = raise_epoch(change, None)?;
            log_fork(change, settled, epoch)?;
            Ok(true)
        })
    }

    /// Notes that a primary of the epoch `by` has taken the place of this one, unless the own epoch is as high, or this is a copy. Returns
    /// whether the place is taken.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub(crate) fn supersede(&self, by: u64) -> Result<bool> {
        self.database.write(|change| {
            let mut meta = Meta::open(change)?;
            if meta.has(PRIMARY)? || by <= meta.number(EPOCH)? {
                return Ok(false);
            }
            let by = by.max(meta.number(SUPERSEDED)?);
            meta.set(SUPERSEDED, &by.to_string())?;
            Ok(true)
        })
    }
}

fn log_fork(change: &WriteTransaction, settled: Settled, epoch: u64) -> Result<(), Fault> {
    let nonce = dhih_index::to_hex(&random()?.0);
    let fork = payload::encode_fork(&nonce, epoch).map_err(std::io::Error::other)?;
    match head_of(change)? {
        Some(head) => {
            Meta::open(change)?.set(FORK, &head.to_string())?;
            append(change, &next(&head, fork), settled)
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LoggedChange, ReadChange};
    use super::*;
    use crate::Error;

    fn catalogue() -> (tempfile::TempDir, Catalogue) {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path()).unwrap();
        catalogue.keep_journal(1 << 20).unwrap();
        (dir, catalogue)
    }

    #[test]
    fn a_primary_gives_way_to_a_higher_epoch_alone_and_once_promoted_has_the_highest() {
        let (_dir, primary) = catalogue();
        assert!(!primary.supersede(0).unwrap());
        let first = primary.lineage().unwrap();
        assert!(first.history.is_some());
        assert_eq!(first, Lineage { history: first.history.clone(), ..Lineage::default() });
        assert!(primary.supersede(3).unwrap() && primary.supersede(2).unwrap());
        assert_eq!(primary.lineage().unwrap(), Lineage { superseded_by: 3, ..first.clone() });
        // A journal that is ended and begun anew does not make it a primary again.
        primary.keep_journal(0).unwrap();
        primary.keep_journal(1 << 20).unwrap();
        assert_eq!(primary.lineage().unwrap(), Lineage { superseded_by: 3, ..first.clone() });
        let before = primary.head().unwrap();
        assert!(primary.promote().unwrap() && !primary.promote().unwrap());
        let fork = before;
        assert_eq!(primary.lineage().unwrap(), Lineage { epoch: 4, fork, ..first });
        assert_ne!(primary.head().unwrap(), before, "its history is another one from here on");
        assert!(!primary.supersede(4).unwrap() && primary.supersede(5).unwrap());
    }

    #[test]
    fn the_epoch_of_a_promotion_reaches_the_copies_by_the_journal() {
        let (_dir, promoted) = catalogue();
        promoted.set_primary("http://former").unwrap();
        assert!(!promoted.supersede(9).unwrap(), "a copy is no primary");
        let (_dir, copy) = catalogue();
        assert!(promoted.promote().unwrap());
        assert_eq!(promoted.lineage().unwrap().epoch, 1);
        let replay = || {
            let head = copy.head().unwrap().map_or(0, |head| head.number);
            let changes = promoted.logged(head, u64::MAX, usize::MAX).unwrap();
            let read = |change: LoggedChange| {
                let read = ReadChange::decode(&change.payload).unwrap();
                (change, read)
            };
            copy.replay(&changes.into_iter().map(read).collect::<Vec<_>>()).unwrap();
            copy.lineage().unwrap().epoch
        };
        assert_eq!(replay(), 1);
        // A former primary that is promoted again skips the epochs of others. Its copies then counted from their own.
        assert!(promoted.supersede(5).unwrap() && promoted.promote().unwrap());
        assert_eq!((promoted.lineage().unwrap().epoch, replay()), (6, 6));
        assert!(copy.lineage().unwrap().fork.is_none(), "a copy has not forked itself");
    }

    /// Without the journal the copy would be opened as an index of its own and accept changes.
    #[test]
    fn the_journal_of_a_copy_does_not_end() {
        let (_dir, copy) = catalogue();
        copy.set_primary("http://primary").unwrap();
        let before = (copy.lineage().unwrap(), copy.head().unwrap());
        let refused = copy.keep_journal(0);
        assert!(
            matches!(&refused, Err(Error::JournalOfCopy { primary, .. }) if primary == "http://primary")
        );
        assert_eq!((copy.lineage().unwrap(), copy.head().unwrap()), before);
        copy.promote().unwrap();
        copy.keep_journal(0).unwrap();
        assert_eq!(copy.head().unwrap(), None);
    }
}
