//! The memory that request bodies may take together.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::AppState;

/// Holds memory for a request's body until it is answered.
pub(crate) async fn hold_body_memory(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    // A body whose length is not told may be as long as one may be.
    match state.hold(length.unwrap_or(usize::MAX)) {
        Ok(_memory) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}
