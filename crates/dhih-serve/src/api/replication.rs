//! The JSON types of replication: its status in `Info`, the list of a snapshot, and the answer to a promotion.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The replication status of a collection that is a primary or a follower.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Replication {
    /// `primary`, `follower`, or `superseded` for a former primary whose place another service has taken.
    pub role: &'static str,
    /// The number of promotions in the history of the items.
    pub epoch: u64,
    /// The number of the last change that searches see.
    pub position: u64,
    /// The address of the primary; only of a follower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// The number of the primary's last change, as far as the follower knows; only of a follower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_position: Option<u64>,
    /// Seconds since the follower last knew that it had every change of the primary; only of a follower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// Whether the follower is receiving changes now; only of a follower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected: Option<bool>,
    /// A code for why the follower is not receiving changes, such as `unreachable` or `no_journal`. The log has the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
}

/// Query string of `GET /v1/replication/changes`.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ChangesParams {
    /// The position of the follower: the number of its last change, `-`, and the checksum of all changes up to it.
    pub after: String,
}

/// A snapshot for a follower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FollowSnapshot {
    /// The id of the snapshot, which is part of the URLs of its files.
    pub id: String,
    /// The position of the snapshot, after which the follower requests changes.
    pub position: String,
    /// The number of promotions in the history of the items.
    #[serde(default)]
    pub epoch: u64,
    /// The random id of the history. Epochs of different histories say nothing about each other. Absent if an older program began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
    /// The files of the snapshot.
    pub files: Vec<FollowFile>,
}

/// A file of a [`FollowSnapshot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FollowFile {
    /// The name of the file.
    pub name: String,
    /// The length of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file's content, in hexadecimal.
    pub sha256: String,
}

/// The body of `POST /v1/replication/epoch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Succession {
    /// The number of promotions in the history of the promoted service.
    pub epoch: u64,
    /// The position of the last change that the promoted service has of its former primary.
    pub position: String,
    /// The random id of the history of the promoted service. A collection with the same id gives way even if it does not keep this position
    /// any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
}

/// The answer of `POST /v1/replication/epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Succeeded {
    /// Whether the collection refuses changes from now on.
    pub superseded: bool,
}

/// The answer of `POST /v1/admin/promote`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Promoted {
    /// Whether the collection followed a primary until now.
    pub promoted: bool,
}
