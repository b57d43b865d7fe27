//! `Fields`: the declared fields of the metadata, which filters can use, and the types of their values.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Fault, Metadata};

/// The most fields that can be declared.
const MOST_FIELDS: usize = 64;
/// The longest name of a field, in bytes.
const NAME: usize = 64;
/// The longest value of a keyword field, in bytes.
const KEYWORD: usize = 256;
/// The most values of one item in a field.
const MOST_VALUES: usize = 64;
/// Integers up to this one are exact in a 64-bit floating-point number.
const EXACT: u64 = 1 << 53;

/// The type of the values of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Text, which is compared as a whole. Ranges compare bytes, so that dates such as `2026-11-30` are in order.
    Keyword,
    /// A number.
    Number,
    /// A boolean.
    Bool,
}

/// A declaration of a field on the command line: `NAME=TYPE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDeclaration {
    /// The name of the field.
    pub name: String,
    /// The type of its values.
    pub of: FieldType,
}

impl FromStr for FieldDeclaration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let types = [FieldType::Keyword, FieldType::Number, FieldType::Bool];
        let (name, of) = text.rsplit_once('=').unwrap_or_default();
        let of = types.into_iter().find(|known| known.name() == of);
        match of {
            Some(of) if !name.is_empty() => Ok(Self { name: name.to_owned(), of }),
            _ => Err("give NAME=keyword, NAME=number or NAME=bool".into()),
        }
    }
}

/// The declared fields by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fields(BTreeMap<String, FieldType>);

/// A value in a form that can be compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    Bool(bool),
    /// The bits of a number, transformed so that their order is that of the numbers.
    Number(u64),
    Keyword(String),
}

impl FromIterator<(String, FieldType)> for Fields {
    /// Collects fields that were checked when they were declared.
    fn from_iter<I: IntoIterator<Item = (String, FieldType)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl Fields {
    /// Checks a declaration.
    ///
    /// # Errors
    /// When there are too many fields, or a name is empty or too long.
    pub(crate) fn new(fields: BTreeMap<String, FieldType>) -> Result<Self, Fault> {
        if fields.len() > MOST_FIELDS {
            let count = fields.len();
            return Err(Fault(format!("there are {count} fields; declare at most {MOST_FIELDS}")));
        }
        let wrong = |name: &&String| name.is_empty() || name.len() > NAME;
        match fields.keys().find(wrong) {
            Some(name) => Err(Fault(format!(
                "the field {name:?} has a name that is empty or longer than {NAME} bytes"
            ))),
            None => Ok(Self(fields)),
        }
    }

    /// These fields with `others` added. A field of the same name is replaced.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub(crate) fn with(&self, others: &[FieldDeclaration]) -> Result<Self, Fault> {
        let mut fields = self.0.clone();
        fields.extend(others.iter().map(|other| (other.name.clone(), other.of)));
        Self::new(fields)
    }

    /// The value of a text in a table: a number or a boolean if the field has this type and the text can be parsed, otherwise the text
    /// itself.
    pub(crate) fn value_of(&self, field: &str, text: &str) -> Value {
        let read = match self.0.get(field) {
            Some(FieldType::Number) => {
                text.trim().parse::<serde_json::Number>().ok().map(Value::from)
            }
            Some(FieldType::Bool) => text.trim().parse::<bool>().ok().map(Value::from),
            Some(FieldType::Keyword) | None => None,
        };
        read.unwrap_or_else(|| Value::String(text.to_owned()))
    }

    /// The fields by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, FieldType)> {
        self.0.iter().map(|(name, of)| (&**name, *of))
    }

    pub(super) fn type_of(&self, field: &str) -> Result<FieldType, Fault> {
        let names = || self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.0.get(field).copied().ok_or_else(|| {
            Fault(match self.0.is_empty() {
                true => format!(
                    "the filter names the field `{field}`, and no fields are declared: declare them with PUT /v1/fields"
                ),
                false => format!("the field `{field}` is not declared; there are {}", names()),
            })
        })
    }

    /// The values of the declared fields in metadata.
    ///
    /// # Errors
    /// When a value has another type than its field.
    pub(super) fn keys(&self, metadata: &Metadata) -> Result<Vec<(String, Vec<Key>)>, Fault> {
        let mut all = Vec::new();
        for (name, of) in &self.0 {
            let Some(value) = metadata.get(name) else { continue };
            let values = match value {
                Value::Array(values) => values.as_slice(),
                one => std::slice::from_ref(one),
            };
            if values.len() > MOST_VALUES {
                let count = values.len();
                return Err(Fault(format!(
                    "the field `{name}` has {count} values; give at most {MOST_VALUES}"
                )));
            }
            let key =
                |value| of.key(value).map_err(|wrong| Fault(format!("the field `{name}` {wrong}")));
            all.push((name.clone(), values.iter().map(key).collect::<Result<_, _>>()?));
        }
        Ok(all)
    }

    /// Refuses metadata with values of other types than their fields.
    ///
    /// # Errors
    /// When a value has another type.
    pub(crate) fn check(&self, metadata: &Metadata) -> Result<(), Fault> {
        self.keys(metadata).map(drop)
    }
}

impl FieldType {
    /// The name on the wire.
    fn name(self) -> &'static str {
        match self {
            Self::Keyword => "keyword",
            Self::Number => "number",
            Self::Bool => "bool",
        }
    }

    /// The comparable form of a value. The error says what is wrong with the value.
    pub(super) fn key(self, value: &Value) -> Result<Key, String> {
        let too_long = || {
            Err(format!(
                "has a text of more than {KEYWORD} bytes; as a keyword it may have {KEYWORD}"
            ))
        };
        match (self, value) {
            (Self::Bool, Value::Bool(truth)) => Ok(Key::Bool(*truth)),
            (Self::Keyword, Value::String(text)) if text.len() > KEYWORD => too_long(),
            (Self::Keyword, Value::String(text)) => Ok(Key::Keyword(text.clone())),
            (Self::Number, Value::Number(number)) => {
                let whole = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
                if whole.is_some_and(|whole| whole > EXACT) {
                    return Err(format!(
                        "has the number {number}, which is not exact beyond {EXACT}: keep it as a keyword"
                    ));
                }
                match number.as_f64().filter(|number| number.is_finite()) {
                    Some(number) => Ok(Key::of_number(number)),
                    None => Err(format!("has the number {number}, which is too large")),
                }
            }
            (of, other) => {
                let found = match other {
                    Value::Null => "null",
                    Value::Bool(_) => "a truth value",
                    Value::Number(_) => "a number",
                    Value::String(_) => "a text",
                    Value::Array(_) => "a list",
                    Value::Object(_) => "an object",
                };
                Err(format!("is declared as `{}`, and is given {found}", of.name()))
            }
        }
    }
}

impl Key {
    /// The key of a finite number. Both zeros have the same key.
    fn of_number(number: f64) -> Self {
        let bits = (number + 0.0).to_bits();
        let sign = 1 << 63;
        Self::Number(if bits & sign == 0 { bits | sign } else { !bits })
    }

    /// The value on the wire.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Keyword(text) => Value::String(text.clone()),
            Self::Number(ordered) => {
                let sign = 1 << 63;
                let bits = if ordered & sign == 0 { !ordered } else { ordered & !sign };
                Value::from(f64::from_bits(bits))
            }
        }
    }
}

/// The range between two bounds; `None` if it is empty, because `BTreeMap::range` would panic.
pub(super) fn range(from: Bound<Key>, to: Bound<Key>) -> Option<(Bound<Key>, Bound<Key>)> {
    use Bound::{Excluded, Included};
    let is_empty = match (&from, &to) {
        (Included(a), Included(b)) => a > b,
        (Included(a) | Excluded(a), Included(b) | Excluded(b)) => a >= b,
        _ => false,
    };
    (!is_empty).then_some((from, to))
}
