//! CORS headers, which let pages of allowed origins read answers. `http/origin.rs` decides which origins are allowed and what their pages
//! may change. Cookies are not part of this: such a page sends its key in a header.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::origin::AllowedOrigins;

/// The methods and headers that pages may send, and the headers of an answer that they may read.
const METHODS: &str = "GET, POST, PUT, DELETE";
const REQUEST_HEADERS: &str = "authorization, x-api-key, content-type, if-none-match, idempotency-key, range, x-request-id, traceparent";
const EXPOSED_HEADERS: &str = "location, retry-after, etag, content-disposition, idempotent-replayed, x-request-id, traceparent";
/// How long a browser caches the answer to a preflight request, in seconds.
const PREFLIGHT_MAX_AGE: &str = "7200";

/// The CORS headers of an answer.
#[derive(Debug, Clone)]
pub(super) struct Cors {
    /// The origin of the page, where it is allowed.
    origin: Option<HeaderValue>,
    /// Whether answers differ by origin.
    varies: bool,
}

impl Cors {
    /// The CORS headers for the answer to a request.
    pub(super) fn of(allowed: &AllowedOrigins, headers: &HeaderMap) -> Self {
        let origin = allowed.page(headers).cloned();
        Self { origin, varies: !allowed.is_empty() }
    }

    /// Adds the headers to an answer.
    pub(super) fn add(self, response: &mut Response) {
        let headers = response.headers_mut();
        if self.varies {
            // Caches must not give this answer to pages of other origins.
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = self.origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(EXPOSED_HEADERS),
            );
        }
    }
}

/// The answer to a preflight request of a browser for a page of an allowed origin. Such a request has no key.
pub(super) fn preflight(allowed: &AllowedOrigins, request: &Request) -> Option<Response> {
    let headers = request.headers();
    let asks = request.method() == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && allowed.page(headers).is_some();
    asks.then(|| {
        let may = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE),
        ];
        (StatusCode::NO_CONTENT, may).into_response()
    })
}
