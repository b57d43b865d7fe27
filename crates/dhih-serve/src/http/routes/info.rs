//! `GET /v1/info`, `/healthz`, `/readyz` and `/metrics` describe the service and its state. `POST /v1/admin/reload` reloads it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::api::{
    ErrorAnswer, Health, Info, MAX_BATCH, MAX_ITEMS, MAX_K, Replication, RequestLimits,
};
use crate::http::figures::{record, record_shared};
use crate::http::readiness::Phase;
use crate::http::{ApiError, AppState, Collections};
use crate::operation::telemetry;
use crate::replication::error::NO_COLLECTION;
use crate::run::info::Service;

/// Describes the collection and the limits of requests.
#[utoipa::path(
    get, operation_id = "get_info", path = "/v1/info", tag = "service",
    responses(
        (status = 200, body = Info, description = "What is served"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
    )
)]
pub(crate) async fn info(State(state): State<Arc<AppState>>) -> Json<Info> {
    Json(of(&state))
}

fn of(state: &AppState) -> Info {
    let body_bytes = state.shared().limits().max_body_bytes;
    let limits = RequestLimits { body_bytes, k: MAX_K, batch: MAX_BATCH, items: MAX_ITEMS };
    state.run().info(Service {
        limits,
        keys: &state.shared().guard().keys(),
        is_reloading: state.is_reloading(),
        last_reload: state.last_reload(),
        replication: replication(state),
    })
}

/// The replication status of a collection; absent if it keeps no journal.
fn replication(state: &AppState) -> Option<Replication> {
    let run = state.run();
    let items = run.items().ok()?;
    let position = items.position()?.number;
    let role = match items.primary() {
        Some(_) => "follower",
        None if items.is_superseded() => "superseded",
        None => "primary",
    };
    let lineage = items.lineage();
    let lineage = lineage.inspect_err(|error| tracing::error!(%error, "the epoch is unknown"));
    let followed = state.followed();
    let of = followed.as_ref();
    Some(Replication {
        role,
        epoch: lineage.ok()?.epoch,
        position,
        primary: items.primary().map(|primary| primary.to_string()),
        primary_position: of.and_then(|followed| followed.head),
        lag_seconds: of.map(|followed| followed.lag.as_secs_f64()),
        connected: of.map(|followed| followed.is_connected),
        error: of.and_then(|followed| followed.error),
    })
}

/// Answers as long as the process runs.
#[utoipa::path(get, operation_id = "get_health", path = "/healthz", tag = "service", responses((status = 200, body = Health, description = "It is")))]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok", items: None, writable: None })
}

/// Whether requests should be sent here: models and indexes are loaded and verified, a store answered its last check, and the service is
/// not shutting down. Searches are answered even while nothing can be written, which `writable` shows.
#[utoipa::path(
    get, operation_id = "get_readiness", path = "/readyz", tag = "service",
    responses(
        (status = 200, body = Health, description = "They should"),
        (status = 503, body = Health, description = "They should go elsewhere: the service is loading or stopping, a shard of its store does not answer, or it is further behind its primary than --max-lag"),
    )
)]
pub(crate) async fn readyz(State(collections): State<Collections>) -> Response {
    readiness(&collections)
}

pub(crate) fn readiness(collections: &Collections) -> Response {
    let all = collections.all();
    match collections.shared().phase() {
        Phase::Loading => not_ready("loading"),
        Phase::Stopping => not_ready("stopping"),
        Phase::Serving if all.iter().any(|state| is_too_late(state)) => not_ready("lagging"),
        Phase::Serving if !all.iter().all(|state| state.is_store_available()) => {
            not_ready("store_unavailable")
        }
        Phase::Serving => {
            let items = all.iter().map(|state| state.run().len()).sum();
            let writable = all.iter().all(|state| state.run().is_writable());
            let (items, writable) = (Some(items), Some(writable));
            Json(Health { status: "ready", items, writable }).into_response()
        }
    }
}

/// The answer of a service that should get no new requests.
pub(crate) fn not_ready(status: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status, items: None, writable: None }))
        .into_response()
}

/// Whether the items are a copy whose lag exceeds the permitted one. A copy of a collection that was removed lacks nothing.
fn is_too_late(state: &AppState) -> bool {
    let (most, followed) = (state.shared().max_lag(), state.followed());
    most.zip(followed).is_some_and(|(most, followed)| {
        followed.lag > most && followed.error != Some(NO_COLLECTION)
    })
}

/// Metrics for Prometheus.
#[utoipa::path(
    get, operation_id = "get_metrics", path = "/metrics", tag = "service",
    responses(
        (status = 200, description = "In the text format", body = String, content_type = "text/plain"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
    )
)]
pub(crate) async fn metrics_text(State(collections): State<Collections>) -> Response {
    figures(Some(&collections))
}

/// Metrics of the process and, once the service has loaded, of its collections.
pub(crate) fn figures(collections: Option<&Collections>) -> Response {
    if let Some(collections) = collections {
        record_shared(collections.shared());
        collections.all().iter().for_each(|state| record(state));
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, telemetry::rendered()).into_response()
}

/// Reopens model and index and serves what is there now; no request is refused meanwhile. If that fails, the service continues with what it
/// served before. A long reload is answered before it ends: `last_reload` shows its result.
#[utoipa::path(
    post, operation_id = "reload", path = "/v1/admin/reload", tag = "service",
    responses(
        (status = 200, body = Info, description = "What is served"),
        (status = 202, body = Info, description = "It takes long and goes on; what is served until then"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "The key may not do this, or another site's page asks"),
        (status = 409, body = ErrorAnswer, description = "What is there now cannot be served, or a reload is under way"),
    )
)]
pub(crate) async fn reload(State(state): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let reloading = state.clone();
    let reload = move || {
        let reloaded = reloading.try_reload().map(|reloaded| reloaded.map(drop));
        if let Some(Err(error)) = &reloaded {
            // Paths appear in the log only.
            tracing::error!(%error, "not reloaded");
        }
        reloaded
    };
    match state.shared().work_at_length(reload).await? {
        None => Ok((StatusCode::ACCEPTED, Json(of(&state))).into_response()),
        Some(None) => Err(ApiError::ReloadUnderWay),
        Some(Some(Err(_))) => Err(ApiError::NotReloaded),
        Some(Some(Ok(()))) => Ok(Json(of(&state)).into_response()),
    }
}
