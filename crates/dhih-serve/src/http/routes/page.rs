//! The web page and its assets, which are compiled into the program.

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::http::routes::thumbnail::matches;
use crate::run::digest;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The path, media type and content of each asset.
const ASSETS: [(&str, &str, &str); 17] = [
    ("/", HTML, include_str!("../../web/index.html")),
    ("/api.js", SCRIPT, include_str!("../../web/api.js")),
    ("/app.js", SCRIPT, include_str!("../../web/app.js")),
    ("/ask.js", SCRIPT, include_str!("../../web/ask.js")),
    ("/bits.js", SCRIPT, include_str!("../../web/bits.js")),
    ("/collections.js", SCRIPT, include_str!("../../web/collections.js")),
    ("/dialog.js", SCRIPT, include_str!("../../web/dialog.js")),
    ("/dom.js", SCRIPT, include_str!("../../web/dom.js")),
    ("/fields.js", SCRIPT, include_str!("../../web/fields.js")),
    ("/filter.js", SCRIPT, include_str!("../../web/filter.js")),
    ("/items.js", SCRIPT, include_str!("../../web/items.js")),
    ("/key.js", SCRIPT, include_str!("../../web/key.js")),
    ("/request.js", SCRIPT, include_str!("../../web/request.js")),
    ("/results.js", SCRIPT, include_str!("../../web/results.js")),
    ("/state.js", SCRIPT, include_str!("../../web/state.js")),
    ("/style.css", STYLE, include_str!("../../web/style.css")),
    ("/icon.svg", SVG, include_str!("../../web/icon.svg")),
];

/// The routes of the page and its assets.
pub(crate) fn assets<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let add = |router: Router<S>, (path, kind, body): (&str, &'static str, &'static str)| {
        router.route(path, get(async move |headers: HeaderMap| asset(&headers, kind, body)))
    };
    ASSETS.into_iter().fold(Router::new(), add)
}

/// Answers with an asset. Assets change only with the program, so that a browser may cache them but revalidates on each use.
fn asset(request: &HeaderMap, content_type: &'static str, body: &'static str) -> Response {
    let tag = format!("\"{:016x}\"", digest(body.as_bytes()));
    let keep = [(header::CACHE_CONTROL, "no-cache".to_owned()), (header::ETAG, tag.clone())];
    if matches(request, &tag) {
        return (StatusCode::NOT_MODIFIED, keep).into_response();
    }
    (keep, [(header::CONTENT_TYPE, content_type)], body).into_response()
}
