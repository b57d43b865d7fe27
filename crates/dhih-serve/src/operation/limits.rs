//! What a request is held to.

use std::num::NonZeroU32;
use std::time::Duration;

/// What a request may take before it is refused.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest body, in bytes; more is a 413.
    pub max_body_bytes: usize,
    /// Bytes of bodies that are held at the same time, or one body of the largest size; what arrives beyond them is a 503. The first bytes of
    /// each body are not counted.
    pub body_memory_bytes: usize,
    /// Requests under way at most; one more is a 503 at once.
    pub max_in_flight: usize,
    /// Longest time from a request's header to its answer; more is a 408.
    pub request_timeout: Duration,
    /// Longest wait for a free worker; more is a 503.
    pub queue_timeout: Duration,
    /// Requests a second that a client may send, a key or an address; twice as many at once. More is a 429. `None` sets no limit.
    pub rate_limit: Option<NonZeroU32>,
    /// How many requests decode and search at the same time.
    pub workers: usize,
    /// How many requests wait for a store elsewhere at the same time.
    pub store_searches: usize,
    /// What a picture may measure, checked before its pixels are decoded; more is a 422.
    pub image: dhih_model::image::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 10 << 20,
            body_memory_bytes: 256 << 20,
            max_in_flight: 256,
            request_timeout: Duration::from_secs(30),
            queue_timeout: Duration::from_secs(5),
            rate_limit: None,
            workers: rayon::current_num_threads(),
            store_searches: 16,
            image: dhih_model::image::Limits::default(),
        }
    }
}
