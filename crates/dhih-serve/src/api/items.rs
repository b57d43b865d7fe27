//! Items on the wire: looked at, added, and compared with each other.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Hit, Label, Vector, bounded};

/// Items that one request may bring to `POST /v1/items/batch`.
pub const MAX_ITEMS: usize = 1000;
/// Labels of one item that are read; one more is kept, so that they are seen to be too many.
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
    /// Its label, if it has one.
    pub label: Option<Label>,
    /// Its code in hexadecimal.
    pub code: String,
    /// Where its thumbnail is.
    pub image_url: String,
    /// Where it came from, if it was added or imported: a file's name or path.
    pub source: Option<String>,
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

/// JSON body of `POST /v1/items`: `code` or `vector`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemBody {
    /// A code in hexadecimal, byte by byte, bit `k` being bit `k % 8` of byte `k / 8`.
    pub code: Option<String>,
    /// A vector, of which the codec of the service makes a code. The index keeps it if it keeps vectors.
    pub vector: Option<Vector>,
    /// A class, by name or number; a list of them where items have several labels.
    #[serde(default)]
    pub label: Labels,
    /// An id of the client's choice; absent, the next that was never used.
    pub id: Option<u64>,
}

/// JSON body of `POST /v1/items/batch`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemsBody {
    /// Up to [`MAX_ITEMS`] items. One more is kept of a longer list, so that it is seen to be too long, and no further ones.
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
    /// Only items of this class, by name or number; repeatable: of any of these.
    pub label: Vec<String>,
    /// Adds each hit's code to the answer.
    pub codes: Option<bool>,
}

/// Answer of `GET /v1/items/{id}/pairs`: the items near an item, without itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Pairs {
    /// The item's id.
    pub id: u64,
    /// Its code in hexadecimal.
    pub code: String,
    /// Largest Hamming distance that was asked for.
    pub radius: u32,
    /// Items within the radius, ordered by distance, then id.
    pub hits: Vec<Hit>,
    /// Whether these are all. If not, there are more than `k`.
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
