//! `/v1/items/{id}`: shows, compares and deletes items, and serves their thumbnails. `adding.rs` adds items.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use crate::api::{ErrorAnswer, Item, Pairs, PairsParams};
use crate::http::params::{Bounds, pairs_extent};
use crate::http::routes::search::scope;
use crate::http::routes::thumbnail::{self, Thumbnail};
use crate::http::wanted::no_item;
use crate::http::{ApiError, AppState};
use crate::run::Run;
use crate::run::gallery::Set;
use crate::run::view::ItemThumbnail;
use crate::search::{Order, Query};

/// Returns an item.
#[utoipa::path(
    get, operation_id = "get_item", path = "/v1/items/{id}", tag = "items", params(("id" = u64, Path)),
    responses(
        (status = 200, body = Item, description = "The item"),
        (status = 400, body = ErrorAnswer, description = "The id is no number"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 404, body = ErrorAnswer, description = "There is no such item"),
    )
)]
pub(crate) async fn item(
    State(state): State<Arc<AppState>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Item>, ApiError> {
    let Path(id) = id?;
    let run = state.run();
    let looking = run.clone();
    let item = state.shared().search(&run, move |_| Ok(looking.view().item(id)?)).await?;
    item.map(Json).ok_or_else(|| no_item(id))
}

/// Returns the thumbnail of an item.
#[utoipa::path(
    get, operation_id = "get_item_image", path = "/v1/items/{id}/image", tag = "items", params(("id" = u64, Path)),
    responses(
        (status = 200, description = "The image", content((Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (String = "image/svg+xml"))),
        (status = 304, description = "It is the one that If-None-Match names"),
        (status = 400, body = ErrorAnswer, description = "The id is no number"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 404, body = ErrorAnswer, description = "There is no such item"),
    )
)]
pub(crate) async fn image(
    State(state): State<Arc<AppState>>,
    id: Result<Path<u64>, PathRejection>,
    thumbnail: Thumbnail,
) -> Result<Response, ApiError> {
    let Path(id) = id?;
    let run = state.run();
    let looking = run.clone();
    let found = state
        .shared()
        .search(&run, move |_| looking.view().thumbnail(id)?.ok_or_else(|| no_item(id)));
    match found.await? {
        ItemThumbnail::Kept(file) => Ok(thumbnail.of_file(file)),
        ItemThumbnail::Gallery(row) => thumbnail.respond(&state, &run, Set::Database, row).await,
    }
}

/// Lists the items within a radius of an item, such as its near duplicates.
#[utoipa::path(
    get, operation_id = "get_item_pairs", path = "/v1/items/{id}/pairs", tag = "items", params(("id" = u64, Path), PairsParams),
    responses(
        (status = 200, body = Pairs, description = "The items within the radius, without itself"),
        (status = 400, body = ErrorAnswer, description = "The id is no number, or a parameter is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 404, body = ErrorAnswer, description = "There is no such item"),
        (status = 503, body = ErrorAnswer, description = "Too many requests: see Retry-After"),
    )
)]
pub(crate) async fn pairs(
    State(state): State<Arc<AppState>>,
    id: Result<Path<u64>, PathRejection>,
    uri: Uri,
) -> Result<Json<Pairs>, ApiError> {
    let Path(id) = id?;
    let run = state.run();
    let extent = pairs_extent(&uri, Bounds::of(&run))?;
    let scope = scope(&run, &extent.labels, extent.filter.as_deref())?;
    let looking = run.clone();
    let found = state.shared().search(&run, move |cancellation| {
        let view = looking.view();
        let code = view.code(id)?.ok_or_else(|| no_item(id))?;
        let query = Query {
            code: &code,
            // One more than `k` for the item itself, which is a hit, too, and another one by which an incomplete list is detected.
            k: extent.k + 2,
            radius: extent.radius,
            filter: scope.as_ref(),
            codes: extent.codes,
            cancellation: Some(cancellation),
        };
        let mut found = view.nearest(query, Order::Distance)?;
        found.neighbours.retain(|neighbour| neighbour.id != id);
        let complete = found.neighbours.len() <= extent.k && found.capped_radius.is_none();
        found.neighbours.truncate(extent.k);
        let hits = view.hits(&found, extent.shown())?;
        let code = dhih_index::to_hex(&code);
        Ok(Pairs { id, code, radius: extent.radius, hits, complete })
    });
    found.await.map(Json)
}

/// Deletes an item. After the answer, the deletion survives a crash.
#[utoipa::path(
    delete, operation_id = "delete_item", path = "/v1/items/{id}", tag = "items", params(("id" = u64, Path)),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, body = ErrorAnswer, description = "The id is no number"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 404, body = ErrorAnswer, description = "There is no such item"),
        (status = 503, body = ErrorAnswer, description = "Too many requests, another index is being opened, or nothing can be written: see Retry-After"),
        (status = 504, body = ErrorAnswer, description = "It took too long, and may be made all the same"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn delete(
    State(state): State<Arc<AppState>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let Path(id) = id?;
    change(&state, move |run| Ok(run.items()?.remove(id)?)).await?;
    metrics::counter!("dhih_deleted_total").increment(1);
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the items of the current run on a blocking thread. The same job makes the answer: a committed change must not be refused because
/// no other thread is free. While the items are handed over to another run, the request is refused at once and takes no thread.
pub(super) async fn change<T: Send + 'static>(
    state: &Arc<AppState>,
    change: impl FnOnce(&Run) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let run = state.run();
    run.items()?.check_changeable()?;
    state.shared().change(move || change(&run)).await
}

/// As [`change`], for items whose codes were made for the run `before`. A reload in between may have brought another model or codec, whose
/// codes differ.
pub(super) async fn change_coded<T: Send + 'static>(
    state: &Arc<AppState>,
    before: &Arc<Run>,
    make: impl FnOnce(&Run) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let before = before.clone();
    let make = move |run: &Run| match run.is_coded_as(&before) {
        true => make(run),
        false => Err(ApiError::Reloading),
    };
    change(state, make).await
}

impl Thumbnail {
    /// Answers with a thumbnail from the catalogue. It is revalidated on each use, because the id may get a different thumbnail.
    fn of_file(self, file: Vec<u8>) -> Response {
        let tag = format!("\"{:016x}\"", crate::run::digest(&file));
        let keep = [(header::CACHE_CONTROL, "no-cache".to_owned()), (header::ETAG, tag.clone())];
        if thumbnail::matches(self.headers(), &tag) {
            return (StatusCode::NOT_MODIFIED, keep).into_response();
        }
        let kind = [(header::CONTENT_TYPE, crate::items::thumbnail::media_type(&file))];
        (keep, kind, file).into_response()
    }
}
