//! The JSON that goes over the wire, and nothing else: requests, answers, errors.

mod bounded;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::operation::keys::Role;

/// Query string of `POST /v1/search` and `POST /v1/search/batch`.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SearchParams {
    /// How many neighbours at most; 20 when absent.
    #[param(minimum = 1, maximum = 1000)]
    pub k: Option<usize>,
    /// Largest Hamming distance, 0 to `bits`; with `k`, the `k` nearest within the radius.
    pub radius: Option<u32>,
    /// Only items of this class, by name or number; repeatable: of any of these.
    pub label: Vec<String>,
    /// Adds each hit's code to the answer.
    pub codes: Option<bool>,
    /// Orders hits of one distance by how well their bits agree with the network's real values for the query; for images alone.
    pub rerank: Option<bool>,
}

/// Images or queries that one request may bring to `POST /v1/search/batch`.
pub const MAX_BATCH: usize = 32;
/// Neighbours returned when `k` is not given.
pub const DEFAULT_K: usize = 20;
/// Most neighbours one search returns.
pub const MAX_K: usize = 1000;

/// JSON body of `POST /v1/search`: exactly one of the fields.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchBody {
    /// A code in hexadecimal, byte by byte, bit `k` being bit `k % 8` of byte `k / 8`.
    pub code: Option<String>,
    /// The id of an indexed item.
    pub id: Option<u64>,
    /// The number of a held-out query, as `GET /v1/samples` lists them.
    pub sample: Option<usize>,
}

/// JSON body of `POST /v1/search/batch`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchBody {
    /// Up to [`MAX_BATCH`] queries. One more is kept of a longer list, so that it is seen to be too long, and no further ones.
    #[schema(min_items = 1, max_items = 32)]
    #[serde(deserialize_with = "bounded::queries")]
    pub queries: Vec<SearchBody>,
}

/// Answer of `POST /v1/search/batch`: one for each query, in order.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BatchAnswer {
    /// The answers.
    pub answers: Vec<OneAnswer>,
}

/// What one query of a batch came to.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OneAnswer {
    /// Its neighbours.
    Found(SearchAnswer),
    /// Why there are none.
    Refused(ErrorAnswer),
}

/// Form of a search by image, for the description of the API.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a form")]
pub struct ImageForm {
    /// A JPEG, PNG, WebP, GIF, BMP or TIFF; to `POST /v1/search/batch` up to 32 of them.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
}

/// Form of `POST /v1/items`, for the description of the API.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a form")]
pub struct ItemForm {
    /// A JPEG, PNG, WebP, GIF, BMP or TIFF.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
    /// A class, by name or number; several where items have several labels.
    label: Option<String>,
    /// An id of the client's choice; absent, the next that was never used.
    id: Option<u64>,
}

/// Answer of `GET /healthz` and `GET /readyz`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Health {
    /// `ok`; `ready`, `loading`, `stopping` or `store_unavailable`.
    pub status: &'static str,
    /// Indexed items, where model and index are loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<usize>,
    /// Whether items can be added and deleted now, where model and index are loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writable: Option<bool>,
}

/// Answer of `POST /v1/search`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SearchAnswer {
    /// Bits of a code.
    pub bits: u32,
    /// The query's code in hexadecimal.
    pub code: String,
    /// Where the time went.
    pub took_ms: Took,
    /// Neighbours, ordered by distance, then id.
    pub hits: Vec<Hit>,
    /// Where a store was searched only so far (`--store-max-radius`) and `hits` are fewer than asked for: the distance beyond which
    /// there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capped_radius: Option<u32>,
    /// True where a store had to read all its codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exhaustive: Option<bool>,
}

/// Milliseconds spent on a search.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Took {
    /// Decoding and encoding the image; 0 when the query was no image.
    pub encode: f64,
    /// Searching the index.
    pub search: f64,
}

/// One neighbour.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Hit {
    /// The item's id.
    pub id: u64,
    /// Hamming distance to the query.
    pub distance: u32,
    /// The item's label, if it has one.
    pub label: Option<Label>,
    /// Where its thumbnail is.
    pub image_url: String,
    /// Its code in hexadecimal, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Answer of `GET /v1/items/{id}`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Item {
    /// The item's id.
    pub id: u64,
    /// Its label, if it has one.
    pub label: Option<Label>,
    /// Its code in hexadecimal.
    pub code: String,
    /// Where its thumbnail is.
    pub image_url: String,
    /// Where it came from, if it was added or imported: a file's name or path.
    pub source: Option<String>,
}

/// Query string of `GET /v1/samples`.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SamplesParams {
    /// How many samples; 24 when absent.
    #[param(minimum = 1, maximum = 1000)]
    pub count: Option<usize>,
    /// Where in the spread to begin, so that a page can show others.
    #[serde(default)]
    pub start: usize,
}

/// Answer of `GET /v1/samples`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Samples {
    /// Held-out queries of the run.
    pub total: usize,
    /// Some of them, spread evenly.
    pub samples: Vec<Sample>,
}

/// A held-out query.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Sample {
    /// Its number in `queries.safetensors`.
    pub index: usize,
    /// Its label, if it has one.
    pub label: Option<Label>,
    /// Where its thumbnail is.
    pub image_url: String,
}

/// One class, or all the classes of a multi-label item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Label {
    /// A single label.
    One(Class),
    /// Several, or none.
    Many(Vec<Class>),
}

/// A class by name, or by number where the run names none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Class {
    /// Its name.
    Name(String),
    /// Its number.
    Number(i64),
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
    /// The model.
    pub model: Model,
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

/// A key, for a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionBody {
    /// The key itself.
    pub key: String,
}

/// Who asks, and what they may do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Session {
    /// The name of the key; null where none was given and none is needed.
    pub name: Option<String>,
    /// What the key may do, or anybody.
    pub role: Role,
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

/// The index's part of [`Info`].
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Index {
    /// Version of its file format.
    pub version: u32,
    /// Different codes among the items'.
    pub distinct: usize,
    /// Substrings, a hash table for each.
    pub substrings: usize,
    /// Length of its data file.
    pub bytes: u64,
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
}

/// Every answer that is not a success.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorAnswer {
    /// What went wrong.
    pub error: ErrorBody,
}

/// The inside of an [`ErrorAnswer`].
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A stable word for programs.
    pub code: &'static str,
    /// A sentence for people: the cause, and what to do.
    pub message: String,
}
