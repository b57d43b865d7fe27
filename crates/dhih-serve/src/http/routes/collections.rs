//! `/v1/collections` lists, makes and removes collections. `http/dispatch.rs` routes the paths below a collection's name.

use axum::{
    Extension, Json,
    extract::{Path, Request, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use crate::api::{Collection, CollectionList, ErrorAnswer, NewCollection};
use crate::collections::{CollectionName, DEFAULT};
use crate::http::collections::Template;
use crate::http::guard::Caller;
use crate::http::json::only_json;
use crate::http::{ApiError, AppState, Collections, nothing_at};
use crate::operation::keys::Role;

/// Lists the collections that the caller may read.
#[utoipa::path(
    get, operation_id = "list_collections", path = "/v1/collections", tag = "collections",
    responses(
        (status = 200, body = CollectionList, description = "By name"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
    )
)]
pub(crate) async fn list(
    State(collections): State<Collections>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<CollectionList>, ApiError> {
    let guard = collections.shared().guard();
    // A caller who may read no collection gets an error instead of an empty list.
    guard.role(&caller)?;
    let may_read = |state: &AppState| guard.allow(&caller, Role::Read, Some(state.name())).is_ok();
    let all = collections.all();
    let shown = all.iter().filter(|state| may_read(state)).map(|state| shown(state));
    Ok(Json(CollectionList { collections: shown.collect() }))
}

/// Describes a collection. Its API has the same paths as that of `default`, below the collection's name.
#[utoipa::path(
    get, operation_id = "get_collection", path = "/v1/collections/{collection}", tag = "collections",
    params(("collection" = String, Path, description = "The collection's name")),
    responses(
        (status = 200, body = Collection, description = "The collection"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "The key is for other collections"),
        (status = 404, body = ErrorAnswer, description = "There is no such collection"),
    )
)]
pub(crate) async fn one(
    State(collections): State<Collections>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<Collection>, ApiError> {
    let name = readable(&collections, &caller, &name)?;
    let open = collections.get(name.as_str()).ok_or_else(|| no_collection(&name))?;
    Ok(Json(shown(&open.state)))
}

/// Makes a collection without items, in the folder of `--collections`. After the answer, it survives a crash.
#[utoipa::path(
    put, operation_id = "make_collection", path = "/v1/collections/{collection}", tag = "collections",
    params(("collection" = String, Path, description = "Its name: up to 64 letters, digits, `.`, `-` and `_`")),
    request_body(content = NewCollection, content_type = "application/json"),
    responses(
        (status = 201, body = Collection, description = "The collection"),
        (status = 202, description = "It takes long and goes on"),
        (status = 400, body = ErrorAnswer, description = "The name or the body is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 404, body = ErrorAnswer, description = "There is no collection that it could be like"),
        (status = 409, body = ErrorAnswer, description = "There is one of this name"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "A body of another type"),
        (status = 422, body = ErrorAnswer, description = "The service was started without --collections"),
        (status = 503, body = ErrorAnswer, description = "Too many requests: see Retry-After"),
        (status = 507, body = ErrorAnswer, description = "The disk is full"),
    )
)]
pub(crate) async fn make(
    State(collections): State<Collections>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let name = named(&name)?;
    let template = match only_json(request).await? {
        NewCollection { bits: Some(bits), like: None } => Template::Codes { bits },
        NewCollection { bits: None, like: Some(like) } => Template::Like(named(&like)?),
        _ => {
            let message = "give one of `bits` and `like`".into();
            return Err(ApiError::BadRequest("malformed_body", message));
        }
    };
    let making = collections.clone();
    let make = move || making.make(&name, &template);
    match collections.shared().work_at_length(make).await?.transpose()? {
        None => Ok(StatusCode::ACCEPTED.into_response()),
        Some(state) => {
            let made = shown(&state);
            let at = [(header::LOCATION, format!("/v1/collections/{}", made.name))];
            Ok((StatusCode::CREATED, at, Json(made)).into_response())
        }
    }
}

/// Removes a collection with all its items and files. Its snapshots remain.
#[utoipa::path(
    delete, operation_id = "remove_collection", path = "/v1/collections/{collection}", tag = "collections",
    params(("collection" = String, Path, description = "The collection's name")),
    responses(
        (status = 202, description = "It takes long and goes on"),
        (status = 204, description = "It is gone"),
        (status = 400, body = ErrorAnswer, description = "No collection has such a name"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 403, body = ErrorAnswer, description = "This service only searches, the key may not do this, or another site's page asks"),
        (status = 404, body = ErrorAnswer, description = "There is no such collection"),
        (status = 409, body = ErrorAnswer, description = "The service was started with it"),
        (status = 422, body = ErrorAnswer, description = "The service was started without --collections"),
    )
)]
pub(crate) async fn remove(
    State(collections): State<Collections>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let name = named(&name)?;
    let removing = collections.clone();
    let remove = move || removing.remove(&name);
    let removed = collections.shared().work_at_length(remove).await?.transpose()?;
    Ok(if removed.is_some() { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED })
}

/// The answer to an unknown path or a path of an unknown collection.
pub(crate) async fn unknown(
    State(collections): State<Collections>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> ApiError {
    let (prefix, path) = (collections.shared().path_prefix(), uri.path());
    let Some(rest) = path.strip_prefix("/v1/") else {
        return nothing_at(prefix, path);
    };
    let named = rest.strip_prefix("collections/").and_then(|rest| rest.split_once('/'));
    let name = named.map_or(DEFAULT, |(name, _)| name);
    readable(&collections, &caller, name)
        .map_or_else(|refused| refused, |name| no_collection(&name))
}

/// Parses the name of a collection for a caller who may read it. A caller without this right does not learn whether a name is valid.
fn readable(
    collections: &Collections,
    caller: &Caller,
    name: &str,
) -> Result<CollectionName, ApiError> {
    let name = name.parse::<CollectionName>();
    collections.shared().guard().allow(caller, Role::Read, name.as_ref().ok())?;
    name.map_err(|reason| ApiError::NoCollection(reason.to_string()))
}

fn named(name: &str) -> Result<CollectionName, ApiError> {
    name.parse().map_err(|reason| {
        ApiError::BadRequest("invalid_parameter", format!("the collection {name:?}: {reason}"))
    })
}

fn no_collection(name: &CollectionName) -> ApiError {
    ApiError::NoCollection(format!("there is no collection {name}; GET /v1/collections lists them"))
}

fn shown(state: &AppState) -> Collection {
    let run = state.run();
    let somebody_may = state.shared().guard().keys().let_somebody_change();
    Collection {
        name: state.name().to_string(),
        items: run.len(),
        bits: run.bits(),
        search_by: run.coder().search_by().to_vec(),
        writable: run.is_writable() && somebody_may,
        path: run.api_path().to_owned(),
    }
}
