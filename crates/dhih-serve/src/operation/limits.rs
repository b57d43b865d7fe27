//! The limits of requests.

use std::num::NonZeroU32;
use std::time::Duration;

/// The limits of requests; a request that exceeds one is refused.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest body, in bytes; larger ones are answered by 413.
    pub max_body_bytes: usize,
    /// Bytes of bodies, and of what they take once they are parsed, that are held at the same time. They are raised to what one body of the
    /// largest size takes. Bytes that exceed them are refused by 503. The first bytes of each body are not counted.
    pub body_memory_bytes: usize,
    /// Most requests in progress; further ones are answered by 503 at once.
    pub max_in_flight: usize,
    /// Longest time from the header of a request to its answer; longer requests are answered by 408, and longer changes by 504.
    pub request_timeout: Duration,
    /// Longest wait for a free worker; longer waits are answered by 503.
    pub queue_timeout: Duration,
    /// Requests per second of a client (a key or an address), and twice as many in a burst. Further ones are answered by 429. `None` sets
    /// no limit.
    pub rate_limit: Option<NonZeroU32>,
    /// The number of requests that decode and search at the same time.
    pub workers: usize,
    /// The number of requests that wait for a remote store at the same time.
    pub store_searches: usize,
    /// The largest picture, checked before its pixels are decoded; larger ones are answered by 422.
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
