//! The errors of following: why a follower receives no changes or cannot fetch a snapshot.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::frame::FrameError;
use crate::Error;
use crate::items::ReplayError;

/// The code of a primary that does not have the collection, or has it no more.
pub(crate) const NO_COLLECTION: &str = "no_collection";

/// Why following failed. The follower tries again after each of these errors, unless its items were promoted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("{address} cannot be reached: {source}")]
    Unreachable { address: String, source: io::Error },
    #[error("{address} has not {what} within {within:?}")]
    Timeout { address: String, what: &'static str, within: Duration },
    /// The other side does not follow the HTTP protocol, or the connection broke in the middle of an exchange.
    #[error("{address} does not speak HTTP as is expected: {source}")]
    Broken { address: String, source: hyper::Error },
    #[error("{address} has refused: {status} {code}: {message}")]
    Refused { address: String, status: u16, code: String, message: String },
    #[error("the primary has ended its answer")]
    Ended,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("the JSON of the primary's answer cannot be read: {0}")]
    List(String),
    /// The primary has missed a promotion that is in the history of this copy.
    #[error(
        "{address} is a former primary: another service was promoted, and this copy has changes of it; follow that one"
    )]
    FormerPrimary { address: String },
    /// The checksum of a received file differs from the one in the list of the snapshot.
    #[error(
        "the file {name} of the snapshot came with another content than it has at the primary: it is taken again"
    )]
    Checksum { name: String },
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
    /// A local operation failed, for example because the disk is full or the snapshot cannot be opened here.
    #[error(transparent)]
    Local(Box<Error>),
}

impl From<Error> for FollowError {
    fn from(error: Error) -> Self {
        Self::Local(error.into())
    }
}

impl FollowError {
    /// A stable code for programs, which `/v1/info` shows.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "silent",
            Self::Ended => "ended",
            Self::Broken { .. } | Self::Frame(_) | Self::List(_) => "malformed",
            Self::Refused { code, .. } => match &**code {
                "no_journal" => "no_journal",
                "unauthorized" | "forbidden" => "unauthorized",
                NO_COLLECTION => NO_COLLECTION,
                "not_found" => "not_found",
                "superseded" => "superseded",
                _ => "refused",
            },
            Self::FormerPrimary { .. } => "superseded",
            Self::Checksum { .. } | Self::Replay(ReplayError::NotNext { .. }) => "checksum",
            Self::Replay(ReplayError::NotFollowing) => "promoted",
            Self::Replay(ReplayError::Unreadable { .. }) => "unreadable_change",
            Self::Replay(ReplayError::Items(_)) => "not_written",
            Self::Disk { source, .. } if source.kind() == io::ErrorKind::StorageFull => "disk_full",
            Self::Disk { .. } => "disk",
            Self::Local(error) => error.code(),
        }
    }

    /// Whether another attempt for the same collection would be refused again: the collection is gone, keeps no journal, is a store, may not
    /// be followed with this key, or is that of a former primary.
    pub(super) fn is_definite_refusal(&self) -> bool {
        let Self::Refused { status, code, .. } = self else { return false };
        matches!(
            (*status, &**code),
            (401 | 403 | 422, _) | (404, NO_COLLECTION) | (409, "superseded")
        )
    }

    /// Whether the primary reports that its journal does not continue from the follower's position, so that the follower needs a snapshot.
    pub(super) fn asks_for_snapshot(&self) -> bool {
        let codes = ["other_history", "too_far_behind"];
        matches!(self, Self::Refused { status: 409, code, .. } if codes.contains(&&**code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_definite_unless_the_primary_may_soon_answer_otherwise() {
        let refused = |status, code: &str| {
            let (code, message) = (code.to_owned(), String::new());
            let address = String::new();
            FollowError::Refused { address, status, code, message }.is_definite_refusal()
        };
        for (status, code) in [
            (404, "no_collection"),
            (403, "read_only"),
            (403, "forbidden"),
            (422, "no_journal"),
            (409, "superseded"),
        ] {
            assert!(refused(status, code), "{status} {code}");
        }
        // A file of a snapshot that has expired is `not_found`: there is another snapshot.
        for (status, code) in [(404, "not_found"), (503, "busy"), (507, "disk_full"), (429, "")] {
            assert!(!refused(status, code), "{status} {code}");
        }
        assert!(!FollowError::Ended.is_definite_refusal());
    }
}
