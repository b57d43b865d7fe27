//! A picture in JSON: its bytes in base64.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use utoipa::ToSchema;

/// The bytes of a picture, in base64. They are decoded directly from the text in the body, so that memory holds the body and one decoded
/// copy.
#[derive(Clone, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = Byte)]
pub struct Base64Image(pub Vec<u8>);

impl fmt::Debug for Base64Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64Image({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Base64Image {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Base64Image;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of an image in base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Base64Image, E> {
                if text.starts_with("data:") {
                    return Err(E::custom(
                        "an image is a `data:` address: send what comes after its comma",
                    ));
                }
                let bytes = STANDARD.decode(text);
                bytes.map(Base64Image).map_err(|e| E::custom(format!("an image is no base64: {e}")))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_text_in_base64() {
        let read = |json: &str| serde_json::from_str::<Base64Image>(json).map(|image| image.0);
        assert_eq!(read("\"iVBORw==\"").unwrap(), b"\x89PNG");
        // PHP escapes slashes.
        assert_eq!(read(r#""\/\/8=""#).unwrap(), [0xff, 0xff]);
        for (json, part) in [
            ("\"iVBO Rw==\"", "no base64"),
            ("\"data:image/png;base64,iVBORw==\"", "after its comma"),
            ("[1, 2]", "bytes of an image in base64"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
