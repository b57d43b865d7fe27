//! Converts errors of extractors and of other modules into [`ApiError`]s. The messages are in `error.rs`.

use axum::extract::multipart::{MultipartError, MultipartRejection};
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};

use crate::Error;
use crate::blocking::BlockingError;
use crate::encode::EncodeError;
use crate::http::ApiError;
use crate::http::collections::{CollectionError, FOLLOWER};
use crate::http::wanted::no_item;
use crate::items::ChangeError;
use crate::operation::snapshots::SnapshotError;
use crate::replication::offer::OfferError;
use crate::run::coder::{Lacking, VectorFault};
use crate::search::SearchError;

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::BadRequest("invalid_parameter", rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        let message = match &rejection {
            PathRejection::FailedToDeserializePathParams(failed) => match failed.kind() {
                ErrorKind::ParseError { value, .. }
                | ErrorKind::ParseErrorAtKey { value, .. }
                | ErrorKind::ParseErrorAtIndex { value, .. } => {
                    format!("{value:?} in the path is no whole number up to {}", u64::MAX)
                }
                _ => rejection.body_text(),
            },
            _ => rejection.body_text(),
        };
        Self::BadRequest("invalid_id", message)
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        Self::body(rejection.status(), rejection.body_text())
    }
}

impl From<MultipartRejection> for ApiError {
    fn from(rejection: MultipartRejection) -> Self {
        Self::body(rejection.status(), rejection.body_text())
    }
}

impl From<MultipartError> for ApiError {
    fn from(error: MultipartError) -> Self {
        Self::body(error.status(), error.body_text())
    }
}

const SUPERSEDED: &str = "another service was promoted and has taken the place of this primary: send changes there, and start this one anew as its \
                          follower, with another --index";
const STORE: &str = "this service searches a store, which takes generations from `dhih-serve load`, not single items";

impl From<ChangeError> for ApiError {
    fn from(refusal: ChangeError) -> Self {
        match refusal {
            ChangeError::ReadOnly => Self::ReadOnly,
            ChangeError::Follows(primary) => Self::Follows(primary),
            ChangeError::Superseded => Self::Unchangeable("superseded", SUPERSEDED),
            ChangeError::KeyUsed => Self::KeyUsed,
            ChangeError::Elsewhere => Self::Unchangeable("read_only", STORE),
            ChangeError::Taken(id) => Self::Taken(id),
            ChangeError::Unknown(id) => no_item(id),
            ChangeError::IdTooLarge(_) => Self::BadRequest("invalid_id", refusal.to_string()),
            ChangeError::ExternalIdTaken { external_id, id } => {
                Self::ExternalIdTaken { external_id, id }
            }
            ChangeError::Metadata(fault) => Self::BadRequest("invalid_metadata", fault.to_string()),
            ChangeError::OfItem { number, refusal } => Self::from(*refusal).of_item(number),
            ChangeError::Vector(message) => Self::UnusableVector(message),
            ChangeError::Reloading => Self::Reloading,
            ChangeError::Failed(Error::DiskFull { .. }) => Self::DiskFull,
            ChangeError::OutcomeUnknown(error) => {
                Self::OutcomeUnknown { is_disk_full: matches!(error, Error::DiskFull { .. }) }
            }
            ChangeError::NotWritable(error) => {
                tracing::error!(%error, "items cannot be changed");
                Self::NotWritable
            }
            ChangeError::Failed(error) => Self::internal(error),
        }
    }
}

impl From<SnapshotError> for ApiError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::NoDirectory => Self::NoDirectory("no_snapshot_dir", error.to_string()),
            SnapshotError::Name(_) | SnapshotError::Partial => {
                Self::BadRequest("invalid_parameter", error.to_string())
            }
            SnapshotError::Exists => Self::Conflict("snapshot_exists", error.to_string()),
            SnapshotError::UnderWay => Self::Conflict("copy_under_way", error.to_string()),
            SnapshotError::Items(refusal) => Self::from(*refusal),
            SnapshotError::Failed(error) => ChangeError::Failed(*error).into(),
        }
    }
}

impl From<OfferError> for ApiError {
    fn from(error: OfferError) -> Self {
        match error {
            OfferError::NoJournal => Self::NoDirectory("no_journal", error.to_string()),
            OfferError::UnderWay => Self::Conflict("copy_under_way", error.to_string()),
            OfferError::Gone => Self::NotFound(error.to_string()),
            OfferError::Items(refusal) => Self::from(*refusal),
            OfferError::Failed(error) => ChangeError::Failed(*error).into(),
        }
    }
}

impl From<CollectionError> for ApiError {
    fn from(error: CollectionError) -> Self {
        let message = error.to_string();
        match error {
            CollectionError::NoFolder => Self::NoDirectory("no_collections_dir", message),
            CollectionError::ReadOnly => Self::ReadOnly,
            CollectionError::Follower => Self::Unchangeable("follower", FOLLOWER),
            CollectionError::Exists(_) | CollectionError::NotServed(_) => {
                Self::Conflict("collection_exists", message)
            }
            CollectionError::Named(_) => Self::Conflict("collection_is_given", message),
            CollectionError::Unknown(_) => Self::NoCollection(message),
            CollectionError::Bits { .. } => Self::BadRequest("invalid_bits", message),
            CollectionError::Failed(error) => ChangeError::Failed(error).into(),
        }
    }
}

impl From<EncodeError> for ApiError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Overloaded { wait } => Self::Overloaded(wait),
            EncodeError::Busy => Self::Busy,
            EncodeError::TooMany { most } => {
                let message = format!(
                    "this service takes at most {most} images at once; send fewer a request"
                );
                Self::BadRequest("too_many_images", message)
            }
            EncodeError::NotAnImage(message) => Self::UnsupportedMediaType("not_an_image", message),
            EncodeError::Unusable(message) => Self::UnusableImage(message),
            EncodeError::Lacking(lacking) => Self::Lacking(lacking),
            // The caller has gone, so that nobody reads this answer.
            EncodeError::Abandoned => Self::Timeout,
            EncodeError::Failed(cause) => Self::Internal(cause),
        }
    }
}

impl From<BlockingError> for ApiError {
    fn from(error: BlockingError) -> Self {
        match error {
            BlockingError::Busy => Self::Busy,
            BlockingError::Failed(cause) => Self::Internal(cause),
        }
    }
}

impl From<SearchError> for ApiError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::NoFilter
            | SearchError::NoBudget
            | SearchError::NoExplanation
            | SearchError::TooMany(_) => Self::BadRequest("invalid_parameter", error.to_string()),
            SearchError::NoVectors => Self::Lacking(Lacking::Vectors),
            SearchError::Index(dhih_index::Error::Vectors(fault)) => match fault {
                dhih_index::VectorError::NotKept { .. } => Self::Lacking(Lacking::Vectors),
                fault => Self::UnusableVector(fault.to_string()),
            },
            // Names of hosts appear in the log only; the client learns which part of the store is missing.
            SearchError::Unavailable { what, source } => {
                tracing::error!(error = %source, "the store does not answer");
                Self::Unavailable(format!(
                    "{what} of the store does not answer, and parts of an answer are not given; try again later"
                ))
            }
            // The caller has gone, or its time limit has passed.
            SearchError::Cancelled => Self::Timeout,
            other => Self::internal(other),
        }
    }
}

impl From<Lacking> for ApiError {
    fn from(lacking: Lacking) -> Self {
        Self::Lacking(lacking)
    }
}

impl From<VectorFault> for ApiError {
    fn from(fault: VectorFault) -> Self {
        match fault {
            VectorFault::Lacking(lacking) => Self::Lacking(lacking),
            VectorFault::Unusable(reason) => Self::UnusableVector(reason),
        }
    }
}
