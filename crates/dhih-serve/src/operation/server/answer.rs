//! The body of an answer while it is written: until then its request counts as in progress.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::pace::Pace;
use super::streams::StreamPlace;
use super::timed_stream::UnderWay;

/// The most bytes of an answer that an HTTP/2 stream takes at a time. What is taken stays in memory until the client makes room for it.
const PIECE: usize = 16 << 10;

/// The body of an answer. Its request counts as in progress until the body is dropped, after it was handed over for writing.
pub(super) struct Answer {
    body: Body,
    stream: Option<Stream>,
    _under_way: UnderWay,
}

/// What an answer on an HTTP/2 stream has in addition.
struct Stream {
    /// Bytes of the body that were not handed over yet.
    rest: Bytes,
    pace: Pace,
    _place: StreamPlace,
}

impl Answer {
    /// An answer on a connection of its own.
    pub(super) fn new(body: Body, under_way: UnderWay) -> Self {
        Self { body, stream: None, _under_way: under_way }
    }

    /// An answer on an HTTP/2 stream, which is handed over in pieces.
    pub(super) fn on_stream(body: Body, under_way: UnderWay, place: StreamPlace) -> Self {
        let stream = Stream { rest: Bytes::new(), pace: Pace::of_this_stream(), _place: place };
        Self { body, stream: Some(stream), _under_way: under_way }
    }
}

impl Stream {
    /// Hands over the next piece of `rest`. The last byte of a body that has ended is a piece of its own: the stream accepts it only once the
    /// client has made room for all bytes before it, so that until then the answer has its place and its time limit.
    fn piece(&mut self, has_ended: bool) -> Frame<Bytes> {
        let left = self.rest.len();
        let bytes =
            if has_ended && (2..=PIECE).contains(&left) { left - 1 } else { left.min(PIECE) };
        let piece = self.rest.split_to(bytes);
        self.pace.hand_over(piece.len());
        Frame::data(piece)
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else {
            return Pin::new(&mut this.body).poll_frame(context);
        };
        stream.pace.taken();
        if stream.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            match frame.into_data() {
                Ok(data) => stream.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let has_ended = this.body.is_end_stream();
        Poll::Ready(Some(Ok(stream.piece(has_ended))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(|stream| stream.rest.is_empty())
            && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.stream.as_ref().map_or(0, |stream| stream.rest.len() as u64);
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(body.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::super::streams::{StreamPlaces, Turn};
    use super::super::timed_stream::Requests;
    use super::*;

    #[tokio::test]
    async fn a_stream_gets_the_same_bytes_in_pieces() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|byte| byte as u8).collect();
        let place = Turn::new(StreamPlaces::new(1)).take().await;
        let under_way = Requests::default().begin();
        let mut answer = Answer::on_stream(Body::from(bytes.clone()), under_way, place);
        assert_eq!(answer.size_hint().exact(), Some(100_000));
        let first = std::future::poll_fn(|context| Pin::new(&mut answer).poll_frame(context));
        let first = first.await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.len(), PIECE);
        assert!(!answer.is_end_stream(), "the body has ended, and the answer has not");
        assert_eq!(answer.size_hint().exact(), Some((100_000 - PIECE) as u64));
        let mut pieces = vec![first];
        while !answer.is_end_stream() {
            let piece = std::future::poll_fn(|context| Pin::new(&mut answer).poll_frame(context));
            pieces.push(piece.await.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(pieces.concat(), bytes);
        assert_eq!(
            pieces.last().map(Bytes::len),
            Some(1),
            "until the end, the client is waited for"
        );
    }
}
