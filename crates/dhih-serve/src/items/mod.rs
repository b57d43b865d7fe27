//! The items on the local disk: the index as searches see it, and the changes of index and catalogue.
//!
//! ```text
//! a change -> adding.rs (with additions.rs and placing.rs), removing.rs, keeping.rs -> changing.rs (with writing.rs)
//!          -> catalogue/ (item, thumbnail, source), then the index (code, label): both durable, then answered
//!                |   agreement.rs: after a crash, an error or a rebuild, makes the index agree with the catalogue
//! a filter -> selections.rs: the items that pass it, cached until something changes; metadata/: the postings that it uses
//! a copy   -> snapshots.rs: a snapshot in another directory, or the same files without deleted data
//! a reload -> handover.rs: are these the same files; closes them for another run
//! ```
//!
//! An index has a catalogue if it was changed by a service with a model, or if users store metadata. Without one, a change is written only
//! to the write-ahead log of the index. This folder does not know searches (`search/`) or runs (`run/`).

mod adding;
mod additions;
mod agreement;
pub(crate) mod catalogue;
mod changing;
mod checking;
mod fingerprint;
mod handover;
mod keeping;
mod local;
pub(crate) mod metadata;
mod numbering;
mod once;
mod placing;
mod removing;
mod replaying;
mod selections;
mod shape;
mod snapshots;
pub(crate) mod thumbnail;
mod writing;

use std::sync::Arc;

use dhih_index::Index;

pub(crate) use self::catalogue::Copied;
use self::catalogue::Record;
pub use self::checking::{Checked, check_index};
pub(crate) use self::keeping::Kept;
pub(crate) use self::local::{LocalItems, Opening};
use self::metadata::Attributes;
pub(crate) use self::numbering::MAX_ID;
pub(crate) use self::once::{Answer, Once, Outcomes};
pub(crate) use self::replaying::ReplayError;
pub(crate) use self::selections::Wanted;
pub(crate) use self::shape::{ItemShape, LabelShape};
pub(crate) use self::snapshots::Compacted;
use crate::Error;

/// What an index directory is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For searches only, by any number of processes.
    ReadOnly,
    /// For searches and changes, by one process at a time.
    Writable,
    /// For searches and for the changes of a primary, by one process at a time. Changes of clients are possible only after a promotion.
    Follower,
}

/// Why a change of the items was refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("this service was started to search alone (--read-only)")]
    ReadOnly,
    /// These items are the copy of the primary at this address.
    #[error("this service follows {0}: send changes there")]
    Follows(String),
    /// Another service was promoted and has taken the place of this primary.
    #[error("another service has taken the place of this primary: send changes there")]
    Superseded,
    /// The codes are in a store in PostgreSQL, which is loaded as a whole and not changed.
    #[error(
        "the codes are in a store, which takes generations from `dhih-serve load`, not single items"
    )]
    Elsewhere,
    #[error("the id {0} is taken")]
    Taken(u64),
    #[error("the id {0} is above {MAX_ID}, the greatest that an item may be given")]
    IdTooLarge(u64),
    #[error("there is no item {0}")]
    Unknown(u64),
    #[error("the external id {external_id:?} is that of item {id}")]
    ExternalIdTaken { external_id: String, id: u64 },
    /// A request with this idempotency key has been made, or is in progress.
    #[error("a request with this key was made already")]
    KeyUsed,
    /// Metadata does not fit the declared fields, or a declaration does not fit the metadata.
    #[error(transparent)]
    Metadata(#[from] metadata::Fault),
    /// The error of one of several items, of which all or none are added.
    #[error("items[{number}]: {refusal}")]
    OfItem { number: usize, refusal: Box<ChangeError> },
    /// The vector of a new item is missing or cannot be stored. Contains the reason.
    #[error("{0}")]
    Vector(String),
    /// The files are being handed over to another run.
    #[error("the index is being reloaded")]
    Reloading,
    /// Index or catalogue could not be reopened after an error. Nothing was changed.
    #[error("the index or its catalogue cannot be written to at the moment: {0}")]
    NotWritable(Error),
    /// The change failed. Nothing was changed.
    #[error(transparent)]
    Failed(#[from] Error),
    /// The disk failed, and it cannot be determined at the moment whether the change was made.
    #[error("it is not known whether the change was made: {0}")]
    OutcomeUnknown(Error),
}

impl ChangeError {
    /// A copy of the error for another request of the same change, or for an answer that is stored.
    pub(crate) fn again(&self) -> Self {
        let reason = |error: &Error| match error {
            Error::DiskFull { path } => Error::DiskFull { path: path.clone() },
            other => Error::NotAdded { reason: other.to_string() },
        };
        match self {
            Self::Taken(id) => Self::Taken(*id),
            Self::IdTooLarge(id) => Self::IdTooLarge(*id),
            Self::Unknown(id) => Self::Unknown(*id),
            Self::ExternalIdTaken { external_id, id } => {
                Self::ExternalIdTaken { external_id: external_id.clone(), id: *id }
            }
            Self::Metadata(fault) => Self::Metadata(fault.clone()),
            Self::Vector(message) => Self::Vector(message.clone()),
            Self::OutcomeUnknown(error) => Self::OutcomeUnknown(reason(error)),
            Self::NotWritable(error) => Self::NotWritable(reason(error)),
            Self::Failed(error) => Self::Failed(reason(error)),
            other => Self::Failed(Error::NotAdded { reason: other.to_string() }),
        }
    }
}

/// A new item of a request or an import.
#[derive(Debug, Clone)]
pub(crate) struct NewItem {
    pub(crate) id: ItemId,
    pub(crate) record: Record,
    pub(crate) thumbnail: Vec<u8>,
    /// SHA-256 of the file that it was imported from.
    pub(crate) digest: Option<String>,
    /// Its attributes, whose code is not set yet. `None` keeps those of the item that it replaces.
    pub(crate) attributes: Option<Attributes>,
}

impl NewItem {
    fn has_attributes(&self) -> bool {
        self.attributes.as_ref().is_some_and(|attributes| !attributes.is_empty())
    }
}

/// The id of a new item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemId {
    /// The next id that no item has or had.
    Next,
    /// This id, which must be free.
    Free(u64),
    /// The id of an existing item, which is replaced.
    Replaced(u64),
    /// The given id or that of the external id, whether or not an item has it; without either, the next free id.
    Upserted(Option<u64>),
}

/// The result of an addition: the outcome of each item, and the index after the change.
#[derive(Debug)]
pub(crate) struct Changed {
    /// The outcomes of all items, in order. If all or none are added, none of these is an error.
    pub(crate) outcomes: Vec<Result<Made, ChangeError>>,
    pub(crate) index: Arc<Index>,
}

/// An item that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) id: u64,
    /// Whether it replaced another item.
    pub(crate) replaces: bool,
}

impl Changed {
    /// The ids of the items that were added, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> {
        self.outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).map(|made| made.id)
    }
}

#[cfg(test)]
mod tests;
