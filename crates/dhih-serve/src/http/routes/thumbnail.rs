//! Thumbnails as PNG, with what lets a browser keep them. Where a thumbnail is found is known to `run` and `gallery`.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Query},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use crate::http::{ApiError, AppState};
use crate::run::Run;
use crate::run::gallery::Set;

/// Shown where a run has no thumbnail.
const PLACEHOLDER: &[u8] = include_bytes!("../../web/placeholder.svg");

/// What a request for a thumbnail says of the one it has, or expects.
pub(crate) struct Thumbnail {
    /// The gallery's version in the URL.
    version: Option<String>,
    headers: HeaderMap,
}

#[derive(Deserialize)]
struct Version {
    v: Option<String>,
}

impl FromRequestParts<Arc<AppState>> for Thumbnail {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<AppState>,
    ) -> Result<Self, ApiError> {
        let Query(Version { v }) = Query::from_request_parts(parts, state).await?;
        Ok(Self { version: v, headers: parts.headers.clone() })
    }
}

impl Thumbnail {
    /// The headers of the request.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The thumbnail in `row` of `set`; the placeholder where there is none. A URL that names the gallery's version may
    /// be kept for ever; any other must be asked for again, because another run may answer it tomorrow. Behind a key, `rights.rs` makes
    /// of `public` a `private`.
    pub(crate) async fn respond(
        self,
        state: &AppState,
        run: &Arc<Run>,
        set: Set,
        row: Option<usize>,
    ) -> Result<Response, ApiError> {
        let version = run.version();
        let Some(row) = row.filter(|&row| run.has_thumbnail(set, row)) else {
            let headers =
                [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "no-cache")];
            return Ok((headers, PLACEHOLDER).into_response());
        };
        let kept = if self.version.as_deref() == Some(version) {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        let tag = format!("\"{version}-{}{row}\"", if set == Set::Database { 'd' } else { 'q' });
        let keep = [(header::CACHE_CONTROL, kept.to_owned()), (header::ETAG, tag.clone())];
        if matches(&self.headers, &tag) {
            return Ok((StatusCode::NOT_MODIFIED, keep).into_response());
        }
        let run = run.clone();
        let png =
            state.shared().work(move || run.png(set, row).map_err(ApiError::internal)).await?;
        Ok((keep, [(header::CONTENT_TYPE, "image/png")], png).into_response())
    }
}

/// Whether `If-None-Match` names the tag.
pub(crate) fn matches(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| matches!(one.trim().trim_start_matches("W/"), one if one == tag || one == "*"))
}
