//! The layer around every answer, including refusals: access log, headers, time limit, and the answer after a panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::http::ApiError;
use crate::http::layers::access_log::AccessLog;
use crate::http::layers::cors::Cors;
use crate::http::layers::panicked;
use crate::http::layers::security_headers::SecurityHeaders;
use crate::http::shared::Shared;

/// Ensures that each request is answered in time and logged, and that each answer has all headers. This is one layer instead of five,
/// because every layer copies and allocates the service that it wraps for each request.
pub(crate) async fn surround(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let log = AccessLog::begin(&mut request);
    let headers = SecurityHeaders::of(&request, shared.resource_policy());
    let cors = Cors::of(&shared.guard().origins, request.headers());
    // Unwind safety: the state of the request is dropped after a panic, and shared state is behind locks that handle poisoning.
    let answer = log.within(AssertUnwindSafe(next.run(request)).catch_unwind());
    let mut response = match tokio::time::timeout(shared.limits().request_timeout, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(cause)) => panicked(&*cause),
        // A worker that has begun a change continues with it.
        Err(_) if log.is_change() => ApiError::ChangeTimeout.into_response(),
        Err(_) => ApiError::Timeout.into_response(),
    };
    headers.add(&mut response);
    cors.add(&mut response);
    log.end(&mut response);
    response
}
