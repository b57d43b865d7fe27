//! At most so many requests are under way; one more is refused at once.

use std::sync::Arc;
use std::time::Duration;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;

use crate::http::ApiError;

/// How much of a refused request is read, and for how long.
const DRAINED: usize = 64 << 10;
const DRAIN: Duration = Duration::from_millis(5);

/// Places for requests under way.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    places: Arc<Semaphore>,
    most: usize,
}

impl InFlight {
    pub(crate) fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), most }
    }
}

/// Refuses a request at once where as many are under way as may be.
pub(crate) async fn in_flight_limit(
    State(in_flight): State<InFlight>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(_place) = in_flight.places.try_acquire() else {
        // A connection whose request was not read is closed: reading a small one is less work than a new connection.
        let body = axum::body::to_bytes(request.into_body(), DRAINED);
        let _ = tokio::time::timeout(DRAIN, body).await;
        return ApiError::Busy.into_response();
    };
    let under_way = in_flight.most - in_flight.places.available_permits();
    metrics::gauge!("dhih_requests_in_flight").set(under_way as f64);
    next.run(request).await
}
