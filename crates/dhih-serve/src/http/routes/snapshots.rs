//! `/v1/admin/snapshots` and `/v1/admin/compact`: makes copies of index and catalogue, and erases deleted data from their files.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::api::{CompactParams, Compaction, ErrorAnswer, Snapshot, SnapshotList, SnapshotParams};
use crate::http::{ApiError, AppState};
use crate::items::{Compacted, Copied};
use crate::operation::snapshots::SnapshotError;

/// Makes a consistent snapshot of index and catalogue in the directory of `--snapshot-dir`. Searches and changes continue meanwhile. A
/// snapshot is an index directory: serve it to restore it. A long snapshot is answered before it ends.
#[utoipa::path(
    post, operation_id = "make_snapshot", path = "/v1/admin/snapshots", tag = "service", params(SnapshotParams),
    responses(
        (status = 201, body = Snapshot, description = "The snapshot, which is on disk"),
        (status = 202, body = Snapshot, description = "It takes long and goes on"),
        (status = 400, body = ErrorAnswer, description = "A parameter is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 409, body = ErrorAnswer, description = "There is one of this name, or a snapshot or a compaction is under way"),
        (status = 422, body = ErrorAnswer, description = "The service was started without --snapshot-dir"),
        (status = 503, body = ErrorAnswer, description = "Another index is being opened, or nothing can be written: see Retry-After"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn make(
    State(state): State<Arc<AppState>>,
    params: Result<Query<SnapshotParams>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(SnapshotParams { name }) = params?;
    let run = state.run();
    run.items()?.check_open()?;
    let name = state.snapshots().name(name)?;
    let begun = Snapshot { name: name.clone(), done: false, bytes: 0, at: 0 };
    let making = state.clone();
    let make = move || making.snapshots().make(run.items()?, &name);
    match in_time(&state, make).await? {
        Some(made) => Ok((StatusCode::CREATED, Json(made)).into_response()),
        None => Ok((StatusCode::ACCEPTED, Json(begun)).into_response()),
    }
}

/// Lists the snapshots.
#[utoipa::path(
    get, operation_id = "list_snapshots", path = "/v1/admin/snapshots", tag = "service",
    responses(
        (status = 200, body = SnapshotList, description = "The snapshots"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "The key may not do this"),
        (status = 422, body = ErrorAnswer, description = "The service was started without --snapshot-dir"),
    )
)]
pub(crate) async fn list(
    State(state): State<Arc<AppState>>,
) -> Result<Json<SnapshotList>, ApiError> {
    let listing = state.clone();
    let list = state.shared().work(move || Ok(listing.snapshots().list()?)).await?;
    Ok(Json(SnapshotList { snapshots: list }))
}

/// Rewrites index and catalogue, so that their files contain nothing of deleted items. Searches continue meanwhile, and changes wait. A
/// long compaction is answered before it ends.
#[utoipa::path(
    post, operation_id = "compact", path = "/v1/admin/compact", tag = "service", params(CompactParams),
    responses(
        (status = 200, body = Compaction, description = "What the files took before and after"),
        (status = 202, description = "It takes long and goes on"),
        (status = 400, body = ErrorAnswer, description = "A parameter is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 409, body = ErrorAnswer, description = "A snapshot or a compaction is under way"),
        (status = 503, body = ErrorAnswer, description = "Another index is being opened, or nothing can be written: see Retry-After"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn compact(
    State(state): State<Arc<AppState>>,
    params: Result<Query<CompactParams>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(CompactParams { forget }) = params?;
    let run = state.run();
    run.items()?.check_open()?;
    let copied = if forget { Copied::AllButDeleted } else { Copied::All };
    let compacting = state.clone();
    let compact = move || {
        let items = run.items()?;
        let compacted = compacting.snapshots().compact(items, copied)?;
        // A snapshot for followers that was begun before has the bytes of deleted items.
        compacting.offers().withdraw(items);
        Ok(compacted)
    };
    match in_time(&state, compact).await? {
        Some(Compacted { bytes_before, bytes_after }) => {
            Ok(Json(Compaction { bytes_before, bytes_after }).into_response())
        }
        None => Ok(StatusCode::ACCEPTED.into_response()),
    }
}

/// Runs work that may take long. `None` means that it continues after the answer.
async fn in_time<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<Option<T>, ApiError> {
    let logged =
        || work().inspect_err(|error| tracing::error!(%error, "no snapshot, or no compaction"));
    Ok(state.shared().work_at_length(logged).await?.transpose()?)
}
