//! A service below a path: requests lose the prefix before they are routed, so that routes, limits and the log know nothing of it, and
//! redirections get it again. The paths in answers have it from `Run::path_prefix`.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};

use crate::http::ApiError;
use crate::http::layers::SecurityHeaders;
use crate::http::target::{lead_outside, with_path_and_query};
use crate::operation::path_prefix::PathPrefix;
use crate::operation::resource_policy::ResourcePolicy;

/// `app` below a path. Nothing answers beside it.
pub(super) fn below(prefix: &PathPrefix, app: Router) -> Router {
    if prefix.is_root() {
        return app;
    }
    let strip = from_fn_with_state(Arc::new(prefix.clone()), strip);
    Router::new().fallback_service(app).layer(strip)
}

async fn strip(
    State(prefix): State<Arc<PathPrefix>>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = SecurityHeaders::of(&request, ResourcePolicy::default());
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let mut own = match target.strip_prefix(prefix.as_str()) {
        Some(rest) if rest.starts_with('/') => match with_path_and_query(request.uri(), rest) {
            Some(inner) => {
                *request.uri_mut() = inner;
                let mut response = next.run(request).await;
                lead_outside(&mut response, "/", &format!("{prefix}/"));
                return response;
            }
            None => beside(&prefix),
        },
        // Links of the page are relative to its path, which ends in a stroke.
        Some(rest) if rest.is_empty() || rest.starts_with('?') => {
            let page = [(header::LOCATION, format!("{prefix}/{rest}"))];
            (StatusCode::PERMANENT_REDIRECT, page).into_response()
        }
        _ => beside(&prefix),
    };
    headers.add(&mut own);
    own
}

/// The answer to a request for anything else on this host and port.
fn beside(prefix: &PathPrefix) -> Response {
    let message = format!("there is nothing here: this service is below {prefix}/");
    ApiError::NotFound(message).into_response()
}
