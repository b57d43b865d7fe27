//! What followers are told, and what is told of them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The part of `Info` about followers: of a primary, or of a follower.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Replication {
    /// `primary` or `follower`.
    pub role: &'static str,
    /// The number of the last change that is served here.
    pub position: u64,
    /// The address of the primary that is followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// The number of the primary's last change, as far as the follower knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_position: Option<u64>,
    /// Seconds since the follower last knew that it had every change of the primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// Whether the follower is told of changes at the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected: Option<bool>,
    /// A word for why it is not, such as `unreachable` or `no_journal`; the log has the cause.
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
    /// What its files are asked by.
    pub id: String,
    /// Its position, from which a follower goes on.
    pub position: String,
    /// Its files.
    pub files: Vec<FollowFile>,
}

/// A file of a [`FollowSnapshot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FollowFile {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// Answer of `POST /v1/admin/promote`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Promoted {
    /// Whether it followed a primary until now.
    pub promoted: bool,
}
