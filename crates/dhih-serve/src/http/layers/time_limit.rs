//! The time from a request's header to its answer is limited.

use std::time::Duration;

use axum::extract::Request;
use axum::http::Method;
use axum::response::{IntoResponse, Response};

use crate::http::ApiError;

/// How long a request may take, and what is answered where it takes longer.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimit {
    pub(super) longest: Duration,
    is_change: bool,
}

impl TimeLimit {
    /// The limit of a request.
    pub(super) fn of(longest: Duration, request: &Request) -> Self {
        let is_change = match *request.method() {
            Method::DELETE => true,
            _ => request.uri().path() == "/v1/items",
        };
        Self { longest, is_change }
    }

    /// The answer to a request that took too long.
    pub(super) fn passed(self) -> Response {
        match self.is_change {
            // What a worker has begun goes on.
            true => ApiError::ChangeTimeout.into_response(),
            false => ApiError::Timeout.into_response(),
        }
    }
}
