//! Refuses requests for another host: a page of another site whose name leads to this machine sends them.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Uri},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::{ApiError, AppState, origin::authority};
use crate::operation::hosts::{HostName, Hosts};

/// Answers only to the service's own names.
pub(crate) async fn own_host(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    match check(&state.guard().hosts, request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// The port is not compared: the service may be reached by another one than it listens on.
fn check(hosts: &Hosts, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    let Some(authority) = authority(headers, uri) else {
        return Err(ApiError::BadRequest(
            "invalid_host",
            "the request needs exactly one `host` header: name the service in it".into(),
        ));
    };
    if HostName::of(&authority).is_some_and(|name| hosts.have(&name)) {
        return Ok(());
    }
    tracing::debug!(host = authority.as_str(), "asked under another name");
    Err(ApiError::UnknownHost)
}
