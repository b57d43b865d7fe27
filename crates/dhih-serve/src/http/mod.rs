//! HTTP: the router, which maps paths to handlers, and the layers around it (`layers/`). The handlers of each resource are in a file of
//! `routes/`.

mod admin;
mod body_memory;
mod collections;
mod dispatch;
mod error;
mod figures;
mod form;
mod guard;
mod idempotency;
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
mod shared;
mod state;
mod target;
mod trace;
mod upload;
mod wanted;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, State},
    handler::Handler,
    http::Uri,
    middleware::from_fn_with_state,
    routing::{delete, get, post, put},
};

pub use admin::Admin;
pub use collections::{Collections, CollectionsConfig};
pub(crate) use error::ApiError;
pub use shared::Shared;
pub use state::AppState;

use crate::collections::CollectionName;
use crate::operation::path_prefix::PathPrefix;

use self::routes::{
    adding, collections as collection_routes, encode, export, info, items, listing, metadata, page,
    replication, samples, search, session, snapshots,
};

/// A complete service as a router: its collections, or a single one.
pub fn app(collections: impl Into<Collections>) -> Router {
    let collections = collections.into();
    let prefix = collections.shared().path_prefix().clone();
    let service = service_router(collections.clone());
    let dispatch = dispatch::Dispatch { collections, service };
    prefix::below(&prefix, Router::new().fallback(dispatch::dispatch).with_state(dispatch))
}

/// The routes that belong to no collection.
fn service_router(collections: Collections) -> Router {
    crate::operation::telemetry::recorder();
    let shared = collections.shared().clone();
    let gate = layers::Gate { shared: shared.clone(), collection: None };
    let body_memory = from_fn_with_state(shared.clone(), layers::charge_body);
    let session = Router::new().route(
        "/v1/session",
        post(session::begin)
            .layer(DefaultBodyLimit::max(session::MAX_BODY))
            .delete(session::end)
            .layer(from_fn_with_state(shared.clone(), layers::own_pages))
            .get(session::session)
            .with_state(shared.clone()),
    );
    let administering = Router::new()
        .route("/v1/collections/{collection}", put(collection_routes::make).layer(body_memory))
        .route("/v1/collections/{collection}", delete(collection_routes::remove))
        .route_layer(from_fn_with_state(gate.clone(), layers::administering));
    let reading = Router::new()
        .route("/metrics", get(info::metrics_text))
        .route_layer(from_fn_with_state(gate, layers::reading));
    let guarded = administering
        .merge(reading)
        .route("/v1/collections", get(collection_routes::list))
        .route("/v1/collections/{collection}", get(collection_routes::one))
        .merge(session)
        .merge(page::assets())
        .merge(openapi::routes(shared.path_prefix()));
    let open =
        Router::new().route("/healthz", get(info::healthz)).route("/readyz", get(info::readyz));
    surrounded(&shared, guarded.fallback(collection_routes::unknown), open).with_state(collections)
}

/// The routes of a collection.
fn collection_router(state: Arc<AppState>) -> Router {
    let shared = state.shared().clone();
    let gate = layers::Gate { shared: shared.clone(), collection: Some(state.name().clone()) };
    let body_memory = from_fn_with_state(shared.clone(), layers::charge_body);
    let picture_memory = from_fn_with_state(shared.clone(), layers::charge_picture_body);
    let writing = Router::new()
        .route("/v1/items", post(adding::add).layer(picture_memory.clone()).delete(listing::delete))
        .route("/v1/items/batch", post(adding::add_batch).layer(body_memory.clone()))
        .route("/v1/items/{id}", delete(items::delete))
        .route("/v1/items/{id}/metadata", put(metadata::put).layer(body_memory.clone()))
        .route_layer(from_fn_with_state(gate.clone(), layers::writing));
    let administering = Router::new()
        .route("/v1/admin/reload", post(info::reload))
        .route("/v1/admin/compact", post(snapshots::compact))
        .route("/v1/admin/promote", post(replication::promote))
        .route("/v1/admin/snapshots", post(snapshots::make).get(snapshots::list))
        .route("/v1/fields", put(metadata::declare).layer(body_memory.clone()))
        .route_layer(from_fn_with_state(gate.clone(), layers::administering));
    let replicating = Router::new()
        .route("/v1/replication/changes", get(replication::changes))
        .route("/v1/replication/snapshot", get(replication::snapshot))
        .route("/v1/replication/snapshot/{id}/{file}", get(replication::file))
        .route_layer(from_fn_with_state(gate.clone(), layers::replicating));
    let succeeding = Router::new()
        .route("/v1/replication/epoch", post(replication::epoch).layer(body_memory.clone()))
        .route_layer(from_fn_with_state(gate.clone(), layers::succeeding));
    let reading = Router::new()
        .route("/v1/search", post(search::search).layer(picture_memory.clone()))
        .route("/v1/encode", post(encode::encode).layer(picture_memory))
        .route("/v1/encode/batch", post(encode::batch).layer(body_memory.clone()))
        .route("/v1/search/batch", post(search::batch).layer(body_memory))
        .route("/v1/fields", get(metadata::fields))
        .route("/v1/items", get(listing::list))
        .route("/v1/items/count", get(listing::count))
        .route("/v1/items/export", get(export::export))
        .route("/v1/items/{id}", get(items::item))
        .route("/v1/items/{id}/image", get(items::image))
        .route("/v1/items/{id}/pairs", get(items::pairs))
        .route("/v1/samples", get(samples::samples))
        .route("/v1/samples/{index}", get(samples::sample))
        .route("/v1/samples/{index}/image", get(samples::image))
        .route("/v1/info", get(info::info))
        .route_layer(from_fn_with_state(gate.clone(), layers::reading));
    let replicating = replicating.merge(succeeding);
    // Who may not read the collection does not learn from a path or a method whether there is such a collection.
    let may_read = from_fn_with_state(gate, layers::reading);
    let guarded = writing
        .merge(administering)
        .merge(replicating)
        .merge(reading)
        .method_not_allowed_fallback(not_allowed.layer(may_read.clone()))
        .fallback(unknown.layer(may_read));
    surrounded(&shared, guarded, Router::new()).with_state(state)
}

/// Adds the layers that are common to all routes. `guarded` routes check the caller; `open` routes admit everyone.
fn surrounded<S: Clone + Send + Sync + 'static>(
    shared: &Arc<Shared>,
    guarded: Router<S>,
    open: Router<S>,
) -> Router<S> {
    // The layer that is added last runs first. A router that has fallbacks of its own keeps them.
    let guarded = guarded
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(shared.clone(), layers::admit));
    open.method_not_allowed_fallback(not_allowed)
        .merge(guarded)
        .layer(DefaultBodyLimit::max(shared.limits().max_body_bytes))
        .layer(from_fn_with_state(shared.clone(), layers::surround))
}

async fn not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// The answer to an unknown path, which is that of the request without the prefix.
fn nothing_at(prefix: &PathPrefix, path: &str) -> ApiError {
    ApiError::NotFound(format!("there is nothing at {prefix}{path}; the API is under {prefix}/v1"))
}

/// The answer to an unknown path of a collection. Names the path as it was sent, with the prefix and the name of the collection.
async fn unknown(
    State(state): State<Arc<AppState>>,
    collection: Option<Extension<CollectionName>>,
    uri: Uri,
) -> ApiError {
    let (prefix, path) = (state.shared().path_prefix(), uri.path());
    let rest = path.strip_prefix("/v1").unwrap_or(path);
    match collection {
        Some(Extension(name)) => nothing_at(prefix, &format!("/v1/collections/{name}{rest}")),
        None => nothing_at(prefix, path),
    }
}
