//! The router: which path is answered by whom, and what every answer shares. The layers around it: `layers`.

mod description;
mod error;
mod form;
mod info;
mod items;
mod layers;
mod page;
mod params;
mod pictures;
mod samples;
mod search;
mod thumbnail;

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

use crate::AppState;

/// The whole service as a router.
pub fn app(state: Arc<AppState>) -> Router {
    crate::telemetry::recorder();
    let held = from_fn_with_state(state.clone(), layers::held);
    let changing = Router::new()
        .route("/v1/items", post(items::add).layer(held.clone()))
        .route("/v1/items/{id}", delete(items::delete))
        .route("/v1/admin/reload", post(info::reload))
        .route_layer(from_fn_with_state(state.clone(), layers::changing));
    let reading = Router::new()
        .route("/v1/search", post(search::search).layer(held.clone()))
        .route("/v1/search/batch", post(search::batch).layer(held))
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
        .merge(description::routes())
        .fallback(unknown)
        .layer(from_fn_with_state(in_flight, layers::limited));
    open.merge(limited)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(state.limits().max_body_bytes))
        .layer(from_fn_with_state(state.clone(), layers::in_time))
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn(layers::with_headers))
        .layer(from_fn(layers::told))
        .with_state(state)
}

async fn unknown(uri: Uri) -> ApiError {
    ApiError::NotFound(format!("there is nothing at {}; the API is under /v1", uri.path()))
}
