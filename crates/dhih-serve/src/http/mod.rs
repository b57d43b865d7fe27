//! HTTP: the router, which says what path is answered by whom, and what surrounds every answer (`layers/`). A resource each has a file
//! in `routes/`.

mod admin;
mod body_memory;
mod error;
mod form;
mod guard;
mod json;
mod layers;
mod list_params;
mod openapi;
mod origin;
mod params;
mod prefix;
pub(crate) mod readiness;
mod routes;
mod sessions;
mod state;
mod trace;
mod upload;
mod wanted;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::Uri,
    middleware::from_fn_with_state,
    routing::{delete, get, post, put},
};

pub use admin::Admin;
pub(crate) use error::ApiError;
pub use state::AppState;

use self::routes::{
    adding, encode, info, items, listing, metadata, page, samples, search, session, snapshots,
};

/// The whole service as a router.
pub fn app(state: Arc<AppState>) -> Router {
    crate::operation::telemetry::recorder();
    let body_memory = from_fn_with_state(state.clone(), layers::charge_body);
    let picture_memory = from_fn_with_state(state.clone(), layers::charge_picture_body);
    let writing = Router::new()
        .route("/v1/items", post(adding::add).layer(picture_memory.clone()).delete(listing::delete))
        .route("/v1/items/batch", post(adding::add_batch).layer(body_memory.clone()))
        .route("/v1/items/{id}", delete(items::delete))
        .route("/v1/items/{id}/metadata", put(metadata::put).layer(body_memory.clone()))
        .route_layer(from_fn_with_state(state.clone(), layers::writing));
    let administering = Router::new()
        .route("/v1/admin/reload", post(info::reload))
        .route("/v1/admin/compact", post(snapshots::compact))
        .route("/v1/admin/snapshots", post(snapshots::make).get(snapshots::list))
        .route("/v1/fields", put(metadata::declare).layer(body_memory.clone()))
        .route_layer(from_fn_with_state(state.clone(), layers::administering));
    let session = post(session::begin)
        .layer(DefaultBodyLimit::max(session::MAX_BODY))
        .delete(session::end)
        .layer(from_fn_with_state(state.clone(), layers::own_pages))
        .get(session::session);
    let reading = Router::new()
        .route("/v1/search", post(search::search).layer(picture_memory.clone()))
        .route("/v1/encode", post(encode::encode).layer(picture_memory))
        .route("/v1/search/batch", post(search::batch).layer(body_memory))
        .route("/v1/fields", get(metadata::fields))
        .route("/v1/items", get(listing::list))
        .route("/v1/items/count", get(listing::count))
        .route("/v1/items/{id}", get(items::item))
        .route("/v1/items/{id}/image", get(items::image))
        .route("/v1/items/{id}/pairs", get(items::pairs))
        .route("/v1/samples", get(samples::samples))
        .route("/v1/samples/{index}", get(samples::sample))
        .route("/v1/samples/{index}/image", get(samples::image))
        .route("/v1/info", get(info::info))
        .route("/metrics", get(info::metrics_text))
        .route_layer(from_fn_with_state(state.clone(), layers::reading));
    let open =
        Router::new().route("/healthz", get(info::healthz)).route("/readyz", get(info::readyz));
    let not_allowed = async || ApiError::MethodNotAllowed;
    // The layer that is added last is asked first: is it this service that is meant, who asks, too often, and are too many under way?
    let guarded = writing
        .merge(administering)
        .merge(reading)
        .merge(Router::new().route("/v1/session", session))
        .merge(page::assets())
        .merge(openapi::routes(state.run().path_prefix()))
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(state.clone(), layers::admit));
    let run = state.run();
    let app = open
        .method_not_allowed_fallback(not_allowed)
        .merge(guarded)
        .layer(DefaultBodyLimit::max(state.limits().max_body_bytes))
        .layer(from_fn_with_state(state.clone(), layers::surround))
        .with_state(state);
    prefix::below(run.path_prefix(), app)
}

async fn unknown(uri: Uri) -> ApiError {
    ApiError::NotFound(format!("there is nothing at {}; the API is under /v1", uri.path()))
}
