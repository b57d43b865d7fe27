//! Connections: taken up to a number, with a time limit for handshakes and headers; and stopping, which lets running requests
//! end, for at most [`DRAIN`].

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    time::timeout,
};

use crate::operation::connection::Connection;
use crate::operation::tls::Tls;
use crate::{Error, Result};

/// How long running requests may take to end after the signal.
const DRAIN: Duration = Duration::from_secs(10);
/// How long to wait where the system has no connection to give, for want of file descriptors say.
const PAUSE: Duration = Duration::from_millis(50);

/// How connections are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerConfig {
    /// At most so many at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// Longest time for a handshake, and for a request's header.
    pub header_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { max_connections: 1024, header_timeout: Duration::from_secs(10) }
    }
}

/// Listens on `addr`; port 0 takes a free one.
///
/// # Errors
/// When the address cannot be had.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).await.map_err(|source| Error::Bind { addr, source })
}

/// Serves until `stop` resolves, then lets running requests end, for at most ten seconds. With `tls`, over TLS alone.
pub async fn serve_until(
    listener: TcpListener,
    app: Router,
    (config, tls): (ServerConfig, Option<Arc<Tls>>),
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let (graceful, places) =
        (GracefulShutdown::new(), Arc::new(Semaphore::new(config.max_connections)));
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
                tracing::warn!(%error, "no connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Answers are written whole: waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let (app, watcher, tls) = (app.clone(), graceful.watcher(), tls.clone());
        tokio::spawn(async move {
            let _place = place;
            let about = Connection { peer, tls: tls.is_some() };
            match tls {
                None => answer(stream, about, app, config, watcher).await,
                Some(tls) => {
                    match timeout(config.header_timeout, tls.acceptor().accept(stream)).await {
                        Ok(Ok(stream)) => answer(stream, about, app, config, watcher).await,
                        Ok(Err(error)) => tracing::debug!(%error, "no handshake"),
                        Err(_) => tracing::debug!("a handshake took too long"),
                    }
                }
            }
        });
    }
    drop(listener);
    tracing::info!("stopping: running requests may end within {DRAIN:?}");
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still running after {DRAIN:?} were cut off");
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    about: Connection,
    app: Router,
    config: ServerConfig,
    watcher: Watcher,
) {
    let app = TowerToHyperService::new(app);
    let app = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(about);
        app.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .serve_connection(TokioIo::new(stream), app);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Resolves at a SIGINT or SIGTERM that comes after this was called, within a Tokio runtime.
pub fn stop_signal() -> impl Future<Output = ()> + Send + 'static {
    #[cfg(unix)]
    let signals = {
        use tokio::signal::unix::{SignalKind, signal};
        let watched = |kind| {
            signal(kind).inspect_err(|error| tracing::error!(%error, "a signal cannot be watched"))
        };
        [SignalKind::interrupt(), SignalKind::terminate()].map(watched)
    };
    async {
        #[cfg(unix)]
        {
            let [mut interrupt, mut terminate] = signals.map(Result::ok);
            let next = async |signal: &mut Option<tokio::signal::unix::Signal>| match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            };
            tokio::select! { () = next(&mut interrupt) => {}, () = next(&mut terminate) => {} }
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Calls `reload` at each SIGHUP.
pub async fn on_hangup(reload: impl Fn() + Clone + Send + 'static) {
    #[cfg(unix)]
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
        Ok(mut hangup) => {
            while hangup.recv().await.is_some() {
                let reload = reload.clone();
                // What it does blocks.
                let _ = tokio::task::spawn_blocking(reload).await;
            }
        }
        Err(error) => tracing::error!(%error, "SIGHUP cannot be watched"),
    }
    #[cfg(not(unix))]
    drop(reload);
    std::future::pending::<()>().await;
}
