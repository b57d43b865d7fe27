//! The router: which path is answered by whom, and what every answer shares (errors in JSON, headers, a time limit, a
//! log line).

mod error;
mod info;
mod items;
mod page;
mod samples;
mod search;
mod thumbnail;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, Uri, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};

pub(crate) use error::ApiError;

use crate::AppState;

/// The whole service as a router.
pub fn app(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/v1/search", post(search::search))
        .route("/v1/items/{id}", get(items::item))
        .route("/v1/items/{id}/image", get(items::image))
        .route("/v1/samples", get(samples::samples))
        .route("/v1/samples/{index}", get(samples::sample))
        .route("/v1/samples/{index}/image", get(samples::image))
        .route("/v1/info", get(info::info))
        .route("/healthz", get(info::healthz))
        .route("/readyz", get(info::readyz))
        .route("/", get(page::index))
        .route("/app.js", get(page::script))
        .route("/bits.js", get(page::bits))
        .route("/style.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .fallback(unknown)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(state.limits().max_body_bytes))
        .layer(from_fn_with_state(state.clone(), in_time))
        .layer(from_fn(with_headers))
        .layer(from_fn(logged))
        .with_state(state)
}

async fn unknown(uri: Uri) -> ApiError {
    ApiError::NotFound(format!("there is nothing at {}; the API is under /v1", uri.path()))
}

async fn in_time(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    tokio::time::timeout(state.limits().request_timeout, next.run(request))
        .await
        .unwrap_or_else(|_| ApiError::Timeout.into_response())
}

async fn with_headers(request: Request, next: Next) -> Response {
    const HEADERS: [(header::HeaderName, &str); 4] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // What may be kept says so itself; answers about a run may not.
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn logged(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let started = Instant::now();
    let response = next.run(request).await;
    let (status, ms) = (response.status().as_u16(), started.elapsed().as_secs_f64() * 1e3);
    tracing::info!(%method, path, status, ms = format_args!("{ms:.2}"), "request");
    response
}
