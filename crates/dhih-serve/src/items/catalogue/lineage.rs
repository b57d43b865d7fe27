//! Whose copy a catalogue is, and that it becomes a primary's. It is in the table `META`, so that no flag and no file beside it can say otherwise.

use super::database::Fault;
use super::journal::{append, head_of, next, random};
use super::{Catalogue, META, payload};
use crate::Result;

/// Keys of the table `META`. The address of the primary whose copy this is.
pub(super) const PRIMARY: &str = "journal_primary";
/// The address of the primary whose copy this was until it was promoted.
pub(super) const FORMER_PRIMARY: &str = "journal_former_primary";

/// Where a catalogue stands to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// The address of the primary that it is a copy of.
    pub(crate) primary: Option<String>,
    /// The address of the primary that it was a copy of until it was promoted.
    pub(crate) former_primary: Option<String>,
}

impl Catalogue {
    /// Where it stands to others.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub(crate) fn lineage(&self) -> Result<Lineage> {
        self.database.read(|tables| {
            let meta = tables.open_table(META)?;
            let of = |key: &str| -> Result<_, Fault> {
                Ok(meta.get(key)?.map(|text| text.value().to_owned()))
            };
            Ok(Lineage { primary: of(PRIMARY)?, former_primary: of(FORMER_PRIMARY)? })
        })
    }

    /// Makes this the copy of a primary.
    ///
    /// # Errors
    /// A disk that does not take it.
    pub(crate) fn set_primary(&self, address: &str) -> Result<()> {
        self.database.write(|change| {
            let mut meta = change.open_table(META)?;
            meta.remove(FORMER_PRIMARY)?;
            meta.insert(PRIMARY, address)?;
            Ok(())
        })
    }

    /// Makes this a primary whose history goes its own way from here on; whether it was a copy of another until now.
    ///
    /// # Errors
    /// A disk that does not take it.
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
