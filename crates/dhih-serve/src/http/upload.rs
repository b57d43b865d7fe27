//! `Upload`: the bytes of a picture that a request brings, be it in a field of a form, as the whole body, or as base64 in JSON.

use std::sync::Arc;

use axum::extract::Request;
use dhih_model::image::FORMATS;
use futures_util::TryStreamExt;

use crate::http::ApiError;
use crate::http::body_memory::Held;

/// A picture as it came, not decoded yet.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    bytes: Vec<u8>,
    /// The name of its file, where the request has one.
    pub(crate) name: Option<String>,
    /// The memory of the request's body: these bytes are counted for as long as they are there.
    #[expect(dead_code, reason = "held")]
    held: Option<Arc<Held>>,
}

impl AsRef<[u8]> for Upload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Upload {
    /// A picture of these bytes, which belong to a body that is charged to `held`.
    ///
    /// # Errors
    /// No bytes.
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
    /// No bytes; a body that ends early. A body that is too large is refused by the layer that charges it.
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

/// What the body of a request is charged to.
pub(crate) fn held(request: &Request) -> Option<Arc<Held>> {
    request.extensions().get::<Arc<Held>>().cloned()
}

/// Appends a piece of a body. The memory grows by a quarter, not by doubling, because the memory of bodies is counted.
pub(super) fn append(bytes: &mut Vec<u8>, chunk: &[u8]) {
    if bytes.capacity() - bytes.len() < chunk.len() {
        bytes.reserve_exact(chunk.len().max(bytes.len() / 4));
    }
    bytes.extend_from_slice(chunk);
}
