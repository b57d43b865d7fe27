//! What surrounds every answer: keys, the limit of requests under way, the time limit, headers, the log and its figures.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;

use super::ApiError;
use crate::{AppState, auth::Right};

pub(super) async fn reading(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    allowed(&state, Right::Read, request, next).await
}

pub(super) async fn changing(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    allowed(&state, Right::Change, request, next).await
}

async fn allowed(state: &AppState, right: Right, request: Request, next: Next) -> Response {
    match state.keys().allow(right, request.headers()) && same_site(right, request.headers()) {
        true => next.run(request).await,
        false => ApiError::Unauthorized.into_response(),
    }
}

/// Whether a change was not sent by another site's page: a browser says so. Without keys nothing else would stop it.
fn same_site(right: Right, headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    right == Right::Read || matches!(site, None | Some(b"same-origin" | b"none"))
}

/// How much of a refused request is read, and for how long.
const DRAINED: usize = 64 << 10;
const DRAIN: Duration = Duration::from_millis(5);

/// Places for requests under way.
#[derive(Debug, Clone)]
pub(super) struct InFlight {
    places: Arc<Semaphore>,
    most: usize,
}

impl InFlight {
    pub(super) fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), most }
    }
}

pub(super) async fn limited(
    State(in_flight): State<InFlight>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(_place) = in_flight.places.try_acquire() else {
        // A connection whose request was not read is closed: reading a small one is less work than a new connection.
        let body = axum::body::to_bytes(request.into_body(), DRAINED);
        let _ = tokio::time::timeout(DRAIN, body).await;
        return ApiError::Busy.into_response();
    };
    let under_way = in_flight.most - in_flight.places.available_permits();
    metrics::gauge!("dhih_requests_in_flight").set(under_way as f64);
    next.run(request).await
}

/// Holds memory for a request's body until it is answered.
pub(super) async fn held(
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

pub(super) async fn in_time(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    tokio::time::timeout(state.limits().request_timeout, next.run(request))
        .await
        .unwrap_or_else(|_| ApiError::Timeout.into_response())
}

/// The answer to a request that met a mistake of ours.
pub(super) fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
    ApiError::internal(text.unwrap_or("a panic").to_owned()).into_response()
}

const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
/// Swagger UI sets styles on its elements.
const DOCS_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn with_headers(request: Request, next: Next) -> Response {
    let docs = request.uri().path().starts_with("/docs");
    let headers = [
        (header::CONTENT_SECURITY_POLICY, if docs { DOCS_POLICY } else { POLICY }),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // What may be kept says so itself; answers about a run may not.
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Logs and counts the request; its id, the client's or a new one, is in the log and in the answer.
pub(super) async fn told(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_id(id)).cloned();
    let id = given.unwrap_or_else(new_id);
    let started = Instant::now();
    let mut response = next.run(request).await;
    let (status, seconds) = (response.status().as_u16(), started.elapsed().as_secs_f64());
    let route = route.unwrap_or_else(|| "other".to_owned());
    metrics::histogram!("dhih_request_seconds", "route" => route.clone()).record(seconds);
    let labels = [("route", route), ("status", status.to_string())];
    metrics::counter!("dhih_requests_total", &labels).increment(1);
    let request_id = id.to_str().unwrap_or_default();
    tracing::info!(request_id, %method, path, status, ms = format_args!("{:.2}", 1e3 * seconds), "request");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn is_id(id: &HeaderValue) -> bool {
    id.len() <= 64 && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Differs from those of this and of earlier starts of the program.
fn new_id() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = |t: SystemTime| t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    // The first one decides where this start's ids begin.
    let _ = NEXT.compare_exchange(
        0,
        nanos(SystemTime::now()) | 1,
        Ordering::Relaxed,
        Ordering::Relaxed,
    );
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{number:016x}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"))
}
