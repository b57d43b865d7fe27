//! Metadata on the wire: the declared fields, which filters can use, and the metadata of an item.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use crate::items::metadata::FieldType;

/// Most values of a field that `GET /v1/fields` lists.
pub const MAX_VALUES: usize = 50;

/// JSON body of `PUT /v1/fields`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldsBody {
    /// The fields of the metadata that filters can use, each with its type: at most 64. They replace the fields that were declared before.
    #[schema(example = json!({"camera": "keyword", "taken": "number", "public": "bool"}))]
    pub fields: BTreeMap<String, FieldType>,
}

/// Answer of `GET` and `PUT /v1/fields`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FieldsAnswer {
    /// The declared fields by name.
    pub fields: BTreeMap<String, Field>,
}

/// A declared field.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Field {
    /// The type of its values.
    #[serde(rename = "type")]
    pub of: FieldType,
    /// Items with a value of this field.
    pub items: u64,
    /// Distinct values.
    pub distinct: usize,
    /// The most frequent values, at most [`MAX_VALUES`].
    pub values: Vec<ValueCount>,
}

/// A value of a field.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ValueCount {
    /// The value: a text, a number or a boolean.
    pub value: Value,
    /// Items with this value.
    pub items: u64,
}

/// JSON body of `PUT /v1/items/{id}/metadata`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(example = json!({"camera": "north", "taken": 1790000000}))]
pub struct MetadataBody(pub Map<String, Value>);
