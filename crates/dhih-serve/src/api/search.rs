//! Searches and held-out queries on the wire.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Base64Image, ErrorAnswer, Explanation, Label, Vector, bounded};

/// Query string of `POST /v1/search` and `POST /v1/search/batch`.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SearchParams {
    /// How many neighbours at most; 20 when absent.
    #[param(minimum = 1, maximum = 1000)]
    pub k: Option<usize>,
    /// So many of the nearest are passed over, so that a page begins after them; `k` and `offset` are at most 1000 together.
    #[param(minimum = 0, maximum = 999)]
    pub offset: Option<usize>,
    /// Largest Hamming distance, 0 to `bits`; with `k`, the `k` nearest within the radius.
    pub radius: Option<u32>,
    /// Only items of this class, by name or number; repeatable: of any of these.
    #[param(required = false)]
    pub label: Vec<String>,
    /// Only items whose metadata this lets through: JSON with `must`, `should` and `must_not`, lists of conditions on declared fields.
    #[param(example = r#"{"must":[{"field":"camera","equals":"north"}]}"#)]
    pub filter: Option<String>,
    /// Adds each hit's code to the answer.
    pub codes: Option<bool>,
    /// Adds each hit's metadata and external id to the answer.
    pub metadata: Option<bool>,
    /// Orders hits of one distance by how well their bits agree with the real values behind the query's code; for images, texts and
    /// vectors.
    pub rerank: Option<bool>,
    /// Takes so many candidates by code, and orders these by the cosine of their vectors to the query's; at least `k`, at most 10,000. For
    /// vectors, for items whose vectors are kept, and for images where the network gives the features that are kept.
    #[param(minimum = 1, maximum = 10000)]
    pub rescore: Option<usize>,
    /// Stops the search by codes after so many microseconds, wherever it is: the answer is what was found by then, and its `exact` and
    /// `certain_within` say how far that goes. Candidates that were found are rescored in any case. Not with `rerank`.
    #[param(minimum = 1, maximum = 10000000)]
    pub budget_us: Option<u64>,
    /// Searches by all the images of a form together, up to 32: the mean of their real values makes the code. Not in a batch.
    pub mean: Option<bool>,
    /// Adds to the answer how the index was searched. For exact searches by code of an index on the machine of the service.
    pub explain: Option<bool>,
}

/// Images or queries that one request may bring to `POST /v1/search/batch`.
pub const MAX_BATCH: usize = 32;
/// Neighbours returned when `k` is not given.
pub const DEFAULT_K: usize = 20;
/// Most neighbours one search returns.
pub const MAX_K: usize = 1000;
/// The longest time budget of a search, in microseconds.
pub const MAX_BUDGET_US: u64 = 10_000_000;

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
    /// A vector, of which the codec of the service makes a code.
    pub vector: Option<Vector>,
    /// What the pictures that are looked for show, in words; for a run with a text tower. At most 4,096 bytes, of which the tower reads the
    /// first 77 (CLIP) or 64 (SigLIP) tokens.
    #[schema(min_length = 1, max_length = 4096, example = "a red car")]
    pub text: Option<String>,
    /// An image in base64: a JPEG, PNG, WebP, GIF, BMP or TIFF.
    pub image: Option<Base64Image>,
}

/// JSON body of `POST /v1/search/batch`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchBody {
    /// Up to [`MAX_BATCH`] queries. One more is kept of a longer list, so that it is seen to be too long, and no further ones.
    #[schema(min_items = 1, max_items = 32)]
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_BATCH>")]
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
    /// A JPEG, PNG, WebP, GIF, BMP or TIFF; to `POST /v1/search/batch` and `POST /v1/encode/batch`, and with `mean`, up to 32 of them.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
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
    /// Neighbours, ordered by distance, then id; rescored ones by falling similarity, then id.
    pub hits: Vec<Hit>,
    /// Of a search with `rescore` or `budget_us`: whether the candidates, or without `rescore` the hits, are exactly the nearest by code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    /// Of a search with `rescore` or `budget_us`: every item whose code is within so many bits of the query's was rescored, or found; null where
    /// not even all with the query's own code were.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub certain_within: Option<Option<u32>>,
    /// Where a store was searched only so far (`--store-max-radius`) and `hits` are fewer than asked for: the distance beyond which
    /// there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capped_radius: Option<u32>,
    /// True where a store had to read all its codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exhaustive: Option<bool>,
    /// How the index was searched, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// Milliseconds spent on a search.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Took {
    /// Making a code of an image, a text or a vector; 0 when the query had one.
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
    /// The cosine of the item's vector to the query's, of rescored neighbours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    /// The item's label, if it has one.
    pub label: Option<Label>,
    /// Where its thumbnail is.
    pub image_url: String,
    /// Its code in hexadecimal, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The user's own id of it, when asked for and if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Where its original is, for a service that was started with --link-template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Its metadata, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
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
