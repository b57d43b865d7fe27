//! The time from a request's header to its answer is limited.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::{ApiError, AppState};

/// Answers in time, or says that it took too long.
pub(crate) async fn time_limit(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    tokio::time::timeout(state.limits().request_timeout, next.run(request))
        .await
        .unwrap_or_else(|_| ApiError::Timeout.into_response())
}
