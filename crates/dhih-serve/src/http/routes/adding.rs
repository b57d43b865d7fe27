//! `POST /v1/items` and `/v1/items/batch`: items are added, as a picture, a vector or a code. Many items as lines of JSON: `lines.rs`.

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
use crate::http::form::{Form, Purpose, too_many_labels};
use crate::http::idempotency::{Keyed, KeyedRequest, first, repeated};
use crate::http::json::{Kind, json_of, kind, unsupported};
use crate::http::routes::items::{change_coded, items_of};
use crate::http::routes::lines::{self, LinesRequest};
use crate::http::upload::{Upload, held};
use crate::http::{ApiError, AppState};
use crate::items::catalogue::Record;
use crate::items::metadata::{Attributes, Metadata, check_external_id};
use crate::items::{Answer, ItemId, LabelShape, NewItem, Outcomes};
use crate::run::Run;

/// Adds an item: a picture (multipart, or in base64 in JSON), or a code or a vector (JSON). Once this is answered it survives a crash, and is found.
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
        (status = 408, body = ErrorAnswer, description = "The request took too long to arrive"),
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
                None => coded(&run, params, body)?,
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

/// Adds items by their codes or vectors in one change, which survives a crash once it is answered. As JSON: up to 1000 items, all of them or
/// none. As lines of JSON (`application/x-ndjson`), an item on each: those that can be added, and what is wrong with the others.
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
        (status = 408, body = ErrorAnswer, description = "The request took too long to arrive"),
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
    // The codec's map of a thousand vectors takes a while.
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

/// What is served, where it can be changed at all.
fn changeable(state: &AppState) -> Result<Arc<Run>, ApiError> {
    let run = state.run();
    run.items()?.check_changeable()?;
    Ok(run)
}

/// A new item with a picture, as it came.
struct Pictured {
    image: Upload,
    labels: Vec<String>,
    id: Option<u64>,
    external_id: Option<String>,
    metadata: serde_json::Value,
}

impl Pictured {
    fn of_form(form: Form) -> Result<Self, ApiError> {
        let Form { mut images, labels, id, external_id, metadata } = form;
        let metadata = metadata.map_or(Ok(serde_json::Value::Null), |text| {
            let wrong = |error| invalid_metadata(format!("`metadata` is no JSON: {error}"));
            serde_json::from_str(&text).map_err(wrong)
        })?;
        let image = images.pop().ok_or_else(|| ApiError::internal("a form has no image"))?;
        Ok(Self { image, labels, id, external_id, metadata })
    }

    fn of_json(body: ItemBody, image: Upload) -> Result<Self, ApiError> {
        match body {
            ItemBody { code: None, vector: None, image: _, label, id, external_id, metadata } => {
                Ok(Self { image, labels: label.0, id, external_id, metadata })
            }
            _ => Err(ambiguous()),
        }
    }
}

/// The item of a picture, once that has its code.
async fn encoded(
    state: &Arc<AppState>,
    run: &Arc<Run>,
    params: AddParams,
    item: Pictured,
) -> Result<NewItem, ApiError> {
    run.encoder()?;
    let Pictured { mut image, labels, id, external_id, metadata } = item;
    if labels.len() > run.most_labels() {
        return Err(too_many_labels(run.most_labels()));
    }
    let labels = classes(run, &labels)?;
    let attributes = Some(attributes(external_id, metadata)?);
    let source = image.name.take();
    let keep = crate::items::thumbnail::thumbnail;
    let coded = state.pictures().encode(run, vec![image], keep).await?.pop();
    let (made, file) = coded.ok_or_else(|| ApiError::internal("no code"))??;
    let thumbnail = file.map_err(ApiError::internal)?;
    let code = dhih_index::to_hex(&run.pack(&made.values).map_err(ApiError::internal)?);
    let record = Record { code, labels, source, vector: made.features, ..Record::default() };
    Ok(NewItem { id: wanted_id(id, params), record, thumbnail, digest: None, attributes })
}

/// The item that JSON brings. It has no picture.
pub(super) fn coded(run: &Run, params: AddParams, body: ItemBody) -> Result<NewItem, ApiError> {
    let ItemBody { code, vector, image, label, id, external_id, metadata } = body;
    if image.is_some() {
        let message = "an item with an `image` is added alone: send it to /v1/items";
        return Err(ApiError::BadRequest("invalid_parameter", message.into()));
    }
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
            let message = "the body names nothing to add: give `image`, `code` or `vector`";
            return Err(ApiError::BadRequest("missing_item", message.into()));
        }
        (Some(_), Some(_)) => return Err(ambiguous()),
    };
    let record = Record { code: dhih_index::to_hex(&code), labels, vector, ..Record::default() };
    let attributes = Some(attributes(external_id, metadata)?);
    let id = wanted_id(id, params);
    Ok(NewItem { id, record, thumbnail: Vec::new(), digest: None, attributes })
}

fn ambiguous() -> ApiError {
    let message = "the body has more than one of an image, a code and a vector: give one of them; the code of an image and of a vector is \
                   made here";
    ApiError::BadRequest("ambiguous_item", message.into())
}

fn wanted_id(id: Option<u64>, AddParams { upsert }: AddParams) -> ItemId {
    match (id, upsert) {
        (id, true) => ItemId::Upserted(id),
        (Some(id), false) => ItemId::Free(id),
        (None, false) => ItemId::Next,
    }
}

/// What users keep with a new item, whose code is not known here.
fn attributes(
    external_id: Option<String>,
    metadata: serde_json::Value,
) -> Result<Attributes, ApiError> {
    if let Some(external_id) = &external_id {
        let checked = check_external_id(external_id);
        checked.map_err(|fault| ApiError::BadRequest("invalid_id", fault.to_string()))?;
    }
    let metadata = Metadata::new(metadata).map_err(|fault| invalid_metadata(fault.to_string()))?;
    Ok(Attributes { external_id, metadata, ..Attributes::default() })
}

fn invalid_metadata(message: String) -> ApiError {
    ApiError::BadRequest("invalid_metadata", message)
}

/// What a request to add items came to.
enum Outcome {
    Made(Vec<Item>),
    /// The answer of a request with a key: its own, or that of the same request before.
    Answered(Response),
}

/// The items of a request.
struct NewItems {
    items: Vec<NewItem>,
    /// Where it has a key.
    keyed: Option<Keyed>,
    /// What it is answered with then.
    answer: fn(Vec<Item>) -> Answer,
}

/// Adds items, all or none.
async fn make(
    state: &Arc<AppState>,
    before: &Arc<Run>,
    wanted: NewItems,
) -> Result<Outcome, ApiError> {
    let NewItems { items, keyed, answer } = wanted;
    let once = keyed.clone().map(|keyed| {
        let (run, items) = (before.clone(), items.clone());
        keyed.once(move |made| answer(told(&run, &items, made)))
    });
    let changed = change_coded(state, before, move |run| run.items()?.add_once(items, once)).await;
    let changed = match changed {
        // The same request has come twice at the same time.
        Err(ApiError::KeyUsed) => {
            let answer = repeated(state, keyed.as_ref()).await?;
            return answer.map(Outcome::Answered).ok_or(ApiError::KeyUsed);
        }
        changed => changed?,
    };
    let ids: Vec<u64> = changed.ids().collect();
    metrics::counter!("dhih_added_total").increment(ids.len() as u64);
    match first(state, keyed.as_ref()).await? {
        Some(answer) => Ok(Outcome::Answered(answer)),
        None => Ok(Outcome::Made(items_of(state, changed.index, ids).await?)),
    }
}

/// The items of a request as they are answered; of several with the same id the last one counts.
fn told(run: &Run, items: &[NewItem], made: &Outcomes) -> Vec<Item> {
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

fn classes(run: &Run, labels: &[String]) -> Result<Vec<i64>, ApiError> {
    let wrong = |message: String| ApiError::BadRequest("unknown_label", message);
    let classes = run.classes(labels).map_err(wrong)?;
    match (run.shape(), classes.len()) {
        (LabelShape::None, 1..) => Err(wrong("items of this index have no labels".into())),
        (LabelShape::Single, 2..) => Err(wrong("an item of this index has one label".into())),
        _ => Ok(classes),
    }
}
