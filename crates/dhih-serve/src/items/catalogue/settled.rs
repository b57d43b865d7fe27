//! What the journal says of the index: up to which change it surely has all, and the fingerprint of the items that later changes do not touch. By
//! the latter it is seen whether another program has changed the index.

use std::sync::atomic::Ordering;

use super::Catalogue;
use super::journal::restart;
use super::meta::{Meta, SETTLED, UNTOUCHED, head_of, random};
use super::position::{Position, Settled};
use crate::Result;

impl Catalogue {
    /// Notes the fingerprint of the items that the next change does not touch. It is written with the change.
    pub(crate) fn set_untouched(&self, untouched: u64) {
        self.journal.untouched.store(untouched, Ordering::Relaxed);
    }

    /// That fingerprint; after the catalogue was opened, of the items that no change touches which the index may lack.
    pub(crate) fn untouched(&self) -> u64 {
        self.journal.untouched.load(Ordering::Relaxed)
    }

    /// Notes on disk that the index has all changes, and the fingerprint of all its items.
    ///
    /// # Errors
    /// A disk that does not take it.
    pub(crate) fn settle(&self, all: u64) -> Result<()> {
        self.set_untouched(all);
        self.database.write(|change| {
            let Some(head) = head_of(change)? else { return Ok(()) };
            let mut meta = Meta::open(change)?;
            meta.set(SETTLED, &head.number.to_string())?;
            meta.set(UNTOUCHED, &all.to_string())
        })
    }

    /// Begins another history, which nobody follows yet.
    ///
    /// # Errors
    /// A disk that does not take it.
    pub(crate) fn begin_anew(&self) -> Result<()> {
        self.database.write(|change| match head_of(change)? {
            Some(head) => {
                let at = Position { number: head.number + 1, chain: random()? };
                restart(change, at, self.untouched())
            }
            None => Ok(()),
        })
    }

    /// What is written with a change about the index as it was before.
    pub(super) fn settled(&self) -> Settled {
        let number = self.published().map_or(0, |published| published.number);
        Settled { number, untouched: self.untouched() }
    }
}
