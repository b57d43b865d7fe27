//! Bodies of JSON, and what a body is by its media type.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::http::ApiError;
use crate::http::form::media_type;

/// A longer body is read off the threads that answer.
const SHORT: usize = 64 << 10;
/// The largest body of JSON, in bytes, beside a picture in base64: a batch of vectors of some thousand numbers, or of a thousand codes of
/// the longest.
pub(crate) const MOST: usize = 4 << 20;

/// What a body is.
pub(crate) enum Kind {
    Form,
    Json,
    /// JSON Lines: a value on each line.
    Lines,
    /// A picture, and nothing else.
    Picture,
}

/// What a body is; `None` where nothing says so.
///
/// # Errors
/// Anything but a form, JSON or a picture.
pub(crate) fn kind(request: &Request) -> Result<Option<Kind>, ApiError> {
    match media_type(request).as_deref() {
        Some("multipart/form-data") => Ok(Some(Kind::Form)),
        Some("application/json") => Ok(Some(Kind::Json)),
        Some("application/x-ndjson" | "application/jsonl") => Ok(Some(Kind::Lines)),
        Some(other) if other.starts_with("image/") => Ok(Some(Kind::Picture)),
        Some(other) => Err(unsupported(&format!("`{other}` is not taken here: "))),
        None => Ok(None),
    }
}

/// The refusal of a body of another type.
pub(crate) fn unsupported(what: &str) -> ApiError {
    let message = format!(
        "{what}send multipart/form-data with the field `image`, or application/json; searches also take a picture alone, as image/jpeg"
    );
    ApiError::UnsupportedMediaType("unsupported_media_type", message)
}

/// Reads a body of JSON.
///
/// # Errors
/// A body that is too large, no JSON, or has other fields than are expected.
pub(crate) async fn json<T: DeserializeOwned + Send + 'static>(
    request: Request,
) -> Result<T, ApiError> {
    let bytes = Bytes::from_request(request, &()).await?;
    let is_short = bytes.len() <= SHORT;
    let read = move || {
        if bytes.len() > MOST && bytes.len() - longest_base64(&bytes) > MOST {
            return Err(ApiError::TooLarge);
        }
        serde_json::from_slice(&bytes).map_err(|e| {
            let message = format!("the body is not the JSON expected: {e}");
            ApiError::BadRequest("malformed_body", message)
        })
    };
    match is_short {
        true => read(),
        false => tokio::task::spawn_blocking(read).await.map_err(ApiError::internal)?,
    }
}

/// The length of the longest text that may be base64. What JSON is made of otherwise, such as lists of numbers, becomes larger when it is
/// read; such a text does not. A stroke may be escaped.
fn longest_base64(body: &[u8]) -> usize {
    let is_other =
        |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\\'));
    body.split(is_other).map(<[u8]>::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_text_of_base64_is_found() {
        assert_eq!(longest_base64(br#"{"image":"iVBOR\/w==","id":1}"#), 10);
        assert_eq!(longest_base64(b"[0,0,0,0,0,0,0,0]"), 1);
        assert_eq!(longest_base64(b""), 0);
    }
}
