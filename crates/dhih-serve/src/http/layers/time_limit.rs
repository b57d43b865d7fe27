//! Limits the time from the header of a request to its answer.

use std::time::Duration;

use axum::extract::Request;
use axum::http::Method;
use axum::response::{IntoResponse, Response};

use crate::http::ApiError;

/// The time limit of a request, and the kind of answer once it has passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimit {
    pub(super) longest: Duration,
    is_change: bool,
}

impl TimeLimit {
    /// The time limit of a request.
    pub(super) fn of(longest: Duration, request: &Request) -> Self {
        let is_change = match *request.method() {
            Method::DELETE => true,
            _ => request.uri().path() == "/v1/items",
        };
        Self { longest, is_change }
    }

    /// The answer to a request that exceeded the limit.
    pub(super) fn passed(self) -> Response {
        match self.is_change {
            // A worker that has begun the change continues with it.
            true => ApiError::ChangeTimeout.into_response(),
            false => ApiError::Timeout.into_response(),
        }
    }
}
