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
    /// The number of nearest neighbours to skip, for the next page of hits; `k` and `offset` together are at most 1000.
    #[param(minimum = 0, maximum = 999)]
    pub offset: Option<usize>,
    /// Largest Hamming distance, 0 to `bits`; together with `k`, the `k` nearest within the radius.
    pub radius: Option<u32>,
    /// Only items of this class, by name or number. Can be repeated: items of any of the classes.
    #[param(required = false)]
    pub label: Vec<String>,
    /// Only items whose metadata passes this filter: JSON with `must`, `should` and `must_not`, which are lists of conditions on declared
    /// fields.
    #[param(example = r#"{"must":[{"field":"camera","equals":"north"}]}"#)]
    pub filter: Option<String>,
    /// Adds each hit's code to the answer.
    pub codes: Option<bool>,
    /// Adds each hit's metadata and external id to the answer.
    pub metadata: Option<bool>,
    /// Orders hits of equal distance by how well their bits agree with the real values behind the query's code. For images, texts and
    /// vectors.
    pub rerank: Option<bool>,
    /// Retrieves this many candidates by code and orders them by cosine similarity of their vectors to the query's; at least `k` and
    /// `offset` together, at most 10,000. For queries by vector if the index stores vectors, and by image if the network computes the stored
    /// features.
    #[param(minimum = 1, maximum = 10000)]
    pub rescore: Option<usize>,
    /// Stops the search by codes after this many microseconds. The answer has the hits that were found by then; `exact` and
    /// `certain_within` say how complete they are. Candidates that were found are rescored in any case. Not together with `rerank`.
    #[param(minimum = 1, maximum = 10000000)]
    pub budget_us: Option<u64>,
    /// Searches by all the images of a form together, up to 32: the code is that of the mean of their real values. Not in a batch.
    pub mean: Option<bool>,
    /// Adds to the answer how the index was searched. For exact searches by code in an index on the disk of the service.
    pub explain: Option<bool>,
}

/// Most images or queries of one request to `POST /v1/search/batch`.
pub const MAX_BATCH: usize = 32;
/// Neighbours returned when `k` is absent.
pub const DEFAULT_K: usize = 20;
/// Most neighbours that one search returns.
pub const MAX_K: usize = 1000;
/// The longest time budget of a search, in microseconds.
pub const MAX_BUDGET_US: u64 = 10_000_000;

/// JSON body of `POST /v1/search`: exactly one of the fields.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchBody {
    /// A code in hexadecimal, byte by byte; bit `k` is bit `k % 8` of byte `k / 8`.
    pub code: Option<String>,
    /// The id of an indexed item.
    pub id: Option<u64>,
    /// The number of a held-out query, as `GET /v1/samples` lists them.
    pub sample: Option<usize>,
    /// A vector, which the codec of the service encodes.
    pub vector: Option<Vector>,
    /// A description in words of the wanted pictures, for a run with a text tower. 1 to 4,096 bytes, of which the tower reads the first
    /// 77 (CLIP) or 64 (SigLIP) tokens.
    #[schema(example = "a red car")]
    pub text: Option<String>,
    /// An image in base64: a JPEG, PNG, WebP, GIF, BMP or TIFF.
    pub image: Option<Base64Image>,
}

/// JSON body of `POST /v1/search/batch`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchBody {
    /// Up to [`MAX_BATCH`] queries. Of a longer list, one more query is kept, by which it is refused.
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

/// The answer for one query of a batch.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OneAnswer {
    /// The neighbours of the query.
    Found(SearchAnswer),
    /// The error, where the query cannot be answered.
    Refused(ErrorAnswer),
}

/// Form of a search by image. It exists only for the OpenAPI description.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a form")]
pub struct ImageForm {
    /// A JPEG, PNG, WebP, GIF, BMP or TIFF. `POST /v1/search/batch`, `POST /v1/encode/batch` and searches with `mean` take up to 32 of
    /// them.
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
    /// How long encoding and searching took.
    pub took_ms: Took,
    /// Neighbours, ordered by distance, then id; rescored ones by descending similarity, then id.
    pub hits: Vec<Hit>,
    /// For a search with `rescore` or `budget_us`: whether the candidates (without `rescore`: the hits) are exactly the nearest by code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    /// For a search with `rescore` or `budget_us`: every item within this Hamming distance of the query was found (with `rescore`: is among
    /// the candidates). Null where not even the items with the query's own code are certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub certain_within: Option<Option<u32>>,
    /// Where the search of a store ended at `--store-max-radius` with fewer hits than requested: the distance beyond which there may be
    /// more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capped_radius: Option<u32>,
    /// True where the store had to read all its codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exhaustive: Option<bool>,
    /// How the index was searched, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// Milliseconds spent on a search.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Took {
    /// Encoding an image, a text or a vector; 0 when the query is a code, an id or a sample.
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
    /// The cosine similarity of the item's vector to the query's; only for rescored neighbours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    /// The item's label, if it has one.
    pub label: Option<Label>,
    /// The address of its thumbnail.
    pub image_url: String,
    /// Its code in hexadecimal, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The external id that the user gave it, if requested and present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The address of its original, if the service has a --link-template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Its metadata, if requested.
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
    /// The position of the first sample, so that a page can show different ones.
    #[serde(default)]
    pub start: usize,
}

/// Answer of `GET /v1/samples`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Samples {
    /// The number of held-out queries of the run.
    pub total: usize,
    /// Some of them, evenly spaced.
    pub samples: Vec<Sample>,
}

/// A held-out query.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Sample {
    /// Its number in `queries.safetensors`.
    pub index: usize,
    /// Its label, if it has one.
    pub label: Option<Label>,
    /// The address of its thumbnail.
    pub image_url: String,
}
