//! Snapshots and compactions on the wire.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query string of `POST /v1/admin/snapshots`.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotParams {
    /// The name of the snapshot: up to 64 letters, digits, `.`, `-` and `_`. If absent, the name is made from the time.
    pub name: Option<String>,
}

/// A snapshot: a directory in that of `--snapshot-dir`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Snapshot {
    /// The name of the snapshot and of its directory.
    pub name: String,
    /// Whether it is complete. If not, it is in progress or was interrupted.
    pub done: bool,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it was made, in seconds since 1970-01-01T00:00:00Z; 0 where it has only just begun.
    pub at: u64,
}

/// Answer of `GET /v1/admin/snapshots`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SnapshotList {
    /// The snapshots, ordered by name.
    pub snapshots: Vec<Snapshot>,
}

/// Query string of `POST /v1/admin/compact`.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CompactParams {
    /// Also erases the records that keep deleted items from returning: their codes, which a rebuilt index may have again, and the names and
    /// digests of the files that they were imported from. The next import adds such files again.
    #[serde(default)]
    pub forget: bool,
}

/// Answer of `POST /v1/admin/compact`.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Compaction {
    /// Bytes of the index directory before.
    pub bytes_before: u64,
    /// Bytes of the index directory afterwards.
    pub bytes_after: u64,
}
