//! The life of the service: starts signals, admin listener, runs and listener in order, and shuts them down.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::http::{Admin, Collections, Shared, app};
use crate::operation::cli::Config;
use crate::operation::keys::Keys;
#[cfg(feature = "otel")]
use crate::operation::otel::Spans;
use crate::operation::server::{Server, ServerConfig, bind};
use crate::operation::signals::Signals;
#[cfg(feature = "postgres")]
use crate::operation::store_watch::StoreWatch;
use crate::operation::supervisor;
use crate::operation::tls::Tls;
use crate::run::source::Served;
use crate::{Error, Result};

/// How long work that no request waits for may delay the end of the process.
const LAST_WORK: Duration = Duration::from_secs(1);
/// The most connections of the admin listener.
const ADMIN_CONNECTIONS: usize = 64;

/// Serves until a signal stops the service.
///
/// # Errors
/// When a run cannot be served, the address is not available, or the certificate cannot be used.
pub fn serve(config: Config, served: Option<Served>, keys: Keys) -> Result<()> {
    // There are as many threads for requests as for computations; `--threads` limits both.
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(rayon::current_num_threads()).enable_all().build();
    let runtime = runtime.map_err(|source| Error::System { what: "threads", source })?;
    let ended = runtime.block_on(start(Arc::new(config), served, keys));
    // A reload or a change in progress is abandoned. Acknowledged changes are on disk.
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

async fn start(config: Arc<Config>, served: Option<Served>, keys: Keys) -> Result<()> {
    // Signals are watched first: one that arrives while the runs are loaded must neither be lost nor kill the process.
    let signals = Signals::watch().map_err(|source| Error::System { what: "signals", source })?;
    #[cfg(feature = "otel")]
    let spans = Spans::begin().map_err(|reason| Error::Spans { reason })?;
    let tls = config.tls().map(Tls::load).transpose()?.map(Arc::new);
    if let Some(tls) = &tls {
        tokio::spawn(tls.clone().watch());
    }
    let admin = Admin::default();
    if let Some(address) = config.admin_bind {
        let listener = bind(address).await?;
        let config = ServerConfig { max_connections: ADMIN_CONNECTIONS, ..config.server() };
        let server = Server { listener, app: admin.router(), config, tls: None };
        tokio::spawn(server.run(std::future::pending()));
    }
    let mut followers = Vec::new();
    if let Some(following) = config.following().map_err(|reason| Error::Follow { reason })? {
        followers = tokio::select! {
            begun = following.begin() => begun?,
            () = signals.stopped(1) => {
                tracing::info!("stopped before there was a copy of the primary");
                return Ok(());
            }
        };
    }
    let settings = config.clone();
    let load = move || {
        let hosts = settings.hosts(&keys);
        let shared = Shared::new(settings.limits(), keys, settings.queue()).with_hosts(hosts);
        let shared = shared.with_allowed_origins(settings.cors_origin.clone());
        let shared = shared.with_links(settings.link_template.clone());
        let shared = shared.with_resource_policy(settings.resource_policy);
        let shared = shared.with_max_lag(settings.max_lag());
        let shared = shared.with_path_prefix(settings.path_prefix.clone());
        Collections::open(Arc::new(shared), settings.collections(served))
    };
    let collections = tokio::select! {
        loaded = spawn_blocking(load) => loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?,
        () = signals.stopped(1) => {
            tracing::info!("stopped while the run was being loaded");
            return Ok(());
        }
    };
    let listener = bind(config.bind).await?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address =
        listener.local_addr().map_err(|source| Error::Bind { addr: config.bind, source })?;
    admin.serve(collections.clone());
    for (name, follower) in followers {
        if let Some(open) = collections.get(name.as_str()) {
            follower.spawn(open.state);
        }
    }
    let reloading =
        reload_at_hangups(signals.clone(), config.clone(), collections.clone(), tls.clone());
    #[cfg(feature = "postgres")]
    for state in collections.all() {
        if state.run().is_remote() {
            StoreWatch::new(state).spawn();
        }
    }
    // A closed stdout does not stop the service.
    let announcement =
        config.announcement(&format!("{scheme}://{address}{}/", config.path_prefix), &collections);
    let _ = writeln!(std::io::stdout(), "{announcement}");
    supervisor::ready();
    let server = Server { listener, app: app(collections.clone()), config: config.server(), tls };
    let stop = async {
        signals.stopped(1).await;
        supervisor::stopping();
        collections.shared().stop_soon();
        tokio::time::sleep(config.drain_delay()).await;
    };
    tokio::select! {
        () = server.run(stop) => {
            #[cfg(feature = "otel")]
            if let Some(spans) = spans {
                // A panic of the thread leaves nothing to send.
                let _ = spawn_blocking(|| spans.end()).await;
            }
        }
        () = signals.stopped(2) => tracing::warn!("told to stop a second time: requests were cut off"),
    }
    reloading.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Reloads at each SIGHUP, one reload after the other. Several signals during a reload cause one further reload.
fn reload_at_hangups(
    mut signals: Signals,
    config: Arc<Config>,
    collections: Collections,
    tls: Option<Arc<Tls>>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            signals.hangup().await;
            supervisor::reloading();
            let (config, collections, tls) = (config.clone(), collections.clone(), tls.clone());
            let reload = spawn_blocking(move || {
                if let Err(error) = config.reload_keys(collections.shared()) {
                    tracing::error!(
                        error,
                        "the keys were not read again, so that the old ones stay in force"
                    );
                }
                let certificate = tls.as_ref().map_or(Ok(()), |tls| tls.reload());
                for error in certificate.err().into_iter().chain(collections.reload()) {
                    tracing::error!(%error, "not reloaded: what was served before is served on");
                }
            });
            if let Err(error) = reload.await {
                tracing::error!(%error, "a reload ended early");
            }
            supervisor::ready();
        }
    })
}
