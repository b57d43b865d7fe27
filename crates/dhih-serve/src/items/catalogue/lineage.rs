//! The lineage of a catalogue: whether it is the copy of a primary, and its promotion. The lineage is stored in the table `META`, so that
//! no flag and no other file can contradict it.

use super::database::Fault;
use super::journal::{FORMER_PRIMARY, PRIMARY, append, head_of, next, random};
use super::{Catalogue, META, payload};
use crate::Result;

/// The primary of a catalogue that is or was a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// The address of the primary that the catalogue is a copy of.
    pub(crate) primary: Option<String>,
    /// The address of the primary that the catalogue was a copy of until it was promoted.
    pub(crate) former_primary: Option<String>,
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
            Ok(Lineage { primary: of(PRIMARY)?, former_primary: of(FORMER_PRIMARY)? })
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
            meta.insert(PRIMARY, address)?;
            Ok(())
        })
    }

    /// Promotes a copy. The change that is logged for this has a random payload, so that the new history differs from that of the former
    /// primary from here on. Returns whether the catalogue was a copy.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub(crate) fn promote(&self) -> Result<bool> {
        let settled = self.settled();
        self.database.write(|change| {
            {
                let mut meta = change.open_table(META)?;
                let primary = meta.remove(PRIMARY)?.map(|address| address.value().to_owned());
                let Some(primary) = primary else { return Ok(false) };
                meta.insert(FORMER_PRIMARY, &*primary)?;
            }
            let nonce = dhih_index::to_hex(&random()?.0);
            let fork = payload::encode_fork(nonce).map_err(std::io::Error::other)?;
            if let Some(head) = head_of(change)? {
                append(change, &next(&head, fork), settled)?;
            }
            Ok(true)
        })
    }
}
