//! The layers that charge bodies to the memory that all bodies share. `http/body_memory.rs` does the accounting.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::body_memory::{ChargedBody, Held, MOST_JSON, Progress, Weight};
use crate::http::form::media_type;
use crate::http::shared::Shared;

/// Charges the body of a request while it arrives. The memory is held until the request is answered. A handler that keeps the bytes for
/// longer keeps the `Arc<Held>` from the extensions of the request.
pub(crate) async fn charge_body(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    charge(&shared, MOST_JSON, request, next).await
}

/// As [`charge_body`], for routes whose JSON may contain a picture in base64. Such a body may be as large as any body, and the rest of it
/// beside the picture as large as other JSON.
pub(crate) async fn charge_picture_body(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    charge(&shared, usize::MAX, request, next).await
}

async fn charge(shared: &Shared, most_json: usize, mut request: Request, next: Next) -> Response {
    let most = shared.limits().max_body_bytes;
    let (limit, weight) = match media_type(&request).as_deref() {
        Some("application/json") => (most_json.min(most), Weight::Json),
        Some("application/x-ndjson" | "application/jsonl") => (most, Weight::Lines),
        _ => (most, Weight::Bytes),
    };
    let held = Arc::new(Held::default());
    request.extensions_mut().insert(held.clone());
    let (memory, holder) = (shared.bodies().clone(), held.clone());
    let request = request.map(|body| {
        // A body that is slightly too large is read to its end before the answer, so that the client reads why it was refused.
        let drained = most.saturating_add(most / 2).max(1 << 20);
        let progress = Progress::default();
        Body::new(ChargedBody { body, memory, held: holder, limit, weight, drained, progress })
    });
    let response = next.run(request).await;
    held.refusal().map_or(response, IntoResponse::into_response)
}
