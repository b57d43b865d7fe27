//! `JsonObject`: JSON that has to be an object. What serde derives for a struct also takes a list of the values of its fields, in the order in
//! which the program declares them, and names the struct in its errors.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A value that is read from a JSON object and from nothing else.
#[derive(Debug)]
pub(crate) struct JsonObject<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::JsonObject;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        code: String,
        id: Option<u64>,
    }

    fn read(json: &str) -> Result<Item, String> {
        serde_json::from_str(json).map(|JsonObject(item)| item).map_err(|e| e.to_string())
    }

    /// `["00", 7]` was an item, because the derived code takes values by their positions.
    #[test]
    fn a_list_is_no_object() {
        let item = Item { code: "00".into(), id: Some(7) };
        assert_eq!(read(r#"{"code": "00", "id": 7}"#), Ok(item));
        for other in [r#"["00", 7]"#, "[]", "null", "\"00\"", "7"] {
            let error = read(other).unwrap_err();
            assert!(error.contains("expected a JSON object"), "{other}: {error}");
        }
        let error = read(r#"{"code": "00", "k": 1}"#).unwrap_err();
        assert!(error.contains("unknown field `k`") && error.contains("line 1"), "{error}");
    }
}
