//! The streams of HTTP/2 connections: their limits, their tasks, and how many have an answer at a time.
//!
//! An answer takes memory until its client has read it. With HTTP/1 there is one for each connection, so that the limit of connections
//! limits the answers. A connection of HTTP/2 has many streams. One of them always has a place; the others share as many places as there may
//! be connections, and wait for them.

use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pace::Pace;

/// The most streams of a connection at a time. RFC 9113 recommends at least 100.
const STREAMS: u32 = 100;
/// The most bytes of the header of a request.
const HEADER_BYTES: u32 = 16 << 10;
/// How much of the bodies that nobody has read yet a client may send, in bytes: of one stream, and of all streams of a connection.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 192 << 10;
/// The most bytes of an answer that wait to be written to a connection.
const SEND_BUFFER: usize = 64 << 10;
/// A connection is closed when it has more streams than these that its client has reset before they were accepted, or that were reset
/// because of errors of the client (rapid reset, CVE-2023-44487 and CVE-2025-8671).
const RESETS_BEFORE_ACCEPTING: usize = 20;
const RESETS_AFTER_ERRORS: usize = 100;
/// How often the service looks whether the other end of a connection is still there, and how long it waits for the answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_WAIT: Duration = Duration::from_secs(20);

/// Runs the tasks of streams, which end when their clients do not read.
#[derive(Debug, Clone)]
pub(super) struct StreamTasks {
    /// How long an answer may wait for its client.
    pub(super) write: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamTasks {
    fn execute(&self, task: F) {
        let pace = Pace::new(self.write);
        tokio::spawn(async move {
            // The dropped task resets the stream.
            if !pace.limit(task).await {
                tracing::debug!("a stream was reset because its client did not read");
            }
        });
    }
}

/// Serves HTTP/1 and HTTP/2, whichever a client begins with. HTTP/1 has no timeouts here: those of the stream below distinguish a slow
/// header from an idle connection.
pub(super) fn builder(tasks: StreamTasks) -> Builder<StreamTasks> {
    let mut builder = Builder::new(tasks);
    builder.http1().header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS_BEFORE_ACCEPTING)
        .max_local_error_reset_streams(RESETS_AFTER_ERRORS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WAIT);
    builder
}

/// The places of answers that all connections share.
#[derive(Debug, Clone)]
pub(super) struct StreamPlaces(Arc<Semaphore>);

impl StreamPlaces {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }
}

/// The places of a connection: its own, and those that all share.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    own: StreamPlaces,
    shared: StreamPlaces,
}

/// The place of an answer.
#[derive(Debug)]
pub(super) struct StreamPlace(
    #[expect(dead_code, reason = "gives the place back when it is dropped")]
    Option<OwnedSemaphorePermit>,
);

impl Turn {
    pub(super) fn new(shared: StreamPlaces) -> Self {
        Self { own: StreamPlaces::new(1), shared }
    }

    /// Waits for a place.
    pub(super) async fn take(self) -> StreamPlace {
        let permit = tokio::select! {
            biased;
            own = self.own.0.acquire_owned() => own,
            shared = self.shared.0.acquire_owned() => shared,
        };
        // The semaphores are never closed.
        StreamPlace(permit.ok())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_connection_has_a_place_and_the_others_are_shared() {
        let shared = StreamPlaces::new(2);
        let [a, b] = [(); 2].map(|()| Turn::new(shared.clone()));
        let take = |turn: &Turn| turn.clone().take().now_or_never();
        let [first, second, third] = [(); 3].map(|()| take(&a).expect("there is a place"));
        assert!(take(&a).is_none());
        let own = take(&b).expect("a connection has a place of its own");
        assert!(take(&b).is_none());
        drop(second);
        let shared = take(&b).expect("a shared place is free");
        drop(own);
        assert!(take(&b).is_some() && take(&a).is_none());
        drop((first, third, shared));
    }
}
