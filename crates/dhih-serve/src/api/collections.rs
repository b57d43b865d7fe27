//! Collections on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `PUT /v1/collections/{collection}`: what a new collection is like. One of the two is given.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCollection {
    /// Bits of a code, 1 to 4,096: the collection has codes alone, which searches and additions bring.
    #[schema(minimum = 1, maximum = 4096)]
    pub bits: Option<u32>,
    /// Another collection: a copy of its model or codec makes the codes, and items have labels and vectors of the same form.
    pub like: Option<String>,
}

/// A collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// Indexed items.
    pub items: usize,
    /// Bits of a code.
    pub bits: u32,
    /// What a search may go by: `image`, `text`, `vector`, `code`, `id`, `sample`.
    pub search_by: Vec<&'static str>,
    /// Whether items can be added and deleted now.
    pub writable: bool,
    /// Where its API is, such as `/v1/collections/photos`.
    pub path: String,
}

/// Answer of `GET /v1/collections`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CollectionList {
    /// Those that the caller may read, by name.
    pub collections: Vec<Collection>,
}
