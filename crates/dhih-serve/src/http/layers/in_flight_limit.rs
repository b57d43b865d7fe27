//! Limits the number of requests in progress. A request above the limit is refused at once.

use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::http::ApiError;

/// The bytes of a refused request that are read, and the time for that.
const DRAINED: usize = 64 << 10;
const DRAIN: Duration = Duration::from_millis(5);

/// The places for requests in progress.
#[derive(Debug)]
pub(crate) struct InFlight {
    places: Semaphore,
    most: usize,
}

impl InFlight {
    pub(crate) fn new(most: usize) -> Self {
        Self { places: Semaphore::new(most), most }
    }

    /// Takes a place until the request is answered; `None` where all are taken.
    pub(super) fn begin(&self) -> Option<SemaphorePermit<'_>> {
        self.places.try_acquire().ok()
    }

    /// The number of requests in progress.
    pub(crate) fn count(&self) -> usize {
        self.most - self.places.available_permits()
    }
}

/// Answers a request that has no place. A connection whose request was not read to its end is closed, so a small body is read first: that
/// costs less than a new connection.
pub(super) async fn refuse(request: Request) -> Response {
    let body = axum::body::to_bytes(request.into_body(), DRAINED);
    let _ = tokio::time::timeout(DRAIN, body).await;
    ApiError::Busy.into_response()
}
