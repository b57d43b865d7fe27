//! A service below a path prefix. The prefix is removed from requests before routing, so that routes, limits and log do not see it, and is
//! put back into redirects. Paths in answers contain it by `Run::path_prefix`.

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

/// Serves `app` below the prefix. All other paths are answered by 404.
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
            None => outside_prefix(&prefix),
        },
        // Links of the page are relative to its path, which must end with a slash.
        Some(rest) if rest.is_empty() || rest.starts_with('?') => {
            let page = [(header::LOCATION, format!("{prefix}/{rest}"))];
            (StatusCode::PERMANENT_REDIRECT, page).into_response()
        }
        _ => outside_prefix(&prefix),
    };
    headers.add(&mut own);
    own
}

/// The answer to a request outside of the prefix.
fn outside_prefix(prefix: &PathPrefix) -> Response {
    let message = format!("there is nothing here: this service is below {prefix}/");
    ApiError::NotFound(message).into_response()
}
