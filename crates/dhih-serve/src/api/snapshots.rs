//! Snapshots and compactions on the wire.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query string of `POST /v1/admin/snapshots`.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotParams {
    /// Its name: up to 64 letters, digits, `.`, `-` and `_`; absent, one of the time.
    pub name: Option<String>,
}

/// A snapshot: a directory below that of `--snapshot-dir`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Snapshot {
    /// Its name, which is that of the directory.
    pub name: String,
    /// Whether it is whole. Otherwise it is under way, or was interrupted.
    pub done: bool,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it was made, in seconds since 1970-01-01T00:00:00Z; 0 where it was just begun.
    pub at: u64,
}

/// Answer of `GET /v1/admin/snapshots`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SnapshotList {
    /// By name.
    pub snapshots: Vec<Snapshot>,
}

/// Query string of `POST /v1/admin/compact`.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CompactParams {
    /// Also forgets what keeps deleted items away: their codes, which an index that is built anew may have again, and the names and digests of the
    /// files that they were imported from, which the next import then adds.
    #[serde(default)]
    pub forget: bool,
}

/// Answer of `POST /v1/admin/compact`.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Compaction {
    /// Bytes of the index directory before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
}
