//! Lets in requests that are for this service and of a caller who does not send too many; who that is, is found out once for all that
//! want to know: a [`Caller`] in the request's extensions, and the name of the key in the log.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::ApiError;
use crate::http::guard::{Caller, Guard};
use crate::http::layers::access_log::Logged;
use crate::http::layers::{cors, host, in_flight_limit};
use crate::http::shared::Shared;
use crate::operation::connection::Connection;

/// Answers only to the service's own names, names the caller, and refuses those who send too many requests, and all where too many are
/// under way. One layer, because each one copies all that it surrounds for every request.
pub(crate) async fn admit(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    match admitted(shared.guard(), &request) {
        Ok(caller) => {
            if let Some(answer) = cors::preflight(&shared.guard().origins, &request) {
                return answer;
            }
            let Some(_place) = shared.in_flight().begin() else {
                return in_flight_limit::refuse(request).await;
            };
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    }
}

fn admitted(guard: &Guard, request: &Request) -> Result<Caller, ApiError> {
    host::check(&guard.hosts, request.headers(), request.uri())?;
    let connection = request.extensions().get::<Connection>().copied();
    let caller = guard.caller(request.headers(), connection);
    if let (Some(key), Some(logged)) = (&caller.key, request.extensions().get::<Arc<Logged>>()) {
        logged.name_key(key.name.clone());
    }
    guard.count(&caller)?;
    Ok(caller)
}

/// Who sent a request.
///
/// # Errors
/// A request that [`admit`] has not seen, which is a mistake of ours: it is refused.
pub(crate) fn of(request: &Request) -> Result<&Caller, ApiError> {
    let caller = request.extensions().get::<Caller>();
    caller.ok_or_else(|| ApiError::internal("a request has no caller"))
}
