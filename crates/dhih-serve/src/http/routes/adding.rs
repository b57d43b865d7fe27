//! `POST /v1/items` and `/v1/items/batch` add items, given as a picture, a vector or a code (`new_item.rs`). `lines.rs` adds lines of JSON.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::api::{
    AddParams, ErrorAnswer, Item, ItemBody, ItemForm, ItemsBody, ItemsMade, LinesMade, MAX_ITEMS,
};
use crate::http::form::{Form, Purpose};
use crate::http::json::{Kind, json, kind, unsupported};
use crate::http::routes::items::{change_coded, items_of};
use crate::http::routes::lines;
use crate::http::routes::new_item::{Pictured, coded, encoded};
use crate::http::upload::{Upload, held};
use crate::http::{ApiError, AppState};
use crate::items::NewItem;
use crate::run::Run;

/// Adds an item: a picture (multipart, or base64 in JSON), or a code or a vector (JSON). After the answer, the item can be found and
/// survives a crash.
#[utoipa::path(
    post, operation_id = "add_item", path = "/v1/items", tag = "items", params(AddParams),
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
        (status = 409, body = ErrorAnswer, description = "The id, or the external id, is taken"),
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
    params: Result<Query<AddParams>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Query(params) = params?;
    let run = changeable(&state)?;
    let item = match kind(&request)?.ok_or_else(|| unsupported(""))? {
        Kind::Form => {
            run.encoder()?;
            let form = Form::read(request, Purpose::NewItem { labels: run.most_labels() }).await?;
            encoded(&state, &run, params, Pictured::of_form(form)?).await?
        }
        Kind::Json => {
            let held = held(&request);
            let mut body: ItemBody = json(request).await?;
            match body.image.take() {
                Some(image) => {
                    let item = Pictured::of_json(body, Upload::new(image.0, held)?)?;
                    encoded(&state, &run, params, item).await?
                }
                None => coded(&run, params, body)?,
            }
        }
        Kind::Lines => {
            return Err(unsupported("lines of JSON are taken at /v1/items/batch; here, "));
        }
        Kind::Picture => return Err(unsupported("a picture alone is not taken here: ")),
    };
    let made = make(&state, &run, vec![item]).await?.pop();
    let item = made.ok_or_else(|| ApiError::internal("an item got no id"))?;
    let at = [(header::LOCATION, format!("/v1/items/{}", item.id))];
    Ok((StatusCode::CREATED, at, Json(item)).into_response())
}

/// Adds items by their codes or vectors in one change, which survives a crash once it is answered. JSON brings up to 1000 items, of which
/// all or none are added. JSON Lines (`application/x-ndjson`) bring one item on each line; those without faults are added, and the answer
/// lists the faults of the others.
#[utoipa::path(
    post, operation_id = "add_items", path = "/v1/items/batch", tag = "items", params(AddParams),
    request_body(content(
        (ItemsBody = "application/json"),
        (String = "application/x-ndjson"),
    )),
    responses(
        (status = 200, body = LinesMade, description = "What became of each line"),
        (status = 201, body = ItemsMade, description = "The items, in order"),
        (status = 400, body = ErrorAnswer, description = "A field is wrong: of which item, the message tells"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 408, body = ErrorAnswer, description = "The request took too long to arrive"),
        (status = 409, body = ErrorAnswer, description = "An id, or an external id, is taken"),
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
    params: Result<Query<AddParams>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Query(params) = params?;
    let run = changeable(&state)?;
    match kind(&request)? {
        Some(Kind::Json) => {}
        Some(Kind::Lines) => return lines::add(&state, &run, params, request).await,
        _ => {
            let message = "send application/json or application/x-ndjson: several items are added by `code` or `vector`";
            return Err(ApiError::UnsupportedMediaType("unsupported_media_type", message.into()));
        }
    }
    let ItemsBody { items } = json(request).await?;
    if !(1..=MAX_ITEMS).contains(&items.len()) {
        let count = if items.is_empty() { "no".into() } else { format!("more than {MAX_ITEMS}") };
        let message = format!("there are {count} items; give 1 to {MAX_ITEMS}");
        return Err(ApiError::BadRequest("invalid_parameter", message));
    }
    let of = run.clone();
    // Encoding a thousand vectors by the codec takes too long for the async runtime.
    let coded = state.shared().work(move || {
        let numbered = items.into_iter().enumerate();
        let item = |(number, body)| coded(&of, params, body).map_err(|error| error.of_item(number));
        numbered.map(item).collect::<Result<Vec<NewItem>, ApiError>>()
    });
    let items = make(&state, &run, coded.await?).await?;
    Ok((StatusCode::CREATED, Json(ItemsMade { items })).into_response())
}

/// The current run, if its items can be changed.
fn changeable(state: &AppState) -> Result<Arc<Run>, ApiError> {
    let run = state.run();
    run.items()?.check_changeable()?;
    Ok(run)
}

/// Adds all of the items, or none.
async fn make(
    state: &Arc<AppState>,
    before: &Arc<Run>,
    items: Vec<NewItem>,
) -> Result<Vec<Item>, ApiError> {
    let changed = change_coded(state, before, move |run| run.items()?.add(items)).await?;
    let ids: Vec<u64> = changed.ids().collect();
    metrics::counter!("dhih_added_total").increment(ids.len() as u64);
    items_of(state, changed.index, ids).await
}
