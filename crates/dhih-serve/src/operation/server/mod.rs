//! Connections: a limited number at a time, whose clients must make progress (`timed_stream.rs`); and stopping, which lets the requests
//! that are under way end.

mod timed_stream;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, Response},
};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::TokioIo,
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    time::timeout,
};

pub use self::timed_stream::Timeouts;
use self::timed_stream::{Requests, TimedStream, UnderWay};
use crate::operation::connection::Connection;
use crate::operation::tls::Tls;
use crate::{Error, Result};

/// How long to wait before the next connection is accepted where accepting one failed, for want of file descriptors for example.
const PAUSE: Duration = Duration::from_millis(50);

/// How connections are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerConfig {
    /// Connections at a time; further ones wait to be accepted.
    pub max_connections: usize,
    /// How long a client may take.
    pub timeouts: Timeouts,
    /// How long requests that are under way may take to end after the listener has closed.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            timeouts: Timeouts::default(),
            drain: Duration::from_secs(10),
        }
    }
}

/// Listens on `addr`; port 0 takes a free one.
///
/// # Errors
/// When the address cannot be had.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).await.map_err(|source| Error::Bind { addr, source })
}

/// A router behind a listener.
#[derive(Debug)]
pub struct Server {
    /// Where connections come from.
    pub listener: TcpListener,
    /// What answers them.
    pub app: Router,
    /// How they are served.
    pub config: ServerConfig,
    /// Where it is given, connections are encrypted.
    pub tls: Option<Arc<Tls>>,
}

impl Server {
    /// Serves until `stop` resolves, then closes the listener and lets requests that are under way end, for at most
    /// [`ServerConfig::drain`].
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let Self { listener, app, config, tls } = self;
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(config.max_connections));
        let mut stop = std::pin::pin!(stop);
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await;
                (listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                next = next => next,
                () = &mut stop => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // An answer is written as a whole: waiting for more to send would only delay it.
            let _ = stream.set_nodelay(true);
            let requests = Requests::default();
            let stream = TimedStream::new(stream, config.timeouts, requests.clone());
            let (watcher, tls) = (graceful.watcher(), tls.clone());
            let about = Connection { peer, tls: tls.is_some() };
            let connection = Served { app: app.clone(), about, requests };
            tokio::spawn(async move {
                let _place = place;
                match tls {
                    None => connection.serve(stream, watcher).await,
                    Some(tls) => match tls.acceptor().accept(stream).await {
                        Ok(stream) => connection.serve(stream, watcher).await,
                        Err(error) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
                    },
                }
            });
        }
        drop(listener);
        let drain = config.drain;
        tracing::info!("stopping: running requests may end within {drain:?}");
        if timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests that were still running after {drain:?} were cut off");
        }
    }
}

/// A connection that was accepted, and what answers it.
struct Served {
    app: Router,
    about: Connection,
    requests: Requests,
}

impl Served {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        stream: S,
        watcher: Watcher,
    ) {
        let Self { app, about, requests } = self;
        let app = TowerToHyperService::new(app);
        let answer = service_fn(move |request: Request<Incoming>| {
            let under_way = requests.begin();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(about);
            let answer = app.call(request);
            async move {
                let response: Response<Body> = answer.await?;
                Ok::<_, std::convert::Infallible>(
                    response.map(|body| Answer { body, _under_way: under_way }),
                )
            }
        });
        // The stream has timeouts of its own, which tell a header that does not come from a connection that is idle.
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), answer);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, peer = %about.peer, "a connection ended early");
        }
    }
}

/// The body of an answer. Its request is under way until it was handed over to be written.
struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
