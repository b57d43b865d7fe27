//! `GET /v1/items/{id}` and its thumbnail.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};

use super::{ApiError, search::no_item, thumbnail::Thumbnail};
use crate::{AppState, Set, api::Item};

pub(super) async fn item(
    State(state): State<Arc<AppState>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Item>, ApiError> {
    let Path(id) = id?;
    state.run().item(id).map(Json).ok_or_else(|| no_item(id))
}

pub(super) async fn image(
    State(state): State<Arc<AppState>>,
    id: Result<Path<u64>, PathRejection>,
    thumbnail: Thumbnail,
) -> Result<Response, ApiError> {
    let Path(id) = id?;
    let run = state.run();
    if run.code(id).is_none() {
        return Err(no_item(id));
    }
    thumbnail.respond(&state, Set::Database, run.row(id)).await
}
