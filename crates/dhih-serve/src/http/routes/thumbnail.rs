//! Thumbnails as PNG, with headers for caching. `run` and `gallery` locate the thumbnails.

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

/// The image in place of a missing thumbnail.
const PLACEHOLDER: &[u8] = include_bytes!("../../web/placeholder.svg");

/// The cache headers and the gallery version in a request for a thumbnail.
pub(crate) struct Thumbnail {
    /// The version of the gallery in the URL.
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

    /// Answers with the thumbnail in `row` of `set`, or with the placeholder where there is none. A URL with the version of the gallery may
    /// be cached forever. Any other must be revalidated, because another run may answer it later. If reading needs a key, `rights.rs`
    /// replaces `public` by `private`.
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

/// Whether `If-None-Match` contains the tag.
pub(crate) fn matches(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| matches!(one.trim().trim_start_matches("W/"), one if one == tag || one == "*"))
}
