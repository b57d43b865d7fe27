//! A vector on the wire: a list of numbers, or base64 of their bytes, which takes a third of the space.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use utoipa::ToSchema;

use super::bounded;

/// The most dimensions of a vector that are parsed. No codec takes more.
const MAX_NUMBERS: usize = 1 << 16;

/// A vector: a list of numbers, or base64 of little-endian 32-bit floating-point numbers.
#[derive(Clone, PartialEq, ToSchema)]
#[schema(value_type = Written, example = json!([0.5, -0.25]))]
pub struct Vector(pub Vec<f32>);

/// The two forms of a vector. It exists only for the OpenAPI description.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes a vector")]
enum Written {
    /// The numbers.
    Numbers(Vec<f32>),
    /// Base64 of little-endian 32-bit floating-point numbers.
    Base64(String),
}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vector({} numbers)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;

        impl<'de> Visitor<'de> for Numbers {
            type Value = Vector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers, or base64 of 32-bit floating-point numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vector, A::Error> {
                let numbers: Vec<f32> = bounded::sequence::<_, _, MAX_NUMBERS>(list)?;
                match numbers.len() > MAX_NUMBERS {
                    true => Err(too_long()),
                    false => Ok(Vector(numbers)),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Vector, E> {
                if text.len() > (4 * MAX_NUMBERS).div_ceil(3) * 4 {
                    return Err(too_long());
                }
                let bytes = STANDARD.decode(text);
                let bytes = bytes.map_err(|e| E::custom(format!("a vector is no base64: {e}")))?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                match rest.is_empty() {
                    true => Ok(Vector(numbers.iter().map(|it| f32::from_le_bytes(*it)).collect())),
                    false => Err(E::custom(format!(
                        "a vector of {} bytes has no whole 32-bit numbers",
                        bytes.len()
                    ))),
                }
            }
        }

        deserializer.deserialize_any(Numbers)
    }
}

fn too_long<E: Error>() -> E {
    E::custom(format!("a vector has more than {MAX_NUMBERS} numbers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_bytes_are_the_same_vector() {
        let read = |json: &str| serde_json::from_str::<Vector>(json).map(|vector| vector.0);
        assert_eq!(read("[1, -0.5, 0]").unwrap(), [1.0, -0.5, 0.0]);
        assert_eq!(read("\"AACAPwAAAL8AAAAA\"").unwrap(), [1.0, -0.5, 0.0]);
        assert_eq!(read("[]").unwrap(), [0.0; 0]);
        let long = |numbers: usize| format!("[{}]", vec!["0"; numbers].join(","));
        let encoded = |numbers: usize| format!("\"{}\"", STANDARD.encode(vec![0; 4 * numbers]));
        for longest in [long(MAX_NUMBERS), encoded(MAX_NUMBERS)] {
            assert_eq!(read(&longest).unwrap().len(), MAX_NUMBERS);
        }
        for (json, part) in [
            ("\"AACA\"", "3 bytes"),
            ("\"AA CA\"", "base64"),
            ("7", "a list of numbers, or base64"),
            ("[\"1\"]", "invalid type"),
            ("[null]", "invalid type"),
            (&long(MAX_NUMBERS + 1), "more than"),
            (&encoded(MAX_NUMBERS + 1), "more than"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
