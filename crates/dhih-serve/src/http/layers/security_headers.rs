//! Security headers of every answer: what a page may load, who may embed an answer, and how long it may be cached.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

use crate::operation::connection::Connection;
use crate::operation::resource_policy::ResourcePolicy;

const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
/// Swagger UI sets inline styles on its elements.
const DOCS_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Browsers that came over TLS use only TLS for a year.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The security headers of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SecurityHeaders {
    policy: &'static str,
    resource_policy: &'static str,
    is_tls: bool,
}

impl SecurityHeaders {
    /// The security headers for the answer to a request.
    pub(crate) fn of(request: &Request, resource_policy: ResourcePolicy) -> Self {
        let is_docs = request.uri().path().starts_with("/docs");
        let connection = request.extensions().get::<Connection>();
        Self {
            policy: if is_docs { DOCS_POLICY } else { POLICY },
            resource_policy: resource_policy.value(),
            is_tls: connection.is_some_and(|connection| connection.tls),
        }
    }

    /// Adds the headers to an answer.
    pub(crate) fn add(self, response: &mut Response) {
        let headers = response.headers_mut();
        if self.is_tls {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
        }
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, self.policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-resource-policy"), self.resource_policy),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // Answers that may be cached have set this header themselves; all others must not be stored.
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
}

/// Adds the headers to every answer of a router.
pub(crate) async fn security_headers(request: Request, next: Next) -> Response {
    let headers = SecurityHeaders::of(&request, ResourcePolicy::default());
    let mut response = next.run(request).await;
    headers.add(&mut response);
    response
}
