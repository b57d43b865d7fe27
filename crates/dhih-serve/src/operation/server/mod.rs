//! Accepts a limited number of connections, whose clients must make progress (`timed_stream.rs`, for HTTP/2 also `pace.rs`), and shuts down
//! gracefully: requests in progress are answered first. A client begins with HTTP/1 or HTTP/2, as it likes; `streams.rs` has the limits of
//! the latter.

mod answer;
mod pace;
mod streams;
mod timed_stream;

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, Version},
};
use hyper::{
    body::Incoming,
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
    sync::{Semaphore, watch},
    time::timeout,
};

use self::answer::Answer;
use self::streams::{StreamPlaces, StreamTasks, Turn, builder};
pub use self::timed_stream::Timeouts;
use self::timed_stream::{Requests, TimedStream};
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
        let stream_places = StreamPlaces::new(config.max_connections);
        // Closed on stop, which ends TLS handshakes: they have no request yet.
        let (stopping, stopped) = watch::channel(());
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
            let (watcher, tls, mut stopped) = (graceful.watcher(), tls.clone(), stopped.clone());
            let about = Connection { peer, tls: tls.is_some() };
            let turn = Turn::new(stream_places.clone());
            let write = config.timeouts.write;
            let connection = Served { app: app.clone(), about, requests, turn, write };
            tokio::spawn(async move {
                let _place = place;
                match tls {
                    None => connection.serve(stream, watcher).await,
                    Some(tls) => {
                        let handshake = tokio::select! {
                            handshake = tls.acceptor().accept(stream) => handshake,
                            _ = stopped.changed() => return,
                        };
                        match handshake {
                            Ok(stream) => connection.serve(stream, watcher).await,
                            Err(error) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
                        }
                    }
                }
            });
        }
        drop((listener, stopping));
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
    turn: Turn,
    /// How long an answer on an HTTP/2 stream may wait for its client.
    write: Duration,
}

impl Served {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        stream: S,
        watcher: Watcher,
    ) {
        let Self { app, about, requests, turn, write } = self;
        let app = TowerToHyperService::new(app);
        let answer = service_fn(move |request: Request<Incoming>| {
            let under_way = requests.begin();
            let is_stream = request.version() == Version::HTTP_2;
            if is_stream {
                requests.are_multiplexed();
            }
            let turn = is_stream.then(|| turn.clone());
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(about);
            let app = app.clone();
            async move {
                let Some(turn) = turn else {
                    let response: Response<Body> = app.call(request).await?;
                    return Ok(response.map(|body| Answer::new(body, under_way)));
                };
                let place = turn.take().await;
                let response: Response<Body> = app.call(request).await?;
                Ok::<_, Infallible>(response.map(|body| Answer::on_stream(body, under_way, place)))
            }
        });
        let builder = builder(StreamTasks { write });
        let connection = builder.serve_connection(TokioIo::new(stream), answer);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, peer = %about.peer, "a connection ended early");
        }
    }
}
