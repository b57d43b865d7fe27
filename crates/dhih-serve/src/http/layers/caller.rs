//! Finds out who sends a request, once for all that want to know: a [`Caller`] in its extensions, and the name of the key in the log.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::guard::Caller;
use crate::http::layers::access_log::Logged;
use crate::http::{ApiError, AppState};
use crate::operation::connection::Connection;

/// Names the caller.
pub(crate) async fn identify(
    State(state): State<Arc<AppState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let connection = request.extensions().get::<Connection>().copied();
    let caller = state.guard().caller(request.headers(), connection);
    if let (Some(key), Some(logged)) = (&caller.key, request.extensions().get::<Arc<Logged>>()) {
        logged.name_key(key.name.clone());
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Refuses the requests of a caller who sends too many.
pub(crate) async fn rate_limit(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    match of(&request).and_then(|caller| state.guard().count(caller)) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Who sent a request.
///
/// # Errors
/// A request that [`identify`] has not seen, which is a mistake of ours: it is refused.
pub(crate) fn of(request: &Request) -> Result<&Caller, ApiError> {
    let caller = request.extensions().get::<Caller>();
    caller.ok_or_else(|| ApiError::internal("a request has no caller"))
}
