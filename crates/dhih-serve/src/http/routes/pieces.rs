//! Bodies that are sent while they are made.

use std::io;

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::sync::mpsc;

/// The most pieces that wait for a slow client.
const WAITING: usize = 4;

/// A body of the pieces that are sent to the channel. An error cuts the answer off.
pub(super) fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Body) {
    let (pieces, received) = mpsc::channel(WAITING);
    let body = stream::unfold(received, async |mut received: mpsc::Receiver<_>| {
        received.recv().await.map(|piece| (piece, received))
    });
    (pieces, Body::from_stream(body))
}
