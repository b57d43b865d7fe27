//! Rewrites the targets of requests that are routed under another path than they were sent to, and the redirects in their answers.

use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;

/// The same URI with another path and query.
pub(super) fn with_path_and_query(uri: &Uri, path_and_query: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Replaces the prefix `inner` of the `location` header by `outer`. A location with another prefix is unchanged.
pub(super) fn lead_outside(response: &mut Response, inner: &str, outer: &str) {
    let to = response.headers().get(header::LOCATION).map(HeaderValue::as_bytes);
    let rest = to.and_then(|to| to.strip_prefix(inner.as_bytes()));
    let to = rest.map(|rest| HeaderValue::from_bytes(&[outer.as_bytes(), rest].concat()));
    if let Some(Ok(to)) = to {
        response.headers_mut().insert(header::LOCATION, to);
    }
}
