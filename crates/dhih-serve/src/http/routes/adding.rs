//! `POST /v1/items` and `/v1/items/batch`: items are added, as a picture, a vector or a code.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::api::{ErrorAnswer, Item, ItemBody, ItemForm, ItemsBody, ItemsMade, MAX_ITEMS};
use crate::http::form::{Form, Purpose, too_many_labels};
use crate::http::json::{Kind, json, kind, unsupported};
use crate::http::routes::items::change;
use crate::http::{ApiError, AppState};
use crate::items::catalogue::Record;
use crate::items::{ChangeError, Changed, ItemId, LabelShape, NewItem};
use crate::run::Run;

/// Adds an item: a picture (multipart), or a code or a vector (JSON). Once this is answered it survives a crash, and is found.
#[utoipa::path(
    post, operation_id = "add_item", path = "/v1/items", tag = "items",
    request_body(content(
        (ItemForm = "multipart/form-data"),
        (ItemBody = "application/json"),
    )),
    responses(
        (status = 201, body = Item, description = "The item"),
        (status = 400, body = ErrorAnswer, description = "A field is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 408, body = ErrorAnswer, description = "The request took too long to arrive"),
        (status = 409, body = ErrorAnswer, description = "The id is taken"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "Not an image, or a body of another type"),
        (status = 422, body = ErrorAnswer, description = "An image or a vector that cannot be used, or the service was started without what this needs: see `search_by` of /v1/info"),
        (status = 503, body = ErrorAnswer, description = "Too many requests, another index is being opened, or nothing can be written: see Retry-After"),
        (status = 504, body = ErrorAnswer, description = "It took too long, and may be made all the same"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn add(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, ApiError> {
    let run = changeable(&state)?;
    let item = match kind(&request)?.ok_or_else(|| unsupported(""))? {
        Kind::Form => pictured(&state, &run, request).await?,
        Kind::Json => {
            let body: ItemBody = json(request).await?;
            coded(&run, body)?
        }
    };
    let made = make(&state, &run, vec![item]).await?.pop();
    let item = made.ok_or_else(|| ApiError::internal("an item got no id"))?;
    let at = [(header::LOCATION, format!("/v1/items/{}", item.id))];
    Ok((StatusCode::CREATED, at, Json(item)).into_response())
}

/// Adds up to 1000 items by their codes or vectors, all of them or none. Once this is answered they survive a crash, and are found.
#[utoipa::path(
    post, operation_id = "add_items", path = "/v1/items/batch", tag = "items",
    request_body(content = ItemsBody, content_type = "application/json"),
    responses(
        (status = 201, body = ItemsMade, description = "The items, in order"),
        (status = 400, body = ErrorAnswer, description = "A field is wrong: of which item, the message tells"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 408, body = ErrorAnswer, description = "The request took too long to arrive"),
        (status = 409, body = ErrorAnswer, description = "An id is taken"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "A body of another type"),
        (status = 422, body = ErrorAnswer, description = "A vector that cannot be used, or the service was started without what this needs: see `search_by` of /v1/info"),
        (status = 503, body = ErrorAnswer, description = "Too many requests, another index is being opened, or nothing can be written: see Retry-After"),
        (status = 504, body = ErrorAnswer, description = "It took too long, and may be made all the same"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn add_batch(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, ApiError> {
    let run = changeable(&state)?;
    let Some(Kind::Json) = kind(&request)? else {
        let message = "send application/json: several items are added by `code` or `vector`";
        return Err(ApiError::UnsupportedMediaType("unsupported_media_type", message.into()));
    };
    let ItemsBody { items } = json(request).await?;
    if !(1..=MAX_ITEMS).contains(&items.len()) {
        let count = if items.is_empty() { "no".into() } else { format!("more than {MAX_ITEMS}") };
        let message = format!("there are {count} items; give 1 to {MAX_ITEMS}");
        return Err(ApiError::BadRequest("invalid_parameter", message));
    }
    let of = run.clone();
    // The codec's map of a thousand vectors takes a while.
    let coded = state.work(move || {
        let numbered = items.into_iter().enumerate();
        let item = |(number, body)| coded(&of, body).map_err(|error| error.of_item(number));
        numbered.map(item).collect::<Result<Vec<NewItem>, ApiError>>()
    });
    let items = make(&state, &run, coded.await?).await?;
    Ok((StatusCode::CREATED, Json(ItemsMade { items })).into_response())
}

/// What is served, where it can be changed at all.
fn changeable(state: &AppState) -> Result<Arc<Run>, ApiError> {
    let run = state.run();
    match run.items()?.is_changeable() {
        true => Ok(run),
        false => Err(ApiError::ReadOnly),
    }
}

/// The item that a form brings.
async fn pictured(
    state: &Arc<AppState>,
    run: &Arc<Run>,
    request: Request,
) -> Result<NewItem, ApiError> {
    run.encoder()?;
    let Form { mut images, labels, id } =
        Form::read(request, Purpose::NewItem { labels: run.most_labels() }).await?;
    let labels = classes(run, &labels)?;
    let source = images.first_mut().and_then(|image| image.name.take());
    let keep = crate::items::thumbnail::thumbnail;
    let coded = state.pictures().encode(run, images, keep).await?.pop();
    let (made, file) = coded.ok_or_else(|| ApiError::internal("no code"))??;
    let thumbnail = file.map_err(ApiError::internal)?;
    let code = dhih_index::to_hex(&run.pack(&made.values).map_err(ApiError::internal)?);
    let record = Record { code, labels, source, vector: made.features, ..Record::default() };
    Ok(NewItem { id: id.map_or(ItemId::Next, ItemId::Free), record, thumbnail, digest: None })
}

/// The item that JSON brings. It has no picture.
fn coded(run: &Run, ItemBody { code, vector, label, id }: ItemBody) -> Result<NewItem, ApiError> {
    if label.0.len() > run.most_labels() {
        return Err(too_many_labels(run.most_labels()));
    }
    let labels = classes(run, &label.0)?;
    let (code, vector) = match (code, vector) {
        (Some(code), None) => {
            let code = run.parse_code(&code);
            (code.map_err(|e| ApiError::BadRequest("invalid_code", e))?, None)
        }
        (None, Some(vector)) => {
            let values = run.coder().values_of(&vector.0)?;
            (run.pack(&values).map_err(ApiError::internal)?, Some(vector.0))
        }
        (None, None) => {
            let message = "the body names nothing to add: give `code` or `vector`";
            return Err(ApiError::BadRequest("missing_item", message.into()));
        }
        (Some(_), Some(_)) => {
            let message = "the body has a code and a vector: give one of them, `vector` where the codec makes the code";
            return Err(ApiError::BadRequest("ambiguous_item", message.into()));
        }
    };
    let record = Record { code: dhih_index::to_hex(&code), labels, vector, ..Record::default() };
    let id = id.map_or(ItemId::Next, ItemId::Free);
    Ok(NewItem { id, record, thumbnail: Vec::new(), digest: None })
}

/// Adds items, all or none.
async fn make(
    state: &Arc<AppState>,
    before: &Arc<Run>,
    items: Vec<NewItem>,
) -> Result<Vec<Item>, ApiError> {
    let before = before.clone();
    let items = change(state, move |run| {
        // A reload in between may have brought another model or codec, whose codes are others.
        if !run.is_coded_as(&before) {
            return Err(ChangeError::Reloading);
        }
        let told = |item: &NewItem| (item.record.code.clone(), item.record.source.clone());
        let told: Vec<_> = items.iter().map(told).collect();
        let Changed { ids, index } = run.items()?.add(items)?;
        let view = run.view_of(index);
        let made = ids.into_iter().zip(told);
        Ok(made.map(|(id, (code, source))| view.item_of(id, code, source)).collect::<Vec<_>>())
    });
    let items = items.await?;
    metrics::counter!("dhih_added_total").increment(items.len() as u64);
    Ok(items)
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
