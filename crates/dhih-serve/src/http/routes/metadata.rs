//! `/v1/fields` and `/v1/items/{id}/metadata`: the declared fields, which filters can use, and the metadata of an item.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State, rejection::PathRejection},
};

use crate::api::{
    ErrorAnswer, Field, FieldsAnswer, FieldsBody, Item, MAX_VALUES, MetadataBody, ValueCount,
};
use crate::http::json::only_json;
use crate::http::routes::items::change;
use crate::http::wanted::no_item;
use crate::http::{ApiError, AppState};
use crate::items::Kept;
use crate::items::metadata::{FieldCounts, Fields, Metadata};
use crate::run::Run;

/// Lists the declared fields with their most frequent values.
#[utoipa::path(
    get, operation_id = "get_fields", path = "/v1/fields", tag = "items",
    responses(
        (status = 200, body = FieldsAnswer, description = "The fields"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 503, body = ErrorAnswer, description = "Too many requests: see Retry-After"),
    )
)]
pub(crate) async fn fields(
    State(state): State<Arc<AppState>>,
) -> Result<Json<FieldsAnswer>, ApiError> {
    let run = state.run();
    let looking = run.clone();
    let answer = state.shared().search(&run, move |_| Ok(answer(&looking)));
    answer.await.map(Json)
}

/// Declares the fields of the metadata that filters can use. They replace the fields that were declared before. The metadata of all items
/// are checked against them.
#[utoipa::path(
    put, operation_id = "put_fields", path = "/v1/fields", tag = "items",
    request_body(content = FieldsBody, content_type = "application/json"),
    responses(
        (status = 200, body = FieldsAnswer, description = "The fields"),
        (status = 400, body = ErrorAnswer, description = "The body is wrong, or an item has a value of another type"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "A body of another type"),
        (status = 503, body = ErrorAnswer, description = "Too many requests, another index is being opened, or nothing can be written: see Retry-After"),
        (status = 504, body = ErrorAnswer, description = "It took too long, and may be made all the same"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn declare(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Json<FieldsAnswer>, ApiError> {
    let FieldsBody { fields } = only_json(request).await?;
    let fields = Fields::new(fields);
    let fields =
        fields.map_err(|fault| ApiError::BadRequest("invalid_fields", fault.to_string()))?;
    let answer = change(&state, move |run| {
        run.items()?.declare(&fields)?;
        Ok(answer(run))
    });
    answer.await.map(Json)
}

/// Replaces the metadata of an item. After the answer, the change survives a crash, and filters use it.
#[utoipa::path(
    put, operation_id = "put_item_metadata", path = "/v1/items/{id}/metadata", tag = "items", params(("id" = u64, Path)),
    request_body(content = MetadataBody, content_type = "application/json"),
    responses(
        (status = 200, body = Item, description = "The item"),
        (status = 400, body = ErrorAnswer, description = "The id is no number, or the metadata is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 404, body = ErrorAnswer, description = "There is no such item"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "A body of another type"),
        (status = 503, body = ErrorAnswer, description = "Too many requests, another index is being opened, or nothing can be written: see Retry-After"),
        (status = 504, body = ErrorAnswer, description = "It took too long, and may be made all the same"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn put(
    State(state): State<Arc<AppState>>,
    id: Result<Path<u64>, PathRejection>,
    request: Request,
) -> Result<Json<Item>, ApiError> {
    let Path(id) = id?;
    let MetadataBody(metadata) = only_json(request).await?;
    let metadata = Metadata::new(metadata.into());
    let metadata =
        metadata.map_err(|fault| ApiError::BadRequest("invalid_metadata", fault.to_string()))?;
    let kept = vec![Kept { id, external_id: None, metadata }];
    let item = change(&state, move |run| {
        let index = run.items()?.keep(kept)?;
        run.view_of(index).items(&[id])?.pop().ok_or_else(|| no_item(id))
    });
    item.await.map(Json)
}

fn answer(run: &Run) -> FieldsAnswer {
    let field = |counts: FieldCounts| {
        let FieldCounts { name, of, items, distinct, values } = counts;
        let values = values.into_iter().map(|(value, items)| ValueCount { value, items }).collect();
        (name, Field { of, items, distinct, values })
    };
    FieldsAnswer { fields: run.field_counts(MAX_VALUES).into_iter().map(field).collect() }
}
