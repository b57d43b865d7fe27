//! `/v1/items`: items are added, looked at and deleted; their thumbnails.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::api::{ErrorAnswer, Item, ItemForm};
use crate::http::form::{Form, Purpose, media_type};
use crate::http::routes::search::no_item;
use crate::http::routes::thumbnail::{self, Thumbnail};
use crate::http::{ApiError, AppState};
use crate::items::catalogue::Record;
use crate::items::{ChangeError, Changed, ItemId, LabelShape, NewItem};
use crate::run::Run;
use crate::run::gallery::Set;
use crate::run::view::ItemThumbnail;

/// An item.
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
    let item = state.search(&run, move |_| Ok(looking.view().item(id)?)).await?;
    item.map(Json).ok_or_else(|| no_item(id))
}

/// An item's thumbnail.
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
    let found =
        state.search(&run, move |_| looking.view().thumbnail(id)?.ok_or_else(|| no_item(id)));
    match found.await? {
        ItemThumbnail::Kept(file) => Ok(thumbnail.of_file(file)),
        ItemThumbnail::Gallery(row) => thumbnail.respond(&state, &run, Set::Database, row).await,
    }
}

/// Adds an item. Once this is answered it survives a crash, and is found.
#[utoipa::path(
    post, operation_id = "add_item", path = "/v1/items", tag = "items",
    request_body(content = ItemForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, body = Item, description = "The item"),
        (status = 400, body = ErrorAnswer, description = "A field is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 409, body = ErrorAnswer, description = "The id is taken"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "Not an image, or a body of another type"),
        (status = 422, body = ErrorAnswer, description = "An image that cannot be used"),
        (status = 503, body = ErrorAnswer, description = "Too many requests, another index is being opened, or nothing can be written: see Retry-After"),
        (status = 504, body = ErrorAnswer, description = "It took too long, and may be made all the same"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn add(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, ApiError> {
    let run = state.run();
    if !run.items()?.is_changeable() {
        return Err(ApiError::ReadOnly);
    }
    if media_type(&request).as_deref() != Some("multipart/form-data") {
        return Err(ApiError::UnsupportedMediaType(
            "unsupported_media_type",
            "send multipart/form-data with the field `image`".into(),
        ));
    }
    let Form { mut images, labels, id } =
        Form::read(request, Purpose::NewItem { labels: run.most_labels() }).await?;
    let labels = classes(&run, &labels)?;
    let name = images.first_mut().and_then(|image| image.name.take());
    let keep = crate::items::thumbnail::thumbnail;
    let coded = state.pictures().encode(&run, images, keep).await?.pop();
    let (values, file) = coded.ok_or_else(|| ApiError::internal("no code"))??;
    let thumbnail = file.map_err(ApiError::internal)?;
    let code = run.pack(&values).map_err(ApiError::internal)?;
    let record = Record {
        code: dhih_index::to_hex(&code),
        labels,
        source: name.clone(),
        ..Record::default()
    };
    let id = id.map_or(ItemId::Next, ItemId::Free);
    let item = NewItem { id, record, thumbnail, digest: None };
    let model = run.encoder().model_sha256().to_owned();
    let item = change(&state, move |run| {
        // A reload in between may have brought another model, whose codes are others.
        if run.encoder().model_sha256() != model {
            return Err(ChangeError::Reloading);
        }
        let Changed { ids, index } = run.items()?.add(vec![item])?;
        Ok(ids.first().map(|id| run.view_of(index).item_of(*id, &code, name)))
    });
    let item = item.await?.ok_or_else(|| ApiError::internal("an item got no id"))?;
    metrics::counter!("dhih_added_total").increment(1);
    let at = [(header::LOCATION, format!("/v1/items/{}", item.id))];
    Ok((StatusCode::CREATED, at, Json(item)).into_response())
}

/// Deletes an item. Once this is answered it is gone for good.
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
    change(&state, move |run| run.items()?.remove(id)).await?;
    metrics::counter!("dhih_deleted_total").increment(1);
    Ok(StatusCode::NO_CONTENT)
}

fn classes(run: &Run, labels: &[String]) -> Result<Vec<i64>, ApiError> {
    let wrong = |message: String| ApiError::BadRequest("unknown_label", message);
    let classes = run.classes(labels).map_err(wrong)?;
    match (run.shape(), classes.len()) {
        (LabelShape::None, 1..) => Err(wrong("items of this index have no labels".into())),
        (LabelShape::Single, 2..) => Err(wrong("an item of this index has one label".into())),
        _ => Ok(classes),
    }
}

/// Changes the items that are served, on a worker. While they are given to another run this is refused at once, and takes no worker.
async fn change<T: Send + 'static>(
    state: &Arc<AppState>,
    change: impl FnOnce(&Run) -> Result<T, ChangeError> + Send + 'static,
) -> Result<T, ApiError> {
    let run = state.run();
    run.items()?.check_open()?;
    state.work(move || Ok(change(&run)?)).await
}

impl Thumbnail {
    /// A thumbnail of the catalogue. The same id may have another one tomorrow.
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
