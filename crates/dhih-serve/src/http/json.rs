//! JSON bodies, and the kind of a body by its media type.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use serde::de::DeserializeOwned;

use crate::http::ApiError;
use crate::http::form::media_type;
use crate::json_object::JsonObject;

/// Longer bodies are parsed on a blocking thread, not on the async runtime.
const SHORT: usize = 64 << 10;

/// The kind of a body.
pub(crate) enum Kind {
    Form,
    Json,
    /// JSON Lines: one value per line.
    Lines,
    /// A picture, and nothing else.
    Picture,
}

/// The kind of a request's body; `None` where there is no media type.
///
/// # Errors
/// When the media type is neither a form, JSON, JSON Lines nor a picture, or the body is compressed.
pub(crate) fn kind(request: &Request) -> Result<Option<Kind>, ApiError> {
    check_not_compressed(request)?;
    match media_type(request).as_deref() {
        Some("multipart/form-data") => Ok(Some(Kind::Form)),
        Some("application/json") => Ok(Some(Kind::Json)),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => {
            Ok(Some(Kind::Lines))
        }
        Some(other) if other.starts_with("image/") => Ok(Some(Kind::Picture)),
        Some(other) => Err(unsupported(&format!("`{other}` is not taken here: "))),
        None => Ok(None),
    }
}

/// Refuses a compressed body, which would otherwise count as one that cannot be read.
fn check_not_compressed(request: &Request) -> Result<(), ApiError> {
    let coding = request.headers().get(header::CONTENT_ENCODING);
    match coding.map(|coding| String::from_utf8_lossy(coding.as_bytes())) {
        Some(coding) if !coding.eq_ignore_ascii_case("identity") => {
            let message =
                format!("the body has the `content-encoding` {coding:?}: send it uncompressed");
            Err(ApiError::UnsupportedMediaType("unsupported_media_type", message))
        }
        _ => Ok(()),
    }
}

/// The refusal of a body of an unsupported type.
pub(crate) fn unsupported(what: &str) -> ApiError {
    let message = format!(
        "{what}send multipart/form-data with the field `image`, or application/json; searches also take a picture alone, as image/jpeg"
    );
    ApiError::UnsupportedMediaType("unsupported_media_type", message)
}

/// Reads a JSON body.
///
/// # Errors
/// When the body is too large, is not JSON, or has unexpected fields.
pub(crate) async fn json<T: DeserializeOwned + Send + 'static>(
    request: Request,
) -> Result<T, ApiError> {
    json_of(Bytes::from_request(request, &()).await?).await
}

/// Parses a JSON object. A long text is parsed on a worker thread.
///
/// # Errors
/// When the bytes are not valid JSON, or the fields are not the expected ones.
pub(crate) async fn json_of<T: DeserializeOwned + Send + 'static>(
    bytes: Bytes,
) -> Result<T, ApiError> {
    let is_short = bytes.len() <= SHORT;
    let read = move || {
        let object: Result<JsonObject<T>, _> = serde_json::from_slice(&bytes);
        object.map(|JsonObject(value)| value).map_err(|e| e.to_string())
    };
    let read = match is_short {
        true => read(),
        false => tokio::task::spawn_blocking(read).await.map_err(ApiError::internal)?,
    };
    read.map_err(|e| {
        ApiError::BadRequest("malformed_body", format!("the body is not the JSON expected: {e}"))
    })
}

/// Reads a body that must have the media type of JSON.
///
/// # Errors
/// As for [`json`]; when the body has another media type.
pub(crate) async fn only_json<T: DeserializeOwned + Send + 'static>(
    request: Request,
) -> Result<T, ApiError> {
    match kind(&request)? {
        Some(Kind::Json) => json(request).await,
        _ => Err(ApiError::UnsupportedMediaType(
            "unsupported_media_type",
            "send application/json".into(),
        )),
    }
}
