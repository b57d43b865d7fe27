//! Admits requests that name this service and whose caller is within its limits. The caller is determined once and put into the extensions
//! of the request as a [`Caller`]; the name of its key goes to the log.

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

/// Checks the host name, determines the caller, and applies the rate limit and the limit of requests in progress. This is one layer,
/// because every layer copies the service that it wraps for each request.
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

/// The caller of a request.
///
/// # Errors
/// When the request has not passed through [`admit`]. This is a defect of the router, and the request is refused.
pub(crate) fn of(request: &Request) -> Result<&Caller, ApiError> {
    let caller = request.extensions().get::<Caller>();
    caller.ok_or_else(|| ApiError::internal("a request has no caller"))
}
