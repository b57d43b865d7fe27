//! Layers that check keys and origins: who may read, who may change, and from which pages. Each change is logged with its caller.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::collections::CollectionName;
use crate::http::ApiError;
use crate::http::guard::Caller;
use crate::http::layers::caller;
use crate::http::layers::change_log::ChangeLog;
use crate::http::origin::Origin;
use crate::http::shared::Shared;
use crate::operation::keys::Role;

/// The rights to check: on a collection or, without one, on the service as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) shared: Arc<Shared>,
    pub(crate) collection: Option<CollectionName>,
}

impl Gate {
    fn allow(&self, caller: &Caller, needed: Role) -> Result<(), ApiError> {
        self.shared.guard().allow(caller, needed, self.collection.as_ref())
    }
}

/// Requires the right to read. If reading needs a key, shared caches must not store the answer.
pub(crate) async fn reading(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    read(&gate, Role::Read, request, next).await
}

/// Requires the right to replicate. If reading needs a key, shared caches must not store the answer.
pub(crate) async fn replicating(
    State(gate): State<Gate>,
    request: Request,
    next: Next,
) -> Response {
    read(&gate, Role::Replicate, request, next).await
}

async fn read(gate: &Gate, needed: Role, request: Request, next: Next) -> Response {
    if let Err(refused) = caller::of(&request).and_then(|caller| gate.allow(caller, needed)) {
        return refused.into_response();
    }
    let guarded = gate.shared.guard().keys().guard_reading();
    let mut response = next.run(request).await;
    if guarded {
        make_private(&mut response);
    }
    response
}

/// Requires the right to add and delete, and refuses pages of other sites.
pub(crate) async fn writing(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    change(&gate, Role::Write, request, next).await
}

/// Requires the right to replicate, and refuses pages of other sites.
pub(crate) async fn succeeding(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    change(&gate, Role::Replicate, request, next).await
}

/// Requires the right of an administrator, and refuses pages of other sites.
pub(crate) async fn administering(
    State(gate): State<Gate>,
    request: Request,
    next: Next,
) -> Response {
    change(&gate, Role::Admin, request, next).await
}

/// Requires no right, but refuses pages of other sites, including those of allowed origins.
pub(crate) async fn own_pages(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let allowed = caller::of(&request)
        .and_then(|caller| origin(&shared, &request, caller).may_have_session(caller.credential()));
    match allowed {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

async fn change(gate: &Gate, needed: Role, request: Request, next: Next) -> Response {
    let caller = match caller::of(&request) {
        Ok(caller) => caller.clone(),
        Err(refused) => return refused.into_response(),
    };
    let allowed = origin(&gate.shared, &request, &caller).may_change(caller.credential());
    if let Err(refused) = allowed.and_then(|()| gate.allow(&caller, needed)) {
        return refused.into_response();
    }
    // Lists for administrators take the same right and change nothing.
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let log = ChangeLog::begin(&request, caller, gate.collection.clone());
    let response = next.run(request).await;
    log.end(&response);
    response
}

fn origin(shared: &Shared, request: &Request, caller: &Caller) -> Origin {
    shared.guard().origins.origin(request.headers(), request.uri(), caller.tls())
}

/// Makes a cacheable answer cacheable by the client only.
fn make_private(response: &mut Response) {
    let kept = response.headers().get(header::CACHE_CONTROL).and_then(|kept| kept.to_str().ok());
    let Some(kept) = kept else { return };
    let kept = format!("private, {}", kept.strip_prefix("public, ").unwrap_or(kept));
    let kept = HeaderValue::try_from(kept).unwrap_or(HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::CACHE_CONTROL, kept);
}
