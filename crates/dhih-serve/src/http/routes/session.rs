//! `/v1/session`: the web page sends its key once and gets a cookie that scripts cannot read. Images of the page load with it, because they
//! cannot send a header.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::api::{ErrorAnswer, Session, SessionBody};
use crate::http::ApiError;
use crate::http::guard::Caller;
use crate::http::shared::Shared;
use crate::json_object::JsonObject;
use crate::operation::keys::NamedKey;

/// The largest body of `POST /v1/session`, in bytes.
pub(crate) const MAX_BODY: usize = 4 << 10;

/// Begins a session for a key. The cookie stands for the key until the browser is closed, or until 12 hours pass without a request.
#[utoipa::path(
    post, operation_id = "begin_session", path = "/v1/session", tag = "service", request_body = SessionBody,
    responses(
        (status = 200, body = Session, description = "The session's key and role; its cookie is set"),
        (status = 400, body = ErrorAnswer, description = "The body is not the JSON expected"),
        (status = 401, body = ErrorAnswer, description = "There is no such key"),
        (status = 403, body = ErrorAnswer, description = "Another site's page asks"),
        (status = 404, body = ErrorAnswer, description = "This service asks for no key"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
    )
)]
pub(crate) async fn begin(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    // A parse error of serde may contain the key.
    let body = serde_json::from_slice::<JsonObject<SessionBody>>(&body?);
    let JsonObject(body) = body.map_err(|_| {
        ApiError::BadRequest("malformed_body", "the body is not {\"key\": \"...\"}".into())
    })?;
    let (key, token) = shared.guard().begin(&caller, &body.key)?;
    let cookie = &shared.guard().cookie;
    if let Some(last) = cookie.token(&headers, caller.tls()) {
        shared.guard().sessions.end(last);
    }
    let peer = caller.connection.map(|connection| tracing::field::display(connection.peer));
    tracing::info!(key = &*key.name, peer, "session begun");
    let cookie = cookie.of(Some(&token), caller.tls()).map_err(ApiError::internal)?;
    let session = Session {
        name: Some(key.name.to_string()),
        role: key.role,
        collections: key.collections(),
    };
    Ok(([(header::SET_COOKIE, cookie)], Json(session)).into_response())
}

/// Returns the name and the role of the caller's key, which is sent in a header or by a session. Without a key: the role that anybody has.
#[utoipa::path(
    get, operation_id = "get_session", path = "/v1/session", tag = "service",
    responses(
        (status = 200, body = Session, description = "The key and its role"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
    )
)]
pub(crate) async fn session(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Session>, ApiError> {
    let role = shared.guard().role(&caller)?;
    let name = caller.key.as_ref().map(|key| key.name.to_string());
    let collections = caller.key.as_ref().and_then(NamedKey::collections);
    Ok(Json(Session { name, role, collections }))
}

/// Ends the session whose cookie the request has, if any.
#[utoipa::path(
    delete, operation_id = "end_session", path = "/v1/session", tag = "service",
    responses(
        (status = 204, description = "There is no session any more"),
        (status = 403, body = ErrorAnswer, description = "Another site's page asks"),
    )
)]
pub(crate) async fn end(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let cookie = &shared.guard().cookie;
    if let Some(token) = cookie.token(&headers, caller.tls()) {
        shared.guard().sessions.end(token);
        let key = caller.key.as_ref().map(|key| &*key.name);
        let peer = caller.connection.map(|connection| tracing::field::display(connection.peer));
        tracing::info!(key, peer, "session ended");
    }
    let cookie = cookie.of(None, caller.tls()).map_err(ApiError::internal)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}
