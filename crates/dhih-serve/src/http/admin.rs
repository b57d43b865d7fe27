//! The router of the admin listener: probes and metrics on an address of their own, which stays reachable however loaded the service is. It
//! answers while the service is still loading.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::get;

use crate::http::routes::info;
use crate::http::{ApiError, Collections, layers};

/// The collections that the admin listener reports on. They are absent until the service has loaded, because the listener starts first.
#[derive(Debug, Clone, Default)]
pub struct Admin(Arc<OnceLock<Collections>>);

impl Admin {
    /// Reports on `collections` from now on.
    pub fn serve(&self, collections: Collections) {
        // A service is loaded only once, so a second call changes nothing.
        let _ = self.0.set(collections);
    }

    /// The routes `/healthz`, `/readyz` and `/metrics`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/healthz", get(info::healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .fallback(unknown)
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            .layer(from_fn(layers::security_headers))
            .with_state(self.clone())
    }
}

async fn readyz(State(admin): State<Admin>) -> Response {
    match admin.0.get() {
        Some(collections) => info::readiness(collections),
        None => info::not_ready("loading"),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    info::figures(admin.0.get())
}

async fn unknown(uri: Uri) -> ApiError {
    let path = uri.path();
    ApiError::NotFound(format!(
        "there is nothing at {path}; here are /healthz, /readyz and /metrics"
    ))
}
