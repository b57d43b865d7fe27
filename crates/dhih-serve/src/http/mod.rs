//! HTTP: the router, which says what path is answered by whom, and what surrounds every answer (`layers/`). A resource each has a file
//! in `routes/`.

mod body_memory;
mod error;
mod form;
mod layers;
mod openapi;
mod params;
mod routes;
mod state;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::Uri,
    middleware::{from_fn, from_fn_with_state},
    routing::{delete, get, post},
};
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use error::ApiError;
pub use state::AppState;

use self::routes::{info, items, page, samples, search};

/// The whole service as a router.
pub fn app(state: Arc<AppState>) -> Router {
    crate::operation::telemetry::recorder();
    let body_memory = from_fn_with_state(state.clone(), layers::charge_body);
    let changing = Router::new()
        .route("/v1/items", post(items::add).layer(body_memory.clone()))
        .route("/v1/items/{id}", delete(items::delete))
        .route("/v1/admin/reload", post(info::reload))
        .route_layer(from_fn_with_state(state.clone(), layers::changing));
    let reading = Router::new()
        .route("/v1/search", post(search::search).layer(body_memory.clone()))
        .route("/v1/search/batch", post(search::batch).layer(body_memory))
        .route("/v1/items/{id}", get(items::item))
        .route("/v1/items/{id}/image", get(items::image))
        .route("/v1/samples", get(samples::samples))
        .route("/v1/samples/{index}", get(samples::sample))
        .route("/v1/samples/{index}/image", get(samples::image))
        .route("/v1/info", get(info::info))
        .route("/metrics", get(info::metrics))
        .route_layer(from_fn_with_state(state.clone(), layers::reading));
    let in_flight = layers::InFlight::new(state.limits().max_in_flight);
    let open =
        Router::new().route("/healthz", get(info::healthz)).route("/readyz", get(info::readyz));
    let limited = changing
        .merge(reading)
        .merge(page::assets())
        .merge(openapi::routes())
        .fallback(unknown)
        .layer(from_fn_with_state(in_flight, layers::in_flight_limit));
    open.merge(limited)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(state.limits().max_body_bytes))
        .layer(from_fn_with_state(state.clone(), layers::time_limit))
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn(layers::security_headers))
        .layer(from_fn(layers::access_log))
        .with_state(state)
}

async fn unknown(uri: Uri) -> ApiError {
    ApiError::NotFound(format!("there is nothing at {}; the API is under /v1", uri.path()))
}
