//! `Attributes`: what users store with one item. `Metadata`: its JSON object, whose size is bounded.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Fault;

/// The longest metadata of an item, in bytes of JSON.
const METADATA: usize = 16 << 10;
/// The longest external id, in bytes.
pub(crate) const EXTERNAL_ID: usize = 256;

/// What users store with an item.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    /// The code of the item in hexadecimal. If a rebuilt index has another code under this id, the attributes belong to another item.
    pub(crate) code: String,
    /// An external id, which no two items share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) external_id: Option<String>,
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub(crate) metadata: Metadata,
}

impl Attributes {
    /// Whether there is nothing to store.
    pub(crate) fn is_empty(&self) -> bool {
        self.external_id.is_none() && self.metadata.is_empty()
    }
}

/// A JSON object of at most 16 KiB.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Metadata(Map<String, Value>);

impl Metadata {
    /// Checks the metadata of a request.
    ///
    /// # Errors
    /// When the value is not an object, or is too long.
    pub(crate) fn new(value: Value) -> Result<Self, Fault> {
        let object = match value {
            Value::Object(object) => object,
            Value::Null => Map::new(),
            _ => return Err(Fault("`metadata` is no JSON object".into())),
        };
        let bytes = serde_json::to_vec(&object).map_or(usize::MAX, |json| json.len());
        match bytes <= METADATA {
            true => Ok(Self(object)),
            false => {
                Err(Fault(format!("`metadata` has {bytes} bytes of JSON; give at most {METADATA}")))
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a field; `None` where it is missing or null.
    pub(super) fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn into_object(self) -> Map<String, Value> {
        self.0
    }
}

/// Refuses an external id that is empty, is too long, or has control characters.
///
/// # Errors
/// When the external id is refused.
pub(crate) fn check_external_id(id: &str) -> Result<(), Fault> {
    if id.is_empty() || id.len() > EXTERNAL_ID || id.chars().any(char::is_control) {
        return Err(Fault(format!(
            "`external_id` has {} bytes; give 1 to {EXTERNAL_ID} bytes without control characters",
            id.len()
        )));
    }
    Ok(())
}
