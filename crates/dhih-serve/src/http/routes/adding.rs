//! `POST /v1/items` and `/v1/items/batch` add items, given as a picture, a vector or a code (`new_item.rs`). `lines.rs` adds lines of JSON.

use std::collections::HashMap;
use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Query, Request, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::api::{
    AddParams, ErrorAnswer, Item, ItemBody, ItemForm, ItemsBody, ItemsMade, LinesMade, MAX_ITEMS,
};
use crate::http::form::{Form, Purpose};
use crate::http::idempotency::{Keyed, KeyedRequest, answered_meanwhile, first, repeated};
use crate::http::json::{Kind, json_of, kind, unsupported};
use crate::http::routes::items::change_coded;
use crate::http::routes::lines::{self, LinesRequest};
use crate::http::routes::new_item::{Pictured, coded, encoded};
use crate::http::upload::{Upload, held};
use crate::http::{ApiError, AppState};
use crate::items::{Answer, NewItem, Outcomes};
use crate::run::Run;

/// Adds an item: a picture (multipart, or base64 in JSON), or a code or a vector (JSON). After the answer, the item can be found and
/// survives a crash.
#[utoipa::path(
    post, operation_id = "add_item", path = "/v1/items", tag = "items",
    params(AddParams, ("idempotency-key" = Option<String>, Header, description = "A key of the request's own: sent again within a day, the request is not made again, and is answered as it was")),
    request_body(content(
        (ItemForm = "multipart/form-data"),
        (ItemBody = "application/json"),
    )),
    responses(
        (status = 201, body = Item, description = "The item"),
        (status = 400, body = ErrorAnswer, description = "A field is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 409, body = ErrorAnswer, description = "The id, or the external id, is taken, or a request with the same key is being made"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "Not an image, or a body of another type"),
        (status = 422, body = ErrorAnswer, description = "An image or a vector that cannot be used, the key came with another request, or the service was started without what this needs: see `search_by` of /v1/info"),
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
    let key = KeyedRequest::of(&request)?;
    let (item, keyed) = match kind(&request)?.ok_or_else(|| unsupported(""))? {
        Kind::Form => {
            run.encoder()?;
            let form = Form::read(request, Purpose::NewItem { labels: run.most_labels() }).await?;
            let keyed = key.map(|key| key.with_form(&form));
            if let Some(answer) = repeated(&state, keyed.as_ref()).await? {
                return Ok(answer);
            }
            (encoded(&state, &run, params, Pictured::of_form(form)?).await?, keyed)
        }
        Kind::Json => {
            let held = held(&request);
            let bytes = Bytes::from_request(request, &()).await?;
            let keyed = key.map(|key| key.with_body(&bytes));
            if let Some(answer) = repeated(&state, keyed.as_ref()).await? {
                return Ok(answer);
            }
            let mut body: ItemBody = json_of(bytes).await?;
            let item = match body.image.take() {
                Some(image) => {
                    let item = Pictured::of_json(body, Upload::new(image.0, held)?)?;
                    encoded(&state, &run, params, item).await?
                }
                None if body.vector.is_none() => coded(&run, params, body)?,
                None => {
                    let of = run.clone();
                    // Encoding by the codec takes too long for the async runtime.
                    state.shared().work(move || coded(&of, params, body)).await?
                }
            };
            (item, keyed)
        }
        Kind::Lines => {
            return Err(unsupported("lines of JSON are taken at /v1/items/batch; here, "));
        }
        Kind::Picture => return Err(unsupported("a picture alone is not taken here: ")),
    };
    let wanted = NewItems { items: vec![item], keyed, answer: one_answer };
    let made = match make(&state, &run, wanted).await? {
        Outcome::Made(mut items) => items.pop(),
        Outcome::Answered(answer) => return Ok(answer),
    };
    let item = made.ok_or_else(|| ApiError::internal("an item got no id"))?;
    let at = [(header::LOCATION, format!("/v1/items/{}", item.id))];
    Ok((StatusCode::CREATED, at, Json(item)).into_response())
}

/// Adds items by their codes or vectors in one change, which survives a crash once it is answered. JSON brings up to 1000 items, of which
/// all or none are added. JSON Lines (`application/x-ndjson`) bring one item on each line; those without faults are added, and the answer
/// lists the faults of the others.
#[utoipa::path(
    post, operation_id = "add_items", path = "/v1/items/batch", tag = "items",
    params(AddParams, ("idempotency-key" = Option<String>, Header, description = "A key of the request's own: sent again within a day, the request is not made again, and is answered as it was")),
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
        (status = 409, body = ErrorAnswer, description = "An id, or an external id, is taken, or a request with the same key is being made"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "A body of another type"),
        (status = 422, body = ErrorAnswer, description = "A vector that cannot be used, the key came with another request, or the service was started without what this needs: see `search_by` of /v1/info"),
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
    let key = KeyedRequest::of(&request)?;
    match kind(&request)? {
        Some(Kind::Json) => {}
        Some(Kind::Lines) => {
            return lines::add(&state, &run, LinesRequest { request, params, key }).await;
        }
        _ => {
            let message = "send application/json or application/x-ndjson: several items are added by `code` or `vector`";
            return Err(ApiError::UnsupportedMediaType("unsupported_media_type", message.into()));
        }
    }
    let bytes = Bytes::from_request(request, &()).await?;
    let keyed = key.map(|key| key.with_body(&bytes));
    if let Some(answer) = repeated(&state, keyed.as_ref()).await? {
        return Ok(answer);
    }
    let ItemsBody { items } = json_of(bytes).await?;
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
    let wanted = NewItems { items: coded.await?, keyed, answer: all_answer };
    match make(&state, &run, wanted).await? {
        Outcome::Made(items) => {
            Ok((StatusCode::CREATED, Json(ItemsMade { items })).into_response())
        }
        Outcome::Answered(answer) => Ok(answer),
    }
}

/// The current run, if its items can be changed.
fn changeable(state: &AppState) -> Result<Arc<Run>, ApiError> {
    let run = state.run();
    run.items()?.check_changeable()?;
    Ok(run)
}

/// The outcome of a request to add items.
enum Outcome {
    Made(Vec<Item>),
    /// The answer to a request with an idempotency key: the one that was just stored, or an earlier one.
    Answered(Response),
}

/// The items of a request, and how to answer it.
struct NewItems {
    items: Vec<NewItem>,
    /// The idempotency key, if the request has one.
    keyed: Option<Keyed>,
    /// Makes the answer that is stored for the idempotency key.
    answer: fn(Vec<Item>) -> Answer,
}

/// Adds all items of a request, or none of them.
async fn make(
    state: &Arc<AppState>,
    before: &Arc<Run>,
    wanted: NewItems,
) -> Result<Outcome, ApiError> {
    let NewItems { items, keyed, answer } = wanted;
    let once = keyed.clone().map(|keyed| {
        let (run, items) = (before.clone(), items.clone());
        keyed.once(move |made| answer(described(&run, &items, made)))
    });
    let stored = keyed.clone();
    let made = change_coded(state, before, move |run| {
        let changed = run.items()?.add_once(items, once)?;
        let ids: Vec<u64> = changed.ids().collect();
        metrics::counter!("dhih_added_total").increment(ids.len() as u64);
        match first(run, stored.as_ref())? {
            Some(answer) => Ok(Outcome::Answered(answer)),
            None => Ok(Outcome::Made(run.view_of(changed.index).items(&ids)?)),
        }
    });
    match made.await {
        Err(refused) => {
            answered_meanwhile(state, keyed.as_ref(), refused).await.map(Outcome::Answered)
        }
        made => made,
    }
}

/// The items of the answer. If several items of the request have the same id, the last one is shown, because it replaced the others.
fn described(run: &Run, items: &[NewItem], made: &Outcomes) -> Vec<Item> {
    let ids: Vec<u64> = made.iter().flatten().map(|made| made.id).collect();
    let last: HashMap<u64, &NewItem> = ids.iter().copied().zip(items).collect();
    ids.iter().filter_map(|id| run.new_item(*id, last.get(id)?).ok()).collect()
}

fn one_answer(mut items: Vec<Item>) -> Answer {
    let item = items.pop();
    let location = item.as_ref().map(|item| format!("/v1/items/{}", item.id));
    Answer { status: 201, body: serde_json::json!(item).to_string(), location }
}

fn all_answer(items: Vec<Item>) -> Answer {
    let body = serde_json::json!(ItemsMade { items }).to_string();
    Answer { status: 201, body, location: None }
}
