//! A connection whose client must make progress. There are time limits for sending a header, for the idle time between two requests, and
//! for reading an answer.
//!
//! The time for the body of a request and for computing its answer is not limited here, but by the request's own time limit
//! (`http/layers/surround.rs`). [`Requests`] tells whether a request is in progress.
//!
//! HTTP/2 sends other frames than requests, such as pings, at any time. They do not count: the idle time of such a connection is the time
//! without a request in progress, whatever else the client sends.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Clients that read more slowly than this for a long time are disconnected, in bytes per second.
pub(super) const SLOWEST: u32 = 4096;

/// The time limits of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a TLS handshake, and for the header of a request, counted from the connection or from the first byte of the header.
    pub header: Duration,
    /// Between the end of a request and the beginning of the next one.
    pub idle: Duration,
    /// For all the time that writing an answer waits for the client. It is restored by what the client reads, at 4 KiB per second.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { header: seconds(10), idle: seconds(75), write: seconds(30) }
    }
}

/// Counts the requests of a connection: those that have begun, with their header, and those that have ended, with their answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// Whether requests share the connection at the same time (HTTP/2).
    is_multiplexed: AtomicBool,
    /// The task of the connection. An answer of HTTP/2 ends in a task of its own.
    connection: AtomicWaker,
}

/// A request that is in progress until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Requests);

impl Requests {
    pub(super) fn begin(&self) -> UnderWay {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// Notes that requests share the connection at the same time.
    pub(super) fn are_multiplexed(&self) {
        self.0.is_multiplexed.store(true, Ordering::Relaxed);
    }

    fn ended(&self) -> usize {
        self.0.ended.load(Ordering::Relaxed)
    }

    fn are_under_way(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed) > self.ended()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let counts = &self.0.0;
        counts.ended.fetch_add(1, Ordering::Relaxed);
        if counts.is_multiplexed.load(Ordering::Relaxed) {
            counts.connection.wake();
        }
    }
}

/// What the next bytes from the client belong to.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// A header or handshake, which began at this time.
    Header(Instant),
    /// A new request; the previous one ended at this time.
    Request(Instant),
    /// A request in progress.
    Body,
}

/// A stream with time limits. When one passes, reading or writing fails with [`io::ErrorKind::TimedOut`].
#[derive(Debug)]
pub(super) struct TimedStream<S> {
    stream: S,
    timeouts: Timeouts,
    requests: Requests,
    expected: Expected,
    /// The number of requests that had ended when the stream last began to wait for the client.
    ended: usize,
    read_timer: Pin<Box<Sleep>>,
    /// How much longer writing may wait for the client.
    patience: Duration,
    /// The time since which a write has been waiting for the client.
    blocked_since: Option<Instant>,
    write_timer: Pin<Box<Sleep>>,
}

impl<S> TimedStream<S> {
    /// A stream for a connection that has just been made.
    pub(super) fn new(stream: S, timeouts: Timeouts, requests: Requests) -> Self {
        let now = Instant::now();
        Self {
            stream,
            timeouts,
            requests,
            expected: Expected::Header(now),
            ended: 0,
            read_timer: Box::pin(sleep_until(now)),
            patience: timeouts.write,
            blocked_since: None,
            write_timer: Box::pin(sleep_until(now)),
        }
    }

    fn before_read(&mut self) {
        let ended = self.requests.ended();
        if self.requests.are_under_way() {
            self.expected = Expected::Body;
        } else if ended != self.ended {
            self.expected = Expected::Request(Instant::now());
        }
        self.ended = ended;
    }

    /// Fails if the client has exceeded the time limit for the expected bytes. Otherwise the task is woken when the limit passes.
    fn poll_read_timeout(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let deadline = match self.expected {
            Expected::Body => {
                self.requests.0.connection.register(context.waker());
                // An answer that ended before the waker was registered has not woken this task.
                if !self.requests.are_under_way() {
                    context.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            Expected::Header(since) => since + self.timeouts.header,
            Expected::Request(since) => since + self.timeouts.idle,
        };
        poll_deadline(self.read_timer.as_mut(), deadline, context)
    }

    /// Starts the timer for an idle connection once an answer is written.
    ///
    /// While a request is in progress, hyper reads in order to notice a closed connection. It then waits for the next bytes of the client
    /// and does not read again after the answer. The timer wakes it if no bytes come.
    fn expect_next_request(&mut self, context: &mut Context<'_>) {
        if matches!(self.expected, Expected::Body) && !self.requests.are_under_way() {
            self.before_read();
            // If the limit has already passed, wake the task: its next read returns the error.
            if self.poll_read_timeout(context).is_ready() {
                context.waker().wake_by_ref();
            }
        }
    }

    /// Accounts for a write: waiting for the client uses up its time, and progress restores it.
    fn poll_write_timeout<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Ok(written)) => {
                if let Some(since) = self.blocked_since.take() {
                    self.patience = self.patience.saturating_sub(since.elapsed());
                }
                let bytes = u32::try_from(bytes(&written)).unwrap_or(u32::MAX);
                let earned = Duration::from_secs(1) * bytes / SLOWEST;
                self.patience = (self.patience + earned).min(self.timeouts.write);
                Poll::Ready(Ok(written))
            }
            Poll::Pending => {
                let since = *self.blocked_since.get_or_insert_with(Instant::now);
                let deadline = since + self.patience;
                ready!(poll_deadline(self.write_timer.as_mut(), deadline, context))?;
                Poll::Pending
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

pub(super) fn poll_deadline(
    mut timer: Pin<&mut Sleep>,
    deadline: Instant,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    if timer.deadline() != deadline {
        timer.as_mut().reset(deadline);
    }
    ready!(timer.poll(context));
    Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.before_read();
        let filled = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                let is_first = matches!(self.expected, Expected::Request(_))
                    && !self.requests.0.is_multiplexed.load(Ordering::Relaxed);
                if is_first && buffer.filled().len() > filled {
                    self.expected = Expected::Header(Instant::now());
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => self.poll_read_timeout(context),
            failed => failed,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.poll_write_timeout(written, |bytes| *bytes, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.poll_write_timeout(written, |bytes| *bytes, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        ready!(self.poll_write_timeout(flushed, |()| 0, context))?;
        self.expect_next_request(context);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.poll_write_timeout(shut, |()| 0, context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::TimedOut;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUTS: Timeouts = Timeouts {
        header: Duration::from_secs(5),
        idle: Duration::from_secs(60),
        write: Duration::from_secs(10),
    };

    fn pair() -> (DuplexStream, TimedStream<DuplexStream>, Requests) {
        let (client, stream) = duplex(1 << 16);
        let requests = Requests::default();
        let timed = TimedStream::new(stream, TIMEOUTS, requests.clone());
        (client, timed, requests)
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_is_waited_for_less_long_than_the_next_request() {
        let (mut client, mut stream, requests) = pair();
        let started = Instant::now();
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed().as_secs()), (TimedOut, 5));

        let (mut client_2, mut stream, requests_2) = pair();
        client_2.write_all(b"ab").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
        let request = requests_2.begin();
        assert_eq!(stream.read_u8().await.unwrap(), b'b');
        // No time limit for reading applies while a request is in progress.
        let idle = tokio::time::timeout(1000 * SECOND, stream.read_u8()).await;
        assert!(idle.is_err());
        drop(request);
        let started = Instant::now();
        let read = async {
            tokio::select! {
                byte = stream.read_u8() => panic!("{byte:?}"),
                () = tokio::time::sleep(50 * SECOND) => {}
            }
            client_2.write_all(b"c").await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'c');
            stream.read_u8().await.unwrap_err()
        };
        // The connection is idle for 50 seconds, then a header stops after its first byte.
        assert_eq!((read.await.kind(), started.elapsed().as_secs()), (TimedOut, 55));

        let (_client, mut stream, requests_3) = pair();
        drop(requests_3.begin());
        let started = Instant::now();
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), TimedOut);
        assert_eq!(started.elapsed().as_secs(), 60);
        drop((client.write_all(b"").await, requests));
    }

    /// A server that already waits for bytes of the client does not read again after its answer.
    #[tokio::test(start_paused = true)]
    async fn an_answer_begins_the_time_of_an_idle_connection() {
        let (client, mut stream, requests) = pair();
        let request = requests.begin();
        let started = Instant::now();
        let mut answered = false;
        let (mut request, mut byte) = (Some(request), [0]);
        let wakes = std::future::poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut byte);
            if answered {
                return Pin::new(&mut stream).poll_read(context, &mut buffer);
            }
            assert!(Pin::new(&mut stream).poll_read(context, &mut buffer).is_pending());
            drop(request.take());
            assert!(Pin::new(&mut stream).poll_flush(context).is_ready());
            answered = true;
            Poll::Pending
        });
        let woken = tokio::time::timeout(1000 * SECOND, wakes).await.expect("it is woken");
        assert_eq!(woken.unwrap_err().kind(), TimedOut);
        assert_eq!(started.elapsed().as_secs(), 60);
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut_off() {
        let (_client, mut stream, _requests) = pair();
        let started = Instant::now();
        let error = stream.write_all(&[0; 1 << 20]).await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed().as_secs()), (TimedOut, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_served_and_one_that_trickles_is_not() {
        for (bytes_a_second, is_served) in [(8192, true), (512, false)] {
            let (mut client, mut stream, _requests) = pair();
            let reading = tokio::spawn(async move {
                let mut buffer = vec![0; bytes_a_second];
                while client.read_exact(&mut buffer).await.is_ok() {
                    tokio::time::sleep(SECOND).await;
                }
            });
            let written = stream.write_all(&[0; 1 << 20]).await;
            assert_eq!(written.is_ok(), is_served, "{written:?}");
            drop(stream);
            reading.await.unwrap();
        }
    }
}
