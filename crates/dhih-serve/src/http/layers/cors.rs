//! What lets pages of allowed origins read answers (CORS). Which origins these are, and what they may change: `http/origin.rs`. Cookies are
//! no part of it: such a page brings its key in a header.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::origin::AllowedOrigins;

/// What pages may send, and see of an answer beside its body.
const METHODS: &str = "GET, POST, PUT, DELETE";
const SENT: &str =
    "authorization, x-api-key, content-type, if-none-match, x-request-id, traceparent";
const SEEN: &str = "location, retry-after, etag, x-request-id, traceparent";
/// How long a browser remembers a preflight, in seconds.
const REMEMBERED: &str = "7200";

/// The headers of an answer that say who may read it.
#[derive(Debug, Clone)]
pub(super) struct Cors {
    /// The page's origin, where it may.
    origin: Option<HeaderValue>,
    /// Whether answers differ by origin at all.
    varies: bool,
}

impl Cors {
    /// The headers that the answer to a request carries.
    pub(super) fn of(allowed: &AllowedOrigins, headers: &HeaderMap) -> Self {
        let origin = allowed.page(headers).cloned();
        Self { origin, varies: !allowed.is_empty() }
    }

    /// Adds them.
    pub(super) fn add(self, response: &mut Response) {
        let headers = response.headers_mut();
        if self.varies {
            // Whatever keeps an answer must not give it to a page of another origin.
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = self.origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SEEN));
        }
    }
}

/// The answer to a browser that asks whether a page of an allowed origin may send a request. It brings no key yet.
pub(super) fn preflight(allowed: &AllowedOrigins, request: &Request) -> Option<Response> {
    let headers = request.headers();
    let asks = request.method() == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && allowed.page(headers).is_some();
    asks.then(|| {
        let may = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, SENT),
            (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED),
        ];
        (StatusCode::NO_CONTENT, may).into_response()
    })
}
