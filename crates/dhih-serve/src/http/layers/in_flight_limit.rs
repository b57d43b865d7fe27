//! At most so many requests are under way; one more is refused at once.

use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::http::ApiError;

/// How much of a refused request is read, and for how long.
const DRAINED: usize = 64 << 10;
const DRAIN: Duration = Duration::from_millis(5);

/// Places for requests under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    places: Semaphore,
    most: usize,
}

impl InFlight {
    pub(crate) fn new(most: usize) -> Self {
        Self { places: Semaphore::new(most), most }
    }

    /// A place for a request until it is answered, where one is free.
    pub(super) fn begin(&self) -> Option<SemaphorePermit<'_>> {
        let place = self.places.try_acquire().ok()?;
        let under_way = self.most - self.places.available_permits();
        metrics::gauge!("dhih_requests_in_flight").set(under_way as f64);
        Some(place)
    }
}

/// Refuses a request that has no place. A connection whose request was not read is closed: reading a small one is less work than a new
/// connection.
pub(super) async fn refuse(request: Request) -> Response {
    let body = axum::body::to_bytes(request.into_body(), DRAINED);
    let _ = tokio::time::timeout(DRAIN, body).await;
    ApiError::Busy.into_response()
}
