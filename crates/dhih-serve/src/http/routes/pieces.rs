//! Bodies that are sent while they are made.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

/// The most pieces that wait for a slow client.
const WAITING: usize = 4;

type Piece = io::Result<Bytes>;

/// A body of the pieces that are sent to the channel, until the sender is dropped. An error cuts the answer off.
pub(super) fn channel() -> (mpsc::Sender<Piece>, Body) {
    let (pieces, received) = mpsc::channel(WAITING);
    (pieces, Body::new(Pieces { received, next: None, has_ended: false }))
}

/// As [`channel`], for a body that goes on until its client leaves: each piece is handed over as soon as it is there.
pub(super) fn endless_channel() -> (mpsc::Sender<Piece>, Body) {
    let (pieces, received) = mpsc::channel(WAITING);
    let body = futures_util::stream::unfold(received, async |mut received: mpsc::Receiver<_>| {
        received.recv().await.map(|piece| (piece, received))
    });
    (pieces, Body::from_stream(body))
}

/// The pieces of a body. It keeps one back until it knows whether another one follows, so that the last one is known as such:
/// `operation/server/answer.rs` holds its last byte back, in order that a client of HTTP/2 is waited for until it has made room for all.
struct Pieces {
    received: mpsc::Receiver<Piece>,
    next: Option<Piece>,
    has_ended: bool,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        while !this.has_ended {
            let Some(following) = ready!(this.received.poll_recv(context)) else {
                this.has_ended = true;
                break;
            };
            if let Some(piece) = this.next.replace(following) {
                return Poll::Ready(Some(piece.map(Frame::data)));
            }
        }
        Poll::Ready(this.next.take().map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended && self.next.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn the_last_piece_is_known_as_such() {
        let (pieces, mut body) = channel();
        assert!(!body.is_end_stream());
        for piece in [&b"one"[..], b"two", b"three"] {
            pieces.send(Ok(Bytes::from_static(piece))).await.unwrap();
        }
        drop(pieces);
        let mut received = Vec::new();
        while let Some(frame) = poll_fn(|it| Pin::new(&mut body).poll_frame(it)).await {
            received.push((frame.unwrap().into_data().unwrap(), body.is_end_stream()));
        }
        let expected = [("one", false), ("two", false), ("three", true)];
        assert_eq!(received, expected.map(|(piece, is_last)| (Bytes::from(piece), is_last)));

        let (pieces, mut body) = channel();
        pieces.send(Ok("one".into())).await.unwrap();
        pieces.send(Err(io::Error::other("the disk failed"))).await.unwrap();
        drop(pieces);
        let mut next = async || poll_fn(|it| Pin::new(&mut body).poll_frame(it)).await;
        assert!(next().await.unwrap().is_ok());
        assert!(next().await.unwrap().is_err());
    }
}
