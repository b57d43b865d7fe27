//! The answers of `/v1/info`, `/healthz` and `/readyz` on the wire.

use serde::Serialize;

use super::Replication;
use utoipa::ToSchema;

/// Answer of `GET /healthz` and `GET /readyz`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Health {
    /// `/healthz`: `ok`. `/readyz`: `ready`, `loading`, `stopping`, `lagging` or `store_unavailable`.
    pub status: &'static str,
    /// Indexed items, where model and index are loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<usize>,
    /// Whether items can be added and deleted now, where model and index are loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writable: Option<bool>,
}

/// Answer of `GET /v1/info`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Info {
    /// This program's version.
    pub version: &'static str,
    /// Bits of a code.
    pub bits: u32,
    /// Indexed items.
    pub items: usize,
    /// The number of held-out queries.
    pub samples: usize,
    /// Class names; empty where the run has none.
    pub classes: Vec<String>,
    /// The kinds of queries that a search takes: `image`, `text`, `vector`, `code`, `id`, `sample`.
    pub search_by: Vec<&'static str>,
    /// The model that makes codes of pictures; null where there is none.
    pub model: Option<Model>,
    /// The codec that makes codes of vectors; null where there is none.
    pub codec: Option<Codec>,
    /// The index on the disk of the service; null where a store is searched.
    pub index: Option<Index>,
    /// The store in PostgreSQL; null where an index is searched.
    pub store: Option<Store>,
    /// Whether items have thumbnails.
    pub thumbnails: bool,
    /// Whether items can be added and deleted now.
    pub writable: bool,
    /// A code for why the last change failed, such as `disk_full`; null where it succeeded.
    pub write_error: Option<&'static str>,
    /// Whether a reload is under way.
    pub reloading: bool,
    /// How the last reload ended; null before the first.
    pub last_reload: Option<LastReload>,
    /// The replication status; null if no journal is kept.
    pub replication: Option<Replication>,
    /// Which requests need a key.
    pub auth: Auth,
    /// The form of the labels of items: `none`, `single` or `multi-hot`.
    pub labels: &'static str,
    /// The data set's name, if `config.toml` has one.
    pub dataset: Option<String>,
    /// The protocol's name, if `config.toml` has one.
    pub protocol: Option<String>,
    /// Tie-aware mAP of the held-out queries, if `evaluation.json` is there.
    pub map: Option<f64>,
    /// Whether the data has the published checksums; null where none are published.
    pub verified: Option<bool>,
    /// The limits of a request.
    pub limits: RequestLimits,
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct LastReload {
    /// Whether the reload succeeded. If not, the service continues with what it served before.
    pub ok: bool,
    /// When it ended, in seconds since 1970-01-01T00:00:00Z.
    pub at: u64,
    /// A code for why it failed, such as `missing` or `other_model`; the log has the cause.
    pub reason: Option<&'static str>,
}

/// Which requests need a key: the header `authorization: Bearer KEY` or `x-api-key: KEY`, or a session (`POST /v1/session`).
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Auth {
    /// Searching and looking at items.
    pub read: bool,
    /// Adding, deleting, reloading.
    pub write: bool,
}

/// The model of a service.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Model {
    /// SHA-256 of its weights, in hexadecimal.
    pub sha256: String,
    /// Height, width and channels of its input.
    pub input: [usize; 3],
}

/// The codec of a service.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Codec {
    /// SHA-256 of its parameters, in hexadecimal.
    pub sha256: String,
    /// The method that it was fitted by: `sign`, `pca-sign`, `rotation` or `itq`.
    pub method: &'static str,
    /// Dimensions of a vector.
    pub dims: usize,
}

/// The index of a service.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Index {
    /// Version of its file format.
    pub version: u32,
    /// The number of distinct codes.
    pub distinct: usize,
    /// The number of substrings of a code; each has a hash table.
    pub substrings: usize,
    /// Bytes of its data files.
    pub bytes: u64,
    /// The vectors that it stores for rescoring; null where it stores none.
    pub vectors: Option<Vectors>,
}

/// The vectors of an [`Index`].
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Vectors {
    /// The type of their numbers: `f32`, `f16` or `int8`.
    #[serde(rename = "type")]
    pub number_type: String,
    /// Dimensions of a vector.
    pub dims: usize,
}

/// The store of a service.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Store {
    /// The kind of the store: `postgresql`.
    pub kind: &'static str,
    /// The number of the load of codes that is searched.
    pub generation: i32,
    /// The number of shards.
    pub shards: usize,
    /// The number of substrings of a code; each has a database index.
    pub substrings: usize,
}

/// The limits of a request, which a client should know before it sends one.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct RequestLimits {
    /// Largest body of a request, in bytes.
    pub body_bytes: usize,
    /// Most neighbours a search returns.
    pub k: usize,
    /// Most queries of a batch.
    pub batch: usize,
    /// Most items that one request adds.
    pub items: usize,
}
