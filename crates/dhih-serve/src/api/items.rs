//! Items on the wire: requests and answers of the routes that list, add, delete, export and compare items.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{Base64Image, ErrorBody, Hit, Label, Vector, bounded};

/// Most items of one request to `POST /v1/items/batch`.
pub const MAX_ITEMS: usize = 1000;
/// Most labels of an item. When labels are parsed, one more is kept, by which the item is refused.
const MAX_LABELS: usize = 4096;

/// The classes of a new item, each as the text of its name or number.
#[derive(Debug, Clone, Default, PartialEq, Eq, ToSchema)]
#[schema(value_type = Label)]
pub struct Labels(pub Vec<String>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A name, or a number.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Class {
            Name(String),
            Number(u64),
        }

        impl Class {
            fn text(self) -> String {
                match self {
                    Self::Name(name) => name,
                    Self::Number(number) => number.to_string(),
                }
            }
        }

        struct Classes;

        impl<'de> Visitor<'de> for Classes {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name or number of a class, or a list of these")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Labels, E> {
                Ok(Labels(vec![name.to_owned()]))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Labels, E> {
                Ok(Labels(vec![number.to_string()]))
            }

            fn visit_unit<E: Error>(self) -> Result<Labels, E> {
                Ok(Labels::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Labels, A::Error> {
                let classes: Vec<Class> = bounded::sequence::<_, _, MAX_LABELS>(list)?;
                Ok(Labels(classes.into_iter().map(Class::text).collect()))
            }
        }

        deserializer.deserialize_any(Classes)
    }
}

/// Answer of `GET /v1/items/{id}`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Item {
    /// The item's id.
    pub id: u64,
    /// The external id that the user gave it, if any.
    pub external_id: Option<String>,
    /// Its label, if it has one.
    pub label: Option<Label>,
    /// Its code in hexadecimal.
    pub code: String,
    /// Where its thumbnail is.
    pub image_url: String,
    /// The address of its original, if the service has a --link-template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The file name or path that it was added or imported from, if any.
    pub source: Option<String>,
    /// The metadata of the item; empty where it has none.
    pub metadata: Map<String, Value>,
}

/// Form of `POST /v1/items`. It exists only for the OpenAPI description.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a form")]
pub struct ItemForm {
    /// A JPEG, PNG, WebP, GIF, BMP or TIFF.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
    /// A class, by name or number; several where items have several labels.
    label: Option<String>,
    /// An id chosen by the client; if absent, the next id that no item has or ever had.
    id: Option<u64>,
    /// An external id, which no two items share: a text of at most 256 bytes.
    external_id: Option<String>,
    /// A JSON object that is stored with the item.
    #[schema(value_type = Option<String>)]
    metadata: Option<String>,
}

/// JSON body of `POST /v1/items`: `code`, `vector` or `image`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemBody {
    /// A code in hexadecimal, byte by byte, bit `k` being bit `k % 8` of byte `k / 8`.
    pub code: Option<String>,
    /// A vector, which the codec of the service encodes. The index stores it if it stores vectors.
    pub vector: Option<Vector>,
    /// An image in base64: a JPEG, PNG, WebP, GIF, BMP or TIFF. Not in a batch.
    pub image: Option<Base64Image>,
    /// A class, by name or number; a list of them where items have several labels.
    #[serde(default)]
    pub label: Labels,
    /// An id chosen by the client; if absent, the next id that no item has or ever had.
    pub id: Option<u64>,
    /// An external id, which no two items share: a text of at most 256 bytes.
    pub external_id: Option<String>,
    /// A JSON object of at most 16 KiB that is stored with the item. Filters use its declared fields.
    #[serde(default)]
    #[schema(value_type = Option<std::collections::BTreeMap<String, Value>>)]
    pub metadata: Value,
}

/// JSON body of `POST /v1/items/batch`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemsBody {
    /// Up to [`MAX_ITEMS`] items. Of a longer list, one more item is kept, by which it is refused.
    #[schema(min_items = 1, max_items = 1000)]
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_ITEMS>")]
    pub items: Vec<ItemBody>,
}

/// Answer of `POST /v1/items/batch`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ItemsMade {
    /// The items, in order.
    pub items: Vec<Item>,
}

/// Query string of `POST /v1/items` and `POST /v1/items/batch`.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AddParams {
    /// Lets an item replace the one with the same `id` or `external_id`. Otherwise such an item is refused.
    #[serde(default)]
    pub upsert: bool,
}

/// Answer of `POST /v1/items/batch` to lines of JSON.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LinesMade {
    /// Items that were added.
    pub added: usize,
    /// Items that replaced others.
    pub replaced: usize,
    /// The id of each line's item, in order; null where the line was refused or is empty.
    pub ids: Vec<Option<u64>>,
    /// The lines that were refused, at most [`MAX_FAILURES`].
    pub failed: Vec<LineRefused>,
    /// How many lines were refused.
    pub failures: usize,
}

/// A line that was refused.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LineRefused {
    /// The number of the line; the first line is 1.
    pub line: usize,
    /// Why it was refused.
    pub error: ErrorBody,
}

/// Most refused lines that an answer lists.
pub const MAX_FAILURES: usize = 1000;

/// Query string of `GET /v1/items`, `GET /v1/items/count` and `DELETE /v1/items`, of which the latter two take `label` and `filter` alone.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Lists only items with greater ids: the value of `next` of the page before.
    pub after: Option<u64>,
    /// How many items at most; 100 when absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Only the item with this external id.
    pub external_id: Option<String>,
    /// Only items of this class, by name or number. Can be repeated: items of any of the classes.
    #[param(required = false)]
    pub label: Vec<String>,
    /// Only items whose metadata passes this filter, as in a search.
    pub filter: Option<String>,
}

/// Which items are counted or deleted.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChoiceParams {
    /// Only items of this class, by name or number. Can be repeated: items of any of the classes.
    #[param(required = false)]
    pub label: Vec<String>,
    /// Only items whose metadata passes this filter, as in a search.
    pub filter: Option<String>,
}

/// Query string of `GET /v1/items/export`.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExportParams {
    /// Only items of this class, by name or number. Can be repeated: items of any of the classes.
    #[param(required = false)]
    pub label: Vec<String>,
    /// Only items whose metadata passes this filter, as in a search.
    pub filter: Option<String>,
    /// The format of the file; `parquet` when absent.
    #[param(inline, required = false)]
    pub format: ExportFormat,
}

/// The format of an exported file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum ExportFormat {
    /// A Parquet codes file.
    #[default]
    Parquet,
    /// Newline-delimited JSON, one line for each item.
    Ndjson,
}

/// A line of an export as `ndjson`.
#[derive(Debug, Clone, Serialize)]
pub struct ExportLine {
    /// The item's id.
    pub id: u64,
    /// The external id that the user gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Its code in hexadecimal.
    pub code: String,
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// Its metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

impl From<Item> for ExportLine {
    fn from(item: Item) -> Self {
        let Item { id, external_id, label, code, metadata, .. } = item;
        let metadata = Some(metadata).filter(|metadata| !metadata.is_empty());
        Self { id, external_id, code, label, metadata }
    }
}

/// Items of a page of `GET /v1/items` when `limit` is absent.
pub const DEFAULT_LIMIT: usize = 100;

/// Answer of `GET /v1/items`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ItemList {
    /// The items, by ascending id.
    pub items: Vec<Item>,
    /// The value of `after` for the next page; null where this page is the last.
    pub next: Option<u64>,
}

/// Answer of `GET /v1/items/count`.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Count {
    /// The number of items.
    pub count: usize,
}

/// Answer of `DELETE /v1/items`.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Deleted {
    /// The number of deleted items.
    pub deleted: usize,
}

/// Query string of `GET /v1/items/{id}/pairs`.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PairsParams {
    /// Largest Hamming distance, 0 to `bits`.
    #[param(required = true)]
    pub radius: Option<u32>,
    /// How many at most; 1000 when absent.
    #[param(minimum = 1, maximum = 1000)]
    pub k: Option<usize>,
    /// Only items of this class, by name or number. Can be repeated: items of any of the classes.
    #[param(required = false)]
    pub label: Vec<String>,
    /// Only items whose metadata passes this filter, as in a search.
    pub filter: Option<String>,
    /// Adds each hit's code to the answer.
    pub codes: Option<bool>,
    /// Adds each hit's metadata and external id to the answer.
    pub metadata: Option<bool>,
}

/// Answer of `GET /v1/items/{id}/pairs`: the items near an item, without the item itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Pairs {
    /// The item's id.
    pub id: u64,
    /// Its code in hexadecimal.
    pub code: String,
    /// Largest Hamming distance of the request.
    pub radius: u32,
    /// Items within the radius, ordered by distance, then id.
    pub hits: Vec<Hit>,
    /// Whether these are all items within the radius. If not, there are more than `k`.
    pub complete: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_names_or_numbers_one_or_several() {
        let read = |json: &str| serde_json::from_str::<ItemBody>(json).map(|item| item.label.0);
        assert_eq!(read(r#"{"label": "ring"}"#).unwrap(), ["ring"]);
        assert_eq!(read(r#"{"label": 7}"#).unwrap(), ["7"]);
        assert_eq!(read(r#"{"label": ["ring", 7]}"#).unwrap(), ["ring", "7"]);
        assert_eq!(read(r#"{"label": null}"#).unwrap(), read("{}").unwrap());
        for wrong in [r#"{"label": -7}"#, r#"{"label": {}}"#, r#"{"label": [[]]}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
