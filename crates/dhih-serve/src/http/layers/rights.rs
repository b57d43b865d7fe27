//! Keys and origins: who may read, who may change, and from which pages.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::{ApiError, AppState};
use crate::operation::keys::Right;

/// Lets those read who may.
pub(crate) async fn reading(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    allowed(&state, Right::Read, request, next).await
}

/// Lets those change something who may, unless another site's page asks.
pub(crate) async fn changing(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    allowed(&state, Right::Change, request, next).await
}

async fn allowed(state: &AppState, right: Right, request: Request, next: Next) -> Response {
    match state.keys().allow(right, request.headers()) && is_same_origin(right, request.headers()) {
        true => next.run(request).await,
        false => ApiError::Unauthorized.into_response(),
    }
}

/// Whether a change was not sent by another site's page: a browser says so. Without keys nothing else would stop it.
fn is_same_origin(right: Right, headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    right == Right::Read || matches!(site, None | Some(b"same-origin" | b"none"))
}
