//! What surrounds every answer, also those that are refused: the access log, the headers, the time limit, and the answer to a panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;

use crate::http::layers::access_log::AccessLog;
use crate::http::layers::cors::Cors;
use crate::http::layers::panicked;
use crate::http::layers::security_headers::SecurityHeaders;
use crate::http::layers::time_limit::TimeLimit;
use crate::http::shared::Shared;

/// Answers in time and with all headers, whatever happens, and logs it. One layer in place of five, because each one copies all that it
/// surrounds, and allocates, for every request.
pub(crate) async fn surround(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let log = AccessLog::begin(&mut request);
    let headers = SecurityHeaders::of(&request, shared.resource_policy());
    let cors = Cors::of(&shared.guard().origins, request.headers());
    let limit = TimeLimit::of(shared.limits().request_timeout, &request);
    // What a panic leaves of the request is dropped with it; what requests share is behind locks that heed poison.
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(limit.longest, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(cause)) => panicked(&*cause),
        Err(_) => limit.passed(),
    };
    headers.add(&mut response);
    cors.add(&mut response);
    log.end(&mut response);
    response
}
