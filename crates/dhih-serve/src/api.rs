//! The JSON that goes over the wire, and nothing else: requests, answers, errors.

use serde::{Deserialize, Serialize};

/// Query string of `POST /v1/search`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchParams {
    /// How many neighbours at most: 1 to [`MAX_K`]; [`DEFAULT_K`] when absent.
    pub k: Option<usize>,
    /// Largest Hamming distance, 0 to `bits`; with `k`, the `k` nearest within the radius.
    pub radius: Option<u32>,
    /// Adds each hit's code to the answer.
    #[serde(default)]
    pub codes: bool,
}

/// Neighbours returned when `k` is not given.
pub const DEFAULT_K: usize = 20;
/// Most neighbours one search returns.
pub const MAX_K: usize = 1000;

/// JSON body of `POST /v1/search`: exactly one of the fields.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchBody {
    /// A code in hexadecimal, byte by byte, bit `k` being bit `k % 8` of byte `k / 8`.
    pub code: Option<String>,
    /// The id of an indexed item.
    pub id: Option<u64>,
    /// The number of a held-out query, as `GET /v1/samples` lists them.
    pub sample: Option<usize>,
}

/// Answer of `POST /v1/search`.
#[derive(Debug, Clone, Serialize)]
pub struct SearchAnswer {
    /// Bits of a code.
    pub bits: u32,
    /// The query's code in hexadecimal.
    pub code: String,
    /// Where the time went.
    pub took_ms: Took,
    /// Neighbours, ordered by distance, then id.
    pub hits: Vec<Hit>,
}

/// Milliseconds spent on a search.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Took {
    /// Decoding and encoding the image; 0 when the query was no image.
    pub encode: f64,
    /// Searching the index.
    pub search: f64,
}

/// One neighbour.
#[derive(Debug, Clone, Serialize)]
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
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// The item's id.
    pub id: u64,
    /// Its label, if it has one.
    pub label: Option<Label>,
    /// Its code in hexadecimal.
    pub code: String,
    /// Where its thumbnail is.
    pub image_url: String,
}

/// Query string of `GET /v1/samples`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplesParams {
    /// How many samples, 1 to [`MAX_K`]; 24 when absent.
    pub count: Option<usize>,
    /// Where in the spread to begin, so that a page can show others.
    #[serde(default)]
    pub start: usize,
}

/// Answer of `GET /v1/samples`.
#[derive(Debug, Clone, Serialize)]
pub struct Samples {
    /// Held-out queries of the run.
    pub total: usize,
    /// Some of them, spread evenly.
    pub samples: Vec<Sample>,
}

/// A held-out query.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Its number in `queries.safetensors`.
    pub index: usize,
    /// Its label, if it has one.
    pub label: Option<Label>,
    /// Where its thumbnail is.
    pub image_url: String,
}

/// One class, or all the classes of a multi-label item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Label {
    /// A single label.
    One(Class),
    /// Several, or none.
    Many(Vec<Class>),
}

/// A class by name, or by number where the run names none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Class {
    /// Its name.
    Name(String),
    /// Its number.
    Number(i64),
}

/// Answer of `GET /v1/info`.
#[derive(Debug, Clone, Serialize)]
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
    /// The index.
    pub index: Index,
    /// Whether the run has thumbnails.
    pub thumbnails: bool,
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

/// The model's part of [`Info`].
#[derive(Debug, Clone, Serialize)]
pub struct Model {
    /// SHA-256 of its weights, in hexadecimal.
    pub sha256: String,
    /// Height, width and channels it sees.
    pub input: [usize; 3],
}

/// The index's part of [`Info`].
#[derive(Debug, Clone, Copy, Serialize)]
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

/// What a client should know before it sends a request.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RequestLimits {
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Most neighbours a search returns.
    pub k: usize,
}

/// Every answer that is not a success.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorAnswer {
    /// What went wrong.
    pub error: ErrorBody,
}

/// The inside of an [`ErrorAnswer`].
#[derive(Debug, Clone, Serialize)]
pub struct ErrorBody {
    /// A stable word for programs.
    pub code: &'static str,
    /// A sentence for people: the cause, and what to do.
    pub message: String,
}
