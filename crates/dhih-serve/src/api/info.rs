//! What is served, on the wire.

use serde::Serialize;

use super::Replication;
use utoipa::ToSchema;

/// Answer of `GET /healthz` and `GET /readyz`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Health {
    /// `ok`; `ready`, `loading`, `stopping`, `store_unavailable` or `lagging`.
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
    /// Held-out queries.
    pub samples: usize,
    /// Class names; empty where the run has none.
    pub classes: Vec<String>,
    /// What a search may go by: `image`, `text`, `vector`, `code`, `id`, `sample`.
    pub search_by: Vec<&'static str>,
    /// The model that makes codes of pictures; null where there is none.
    pub model: Option<Model>,
    /// The codec that makes codes of vectors; null where there is none.
    pub codec: Option<Codec>,
    /// The index on this machine's disk, where that is searched.
    pub index: Option<Index>,
    /// The store that is searched instead.
    pub store: Option<Store>,
    /// Whether items have thumbnails.
    pub thumbnails: bool,
    /// Whether items can be added and deleted now.
    pub writable: bool,
    /// A word for why the last change failed, such as `disk_full`; null where it did not.
    pub write_error: Option<&'static str>,
    /// Whether a reload is under way.
    pub reloading: bool,
    /// How the last reload ended; null before the first.
    pub last_reload: Option<LastReload>,
    /// What followers have to do with it; null where it keeps no journal.
    pub replication: Option<Replication>,
    /// What needs a key.
    pub auth: Auth,
    /// What labels items have: `none`, `single` or `multi-hot`.
    pub labels: &'static str,
    /// The data set's name, if `config.toml` has one.
    pub dataset: Option<String>,
    /// The protocol's name, if `config.toml` has one.
    pub protocol: Option<String>,
    /// Tie-aware mAP of the held-out queries, if `evaluation.json` is there.
    pub map: Option<f64>,
    /// Whether the data is the published one; null where nothing is published.
    pub verified: Option<bool>,
    /// What a request is held to.
    pub limits: RequestLimits,
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct LastReload {
    /// Whether what was there then is served; otherwise what was served before still is.
    pub ok: bool,
    /// When it ended, in seconds since 1970-01-01T00:00:00Z.
    pub at: u64,
    /// A word for why it failed, such as `missing` or `other_model`; the log has the cause.
    pub reason: Option<&'static str>,
}

/// What needs a key: the header `authorization: Bearer KEY` or `x-api-key: KEY`, or a session (`POST /v1/session`).
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Auth {
    /// Searching and looking at items.
    pub read: bool,
    /// Adding, deleting, reloading.
    pub write: bool,
}

/// The model's part of [`Info`].
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Model {
    /// SHA-256 of its weights, in hexadecimal.
    pub sha256: String,
    /// Height, width and channels it sees.
    pub input: [usize; 3],
}

/// The codec's part of [`Info`].
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Codec {
    /// SHA-256 of its numbers, in hexadecimal.
    pub sha256: String,
    /// How it was found: `sign`, `pca-sign`, `rotation` or `itq`.
    pub method: &'static str,
    /// Numbers of a vector.
    pub dims: usize,
}

/// The index's part of [`Info`].
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Index {
    /// Version of its file format.
    pub version: u32,
    /// Different codes among the items'.
    pub distinct: usize,
    /// Substrings, a hash table for each.
    pub substrings: usize,
    /// Length of its data file.
    pub bytes: u64,
    /// The vectors that it keeps, to rescore with; null where it keeps none.
    pub vectors: Option<Vectors>,
}

/// The vectors of an [`Index`].
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Vectors {
    /// How their numbers are kept: `f32`, `f16` or `int8`.
    #[serde(rename = "type")]
    pub number_type: String,
    /// Numbers of a vector.
    pub dims: usize,
}

/// A store's part of [`Info`].
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Store {
    /// `postgresql`.
    pub kind: &'static str,
    /// The number of the load that is searched.
    pub generation: i32,
    /// Shards.
    pub shards: usize,
    /// Substrings, an index for each.
    pub substrings: usize,
}

/// What a client should know before it sends a request.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct RequestLimits {
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Most neighbours a search returns.
    pub k: usize,
    /// Most queries of a batch.
    pub batch: usize,
    /// Most items that are added at once.
    pub items: usize,
}
