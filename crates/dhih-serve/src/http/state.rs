//! What every request shares: the run, the limits, the keys, the encode queue, and the workers that decode and search off the
//! async runtime.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::api::LastReload;
use crate::background::in_background;
use crate::blocking::BlockingPool;
use crate::encode::{PictureEncoder, QueueConfig};
use crate::http::ApiError;
use crate::http::body_memory::BodyMemory;
use crate::http::guard::Guard;
use crate::http::layers::InFlight;
use crate::http::origin::AllowedOrigins;
use crate::http::readiness::{Phase, Readiness};
use crate::http::sessions::SessionCookie;
use crate::operation::allowed_origin::AllowedOrigin;
use crate::operation::hosts::Hosts;
use crate::operation::keys::Keys;
use crate::operation::limits::Limits;
use crate::operation::snapshots::Snapshots;
use crate::run::Run;
use crate::search::Cancellation;
use crate::{Error, Result};

/// Changes that wait for their turn at once.
const CHANGES: usize = 64;

/// A loaded run behind a bounded set of workers.
#[derive(Debug)]
pub struct AppState {
    run: ArcSwap<Run>,
    /// One reload at a time.
    reloading: Mutex<()>,
    is_reloading: AtomicBool,
    last_reload: ArcSwapOption<LastReload>,
    readiness: Readiness,
    limits: Limits,
    guard: Guard,
    in_flight: InFlight,
    pictures: PictureEncoder,
    threads: BlockingPool,
    /// Threads that change what is served. They wait for each other and for the disk, and the more of them wait, the more is made in one change.
    changing: BlockingPool,
    /// Threads that wait for a store elsewhere; however long that takes, those above are not among them.
    store_threads: BlockingPool,
    bodies: Arc<BodyMemory>,
    snapshots: Snapshots,
}

impl AppState {
    /// Serves `run` within `limits`, to those with `keys`, under the names of this machine.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(run: Run, limits: Limits, keys: Keys, queue: QueueConfig) -> std::io::Result<Self> {
        let run = ArcSwap::from_pointee(run);
        let threads = BlockingPool::new(limits.workers, limits.queue_timeout);
        let changing = BlockingPool::new(CHANGES, limits.queue_timeout);
        let store_threads = BlockingPool::new(limits.store_searches, limits.queue_timeout);
        // A GPU takes one batch after the other; without a network nothing is encoded.
        let workers = match run.load().encoder() {
            Ok(encoder) if encoder.is_on_cpu() => rayon::current_num_threads(),
            Ok(_) => 1,
            Err(_) => 0,
        };
        let image = limits.image.clone();
        let pictures = PictureEncoder::start(queue, workers, threads.clone(), image)?;
        let bodies = Arc::new(BodyMemory::new(&limits));
        let readiness = Readiness::default();
        readiness.advance(Phase::Serving);
        let mut guard = Guard::new(keys, limits.rate_limit);
        guard.cookie = SessionCookie::below(run.load().path_prefix().clone());
        let in_flight = InFlight::new(limits.max_in_flight);
        Ok(Self {
            run,
            reloading: Mutex::default(),
            is_reloading: AtomicBool::new(false),
            last_reload: ArcSwapOption::empty(),
            readiness,
            limits,
            guard,
            in_flight,
            pictures,
            threads,
            changing,
            store_threads,
            bodies,
            snapshots: Snapshots::default(),
        })
    }

    /// The run being served.
    pub fn run(&self) -> Arc<Run> {
        self.run.load_full()
    }

    /// Opens the run and its index anew and serves what is there now. Requests that are under way end with the old one; on
    /// failure that goes on being served and changed. Waits for a reload that is under way, which may have seen older files.
    ///
    /// # Errors
    /// As for [`Run::load`].
    pub fn reload(&self) -> Result<Arc<Run>> {
        self.reload_holding(self.reloading.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`reload`](Self::reload), but `None` at once where one is under way.
    pub(crate) fn try_reload(&self) -> Option<Result<Arc<Run>>> {
        match self.reloading.try_lock() {
            Ok(one) => Some(self.reload_holding(one)),
            Err(TryLockError::Poisoned(one)) => Some(self.reload_holding(one.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn reload_holding(&self, _one: MutexGuard<'_, ()>) -> Result<Arc<Run>> {
        self.is_reloading.store(true, Ordering::Relaxed);
        // A panic of the opening is a failure of the reload as any other.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.open_again()));
        self.is_reloading.store(false, Ordering::Relaxed);
        let reloaded = opened.unwrap_or_else(|_| {
            let reason = "opening the run panicked".into();
            Err(Error::Unusable { reason, make: "cargo run --release -p dhih-train".into() })
        });
        let outcome = if reloaded.is_ok() { "done" } else { "failed" };
        metrics::counter!("dhih_reloads_total", "outcome" => outcome).increment(1);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let reason = reloaded.as_ref().err().map(Error::code);
        let last = LastReload { ok: reloaded.is_ok(), at: since.as_secs(), reason };
        self.last_reload.store(Some(Arc::new(last)));
        reloaded
    }

    fn open_again(&self) -> Result<Arc<Run>> {
        let old = self.run();
        // Opening verifies every byte, which takes all cores for a while: requests come first.
        let opened = in_background(|| old.reload()).map_err(|error| Error::System {
            what: "threads",
            source: std::io::Error::other(error),
        });
        let Some(new) = opened?? else {
            tracing::info!("reloaded: nothing on disk has changed");
            return Ok(old);
        };
        let new = Arc::new(new);
        self.run.store(new.clone());
        old.retire(&new);
        Ok(new)
    }

    /// Whether a reload is under way.
    pub(crate) fn is_reloading(&self) -> bool {
        self.is_reloading.load(Ordering::Relaxed)
    }

    /// How the last reload ended.
    pub(crate) fn last_reload(&self) -> Option<LastReload> {
        self.last_reload.load().as_deref().copied()
    }

    /// Says at `/readyz` that new requests should go elsewhere. Those that come are still answered.
    pub fn stop_soon(&self) {
        self.readiness.advance(Phase::Stopping);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.readiness.phase()
    }

    /// Whether searches can be answered as far as is known: a store elsewhere may have shards that do not answer.
    pub(crate) fn is_store_available(&self) -> bool {
        self.readiness.is_store_available()
    }

    /// Notes what a check of the store found, and says what the one before had found.
    #[cfg(feature = "postgres")]
    pub(crate) fn set_store_available(&self, available: bool) -> bool {
        self.readiness.set_store_available(available)
    }

    /// The limits requests are held to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Serves under these names instead.
    #[must_use]
    pub fn with_hosts(mut self, hosts: Hosts) -> Self {
        self.guard.hosts = hosts;
        self
    }

    /// Lets pages of these origins read what is served, and with a key change it.
    #[must_use]
    pub fn with_allowed_origins(mut self, origins: Vec<AllowedOrigin>) -> Self {
        self.guard.origins = AllowedOrigins::new(origins);
        self
    }

    /// Makes snapshots below this directory.
    #[must_use]
    pub fn with_snapshots(mut self, dir: Option<PathBuf>) -> Self {
        self.snapshots = Snapshots::new(dir);
        self
    }

    /// What makes snapshots.
    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Puts other keys in force, at once. Sessions of keys that are not among them end.
    pub fn set_keys(&self, keys: Keys) {
        self.guard.set_keys(keys);
    }

    /// Who may be answered.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Places for requests under way.
    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// What encodes pictures.
    pub(crate) fn pictures(&self) -> &PictureEncoder {
        &self.pictures
    }

    /// Images that are decoded or encoded, or wait for it.
    pub fn images_under_way(&self) -> usize {
        self.pictures.depth()
    }

    /// The memory of request bodies.
    pub(crate) fn bodies(&self) -> &Arc<BodyMemory> {
        &self.bodies
    }

    /// Does `job` on a worker thread. The worker stays taken until the job ends, even if its request is given up.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.threads.run(|_| job()).await?
    }

    /// Does `job`, which changes what is served, on a thread for that.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.changing.run(|_| job()).await?
    }

    /// Does work that may take long on a thread of its own; `None` where it goes on and nobody waits for it any more.
    pub(crate) async fn work_at_length<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, ApiError> {
        let task = tokio::task::spawn_blocking(work);
        match tokio::time::timeout(self.limits.request_timeout / 2, task).await {
            Err(_) => Ok(None),
            Ok(ended) => ended.map(Some).map_err(ApiError::internal),
        }
    }

    /// Does `job`, which searches `run`, on a thread for that. It ends early where nobody waits for it any more.
    pub(crate) async fn search<T: Send + 'static>(
        &self,
        run: &Run,
        job: impl FnOnce(&Cancellation) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let threads = if run.is_remote() { &self.store_threads } else { &self.threads };
        threads.run(job).await?
    }
}
