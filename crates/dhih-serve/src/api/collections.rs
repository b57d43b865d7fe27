//! Collections on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `PUT /v1/collections/{collection}`: describes a new collection by exactly one of the fields.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCollection {
    /// Bits of a code, 1 to 4,096, for a collection of codes alone: searches and additions bring codes.
    #[schema(minimum = 1, maximum = 4096)]
    pub bits: Option<u32>,
    /// The name of another collection. The new collection gets a copy of its model or codec, and the same form of labels and vectors.
    pub like: Option<String>,
}

/// A collection of items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// Indexed items.
    pub items: usize,
    /// Bits of a code.
    pub bits: u32,
    /// The kinds of queries that a search takes: `image`, `text`, `vector`, `code`, `id`, `sample`.
    pub search_by: Vec<&'static str>,
    /// Whether items can be added and deleted now.
    pub writable: bool,
    /// The path of its API, such as `/v1/collections/photos`.
    pub path: String,
}

/// Answer of `GET /v1/collections`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CollectionList {
    /// The collections that the caller may read, ordered by name.
    pub collections: Vec<Collection>,
}
