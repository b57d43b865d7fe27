//! Accepts a limited number of connections, whose clients must make progress (`timed_stream.rs`), and shuts down gracefully: requests in
//! progress are answered first.

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

/// The pause after accepting a connection has failed, for example for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// The settings for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerConfig {
    /// The most connections at a time; further ones wait to be accepted.
    pub max_connections: usize,
    /// The time limits of clients.
    pub timeouts: Timeouts,
    /// How long requests in progress may take after the listener has closed.
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

/// Listens on `addr`; with port 0, on a free port.
///
/// # Errors
/// When the service cannot listen on the address.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).await.map_err(|source| Error::Bind { addr, source })
}

/// A router with a listener.
#[derive(Debug)]
pub struct Server {
    /// Accepts the connections.
    pub listener: TcpListener,
    /// Answers the requests.
    pub app: Router,
    /// The settings for connections.
    pub config: ServerConfig,
    /// Encrypts connections if present.
    pub tls: Option<Arc<Tls>>,
}

impl Server {
    /// Serves until `stop` resolves. Then closes the listener and waits for requests in progress, for at most [`ServerConfig::drain`].
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
            // An answer is written as a whole; Nagle's algorithm would only delay it.
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

/// An accepted connection with its router.
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
        // The stream has its own timeouts, which distinguish a slow header from an idle connection.
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), answer);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, peer = %about.peer, "a connection ended early");
        }
    }
}

/// The body of an answer. Its request counts as in progress until the body is dropped, after it was handed over for writing.
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
