//! A service below a path: requests lose the prefix before they are routed, so that routes, limits and the log know nothing of it, and
//! redirections get it again. The paths in answers have it from `Run::path_prefix`.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};

use crate::http::ApiError;
use crate::http::layers::SecurityHeaders;
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
        Some(rest) if rest.starts_with('/') => match below_prefix(request.uri(), rest) {
            Some(inner) => {
                *request.uri_mut() = inner;
                return with_prefix(&prefix, next.run(request).await);
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

/// The same target with this path and query.
fn below_prefix(uri: &Uri, path_and_query: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// An answer that leads to where the prefix is needed.
fn with_prefix(prefix: &PathPrefix, mut response: Response) -> Response {
    let to = response.headers().get(header::LOCATION).map(HeaderValue::as_bytes);
    let to = to.filter(|to| to.starts_with(b"/"));
    let to = to.map(|to| HeaderValue::from_bytes(&[prefix.as_str().as_bytes(), to].concat()));
    if let Some(Ok(to)) = to {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}
