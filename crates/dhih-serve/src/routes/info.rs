//! `GET /v1/info`, `/healthz` and `/readyz`: what is served, and whether it is.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{
    AppState,
    api::{Info, MAX_K, RequestLimits},
};

pub(super) async fn info(State(state): State<Arc<AppState>>) -> Json<Info> {
    let limits = RequestLimits { body_bytes: state.limits().max_body_bytes, k: MAX_K };
    Json(state.run().info(limits))
}

/// The process answers.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Model and index are loaded and verified: a router exists only over a run that was.
pub(super) async fn readyz(State(state): State<Arc<AppState>>) -> Json<Value> {
    Json(json!({ "status": "ready", "items": state.run().len() }))
}
