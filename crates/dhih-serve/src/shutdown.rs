//! Binding, serving, and stopping: SIGINT or SIGTERM lets running requests end, for at most [`DRAIN`].

use std::{future::Future, net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, sync::watch, time::sleep};

use crate::{Error, Result};

/// How long running requests may take to end after the signal.
const DRAIN: Duration = Duration::from_secs(10);

/// Listens on `addr`; port 0 takes a free one.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).await.map_err(|source| Error::Bind { addr, source })
}

/// Serves until SIGINT or SIGTERM, then lets running requests end.
pub async fn serve(listener: TcpListener, app: Router) -> Result<()> {
    serve_until(listener, app, signal()).await
}

/// Serves until `stop` resolves, then lets running requests end, for at most ten seconds.
pub async fn serve_until(
    listener: TcpListener,
    app: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let (stopped, mut draining) = watch::channel(false);
    let graceful = axum::serve(listener, app).with_graceful_shutdown(async move {
        stop.await;
        tracing::info!("stopping: running requests may end within {DRAIN:?}");
        let _ = stopped.send(true);
    });
    let deadline = async move {
        // An error means that the server is gone, and then the other branch has already ended.
        let _ = draining.wait_for(|stopped| *stopped).await;
        sleep(DRAIN).await;
    };
    tokio::select! {
        served = async { graceful.await } => Ok(served?),
        () = deadline => {
            tracing::warn!("requests still running after {DRAIN:?} were cut off");
            Ok(())
        }
    }
}

async fn signal() {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "SIGINT cannot be watched");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(error) => {
                tracing::error!(%error, "SIGTERM cannot be watched");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! { () = interrupt => {}, () = terminate => {} }
}
