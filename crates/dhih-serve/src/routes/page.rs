//! The web page and its assets, built into the program.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
};

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::thumbnail::matches;

pub(super) async fn index(headers: HeaderMap) -> Response {
    asset(&headers, "text/html; charset=utf-8", include_str!("../web/index.html"))
}

pub(super) async fn script(headers: HeaderMap) -> Response {
    asset(&headers, "text/javascript; charset=utf-8", include_str!("../web/app.js"))
}

pub(super) async fn bits(headers: HeaderMap) -> Response {
    asset(&headers, "text/javascript; charset=utf-8", include_str!("../web/bits.js"))
}

pub(super) async fn style(headers: HeaderMap) -> Response {
    asset(&headers, "text/css; charset=utf-8", include_str!("../web/style.css"))
}

pub(super) async fn icon(headers: HeaderMap) -> Response {
    asset(&headers, "image/svg+xml", include_str!("../web/icon.svg"))
}

/// An asset changes only with the program: a browser may keep it, but asks each time whether it is still the same.
fn asset(request: &HeaderMap, content_type: &'static str, body: &'static str) -> Response {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let keep = [(header::CACHE_CONTROL, "no-cache".to_owned()), (header::ETAG, tag.clone())];
    if matches(request, &tag) {
        return (StatusCode::NOT_MODIFIED, keep).into_response();
    }
    (keep, [(header::CONTENT_TYPE, content_type)], body).into_response()
}
