//! The items on this machine's disk: the index as searches see it, and the changes to it and to the catalogue.
//!
//! ```text
//! a change -> local.rs, adding.rs (with placing.rs), keeping.rs -> changing.rs -> catalogue/ (item, thumbnail, source), then the index (code, label): both durable, then answered
//!                            |   agreement.rs: after a crash, an error or another build the index is made to agree with the catalogue
//! a filter -> selections.rs: the items that it lets through, kept until something changes; metadata/: what it goes by
//! a change of a primary -> replaying.rs -> the same two, as it was made there
//! a copy   -> snapshots.rs: a snapshot beside the items; the same files without what was deleted
//! a reload ->  handover.rs: are these the same files, and who has them from now on
//! ```
//!
//! Without a catalogue, which an index has where it was changed with a model, a change goes to the index alone: its write-ahead log.
//! What is searched is not known here (`search/`), nor what a run is (`run/`).

mod adding;
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
mod replaying;
mod selections;
mod shape;
mod snapshots;
pub(crate) mod thumbnail;

use std::sync::Arc;

use dhih_index::Index;

pub(crate) use self::catalogue::Copied;
use self::catalogue::Record;
pub use self::checking::{Checked, check_index};
pub(crate) use self::keeping::{Kept, is_current};
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
    /// Searches alone. Any number of processes may.
    ReadOnly,
    /// Searches and changes. One process at a time.
    Writable,
    /// Searches, and the changes of a primary that is followed: those of others only once this copy was promoted. One process at a time.
    Follower,
}

/// Why an item was not added or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("this service was started to search alone (--read-only)")]
    ReadOnly,
    /// These items are a copy of those at this address.
    #[error("this service follows {0}: send changes there")]
    Follows(String),
    /// The codes are in a store that is loaded, not changed.
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
    /// A request of this key was made already, or is made at the moment.
    #[error("a request with this key was made already")]
    KeyUsed,
    /// Metadata that does not fit the declared fields, or the other way round.
    #[error(transparent)]
    Metadata(#[from] metadata::Fault),
    /// One of several items that are added all or none.
    #[error("items[{number}]: {refusal}")]
    OfItem { number: usize, refusal: Box<ChangeError> },
    /// The vector of a new item cannot be kept, or is missing; why.
    #[error("{0}")]
    Vector(String),
    /// These files are given to another run at the moment.
    #[error("the index is being reloaded")]
    Reloading,
    /// Index or catalogue could not be opened again after an error. Nothing was changed.
    #[error("the index or its catalogue cannot be written to at the moment: {0}")]
    NotWritable(Error),
    /// Nothing was changed.
    #[error(transparent)]
    Failed(#[from] Error),
    /// The change was made or not: the disk failed so that it cannot be seen at the moment.
    #[error("it is not known whether the change was made: {0}")]
    OutcomeUnknown(Error),
}

impl ChangeError {
    /// The same for another request of the same change, or for an answer that is kept.
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

/// An item as a request or an import brings it.
#[derive(Debug, Clone)]
pub(crate) struct NewItem {
    pub(crate) id: ItemId,
    pub(crate) record: Record,
    pub(crate) thumbnail: Vec<u8>,
    /// SHA-256 of the file that it was imported from.
    pub(crate) digest: Option<String>,
    /// What users keep with it, of which the code is not known yet; `None` leaves what an item whose place it takes has.
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
    /// The next that no item has or had.
    Next,
    /// This one, which must be free.
    Free(u64),
    /// That of an item of the catalogue, which it takes the place of.
    Replaced(u64),
    /// This one, or that of its external id, whether an item has it or not; otherwise the next.
    Upserted(Option<u64>),
}

/// What an addition came to, item by item, and the index that has it.
#[derive(Debug)]
pub(crate) struct Changed {
    /// Of all items, in order. Where all or none are added, none of these was refused.
    pub(crate) outcomes: Vec<Result<Made, ChangeError>>,
    pub(crate) index: Arc<Index>,
}

/// An item that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) id: u64,
    /// Whether it took the place of another.
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
