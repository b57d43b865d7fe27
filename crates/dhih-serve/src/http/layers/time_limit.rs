//! The time from a request's header to its answer is limited.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::Method,
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
    let is_change = match *request.method() {
        Method::DELETE => true,
        _ => request.uri().path() == "/v1/items",
    };
    let answer = tokio::time::timeout(state.limits().request_timeout, next.run(request)).await;
    answer.unwrap_or_else(|_| match is_change {
        // What a worker has begun goes on.
        true => ApiError::ChangeTimeout.into_response(),
        false => ApiError::Timeout.into_response(),
    })
}
