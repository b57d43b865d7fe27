//! Bodies are charged to the memory that all may take together. How: `http/body_memory.rs`.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::AppState;
use crate::http::body_memory::{ChargedBody, Held, Progress};
use crate::http::form::media_type;

/// The largest body of JSON, in bytes: a batch of vectors of some thousand numbers, or of a thousand codes of the longest.
const JSON: usize = 4 << 20;
/// So many times its length is what JSON is made of takes at most: short texts of a list.
const PARSED: usize = 8;

/// Charges a request's body as it arrives. What it holds is held until the request is answered; handlers that keep its bytes for longer
/// find an `Arc<Held>` among the request's extensions.
pub(crate) async fn charge_body(
    State(state): State<Arc<AppState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let most = state.limits().max_body_bytes;
    let (limit, weight) = match media_type(&request).as_deref() {
        Some("application/json") => (JSON.min(most), PARSED),
        Some("application/x-ndjson" | "application/jsonl") => (most, PARSED),
        _ => (most, 1),
    };
    let held = Arc::new(Held::default());
    request.extensions_mut().insert(held.clone());
    let (memory, holder) = (state.bodies().clone(), held.clone());
    let request = request.map(|body| {
        // Some more than the largest are read before the answer, so that who sends a little too much reads why it is refused.
        let drained = most.saturating_add(most / 2).max(1 << 20);
        let progress = Progress::default();
        Body::new(ChargedBody { body, memory, held: holder, limit, weight, drained, progress })
    });
    let response = next.run(request).await;
    held.refusal().map_or(response, IntoResponse::into_response)
}
