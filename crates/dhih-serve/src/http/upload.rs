//! `Upload`: the bytes of a picture in a request, from a form field, the whole body, or base64 in JSON.

use std::sync::Arc;

use axum::extract::Request;
use dhih_model::image::FORMATS;
use futures_util::TryStreamExt;

use crate::http::ApiError;
use crate::http::body_memory::Held;

/// A picture that is not decoded yet.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    bytes: Vec<u8>,
    /// The file name, where the request has one.
    pub(crate) name: Option<String>,
    /// The charge for the request's body. It is held for as long as these bytes exist.
    #[expect(dead_code, reason = "held")]
    held: Option<Arc<Held>>,
}

impl AsRef<[u8]> for Upload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Upload {
    /// A picture with these bytes, which belong to a body that is charged to `held`.
    ///
    /// # Errors
    /// When there are no bytes.
    pub(crate) fn new(bytes: Vec<u8>, held: Option<Arc<Held>>) -> Result<Self, ApiError> {
        match bytes.is_empty() {
            true => {
                let message = format!("`image` is empty: send the bytes of a {FORMATS}");
                Err(ApiError::BadRequest("missing_image", message))
            }
            false => Ok(Self { bytes, name: None, held }),
        }
    }

    /// The picture that is the whole body of a request.
    ///
    /// # Errors
    /// When there are no bytes, or the body ends early. The layer that charges the body refuses one that is too large.
    pub(crate) async fn of_body(request: Request) -> Result<Self, ApiError> {
        let held = held(&request);
        let (mut chunks, mut bytes) = (request.into_body().into_data_stream(), Vec::new());
        while let Some(chunk) = chunks.try_next().await.map_err(|error| {
            ApiError::BadRequest("malformed_body", format!("the body cannot be read: {error}"))
        })? {
            append(&mut bytes, &chunk);
        }
        Self::new(bytes, held)
    }
}

/// The charge for the body of a request.
pub(crate) fn held(request: &Request) -> Option<Arc<Held>> {
    request.extensions().get::<Arc<Held>>().cloned()
}

/// Appends a piece of a body. The capacity grows by a quarter and is not doubled, because the memory of bodies is accounted for.
pub(super) fn append(bytes: &mut Vec<u8>, chunk: &[u8]) {
    if bytes.capacity() - bytes.len() < chunk.len() {
        bytes.reserve_exact(chunk.len().max(bytes.len() / 4));
    }
    bytes.extend_from_slice(chunk);
}
