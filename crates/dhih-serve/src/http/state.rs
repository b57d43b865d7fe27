//! What every request shares: the run, the limits, the keys, the encode queue, and the workers that decode and search off the
//! async runtime.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::api::LastReload;
use crate::encode::{EncodeQueue, QueueConfig};
use crate::http::ApiError;
use crate::operation::keys::Keys;
use crate::operation::limits::Limits;
use crate::run::Run;
use crate::{Error, Result};

/// A loaded run behind a bounded set of workers.
#[derive(Debug)]
pub struct AppState {
    run: ArcSwap<Run>,
    /// One reload at a time.
    reloading: Mutex<()>,
    is_reloading: AtomicBool,
    last_reload: ArcSwapOption<LastReload>,
    limits: Limits,
    keys: Keys,
    queue: EncodeQueue,
    workers: Arc<Semaphore>,
    /// Megapixels that are decoded at the same time.
    decoding: Arc<Semaphore>,
    /// Kibibytes of bodies that are held at the same time.
    bodies: Arc<Semaphore>,
}

/// Two of the largest pictures, or many of usual ones: decoding takes up to 11 bytes a pixel.
const MEGAPIXELS: u64 = 80;
/// Bodies may take so many bytes together, or one that is as large as one may be.
const BODIES: usize = 256 << 20;

impl AppState {
    /// Serves `run` within `limits`, to those with `keys`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(run: Run, limits: Limits, keys: Keys, queue: QueueConfig) -> std::io::Result<Self> {
        let workers = Arc::new(Semaphore::new(limits.workers));
        let run = ArcSwap::from_pointee(run);
        // A GPU takes one batch after the other.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let queue =
            EncodeQueue::start(queue, if run.load().encoder().is_on_cpu() { cores } else { 1 })?;
        let decoding = Arc::new(Semaphore::new(MEGAPIXELS as usize));
        let bodies = Arc::new(Semaphore::new(BODIES.max(limits.max_body_bytes).div_ceil(1024)));
        Ok(Self {
            run,
            reloading: Mutex::default(),
            is_reloading: AtomicBool::new(false),
            last_reload: ArcSwapOption::empty(),
            limits,
            keys,
            queue,
            workers,
            decoding,
            bodies,
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
        let Some(new) = old.reload()? else {
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

    /// The limits requests are held to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Who may do what.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(crate) fn queue(&self) -> &EncodeQueue {
        &self.queue
    }

    /// Memory for a body of so many bytes, or a refusal at once.
    pub(crate) fn hold(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let kibibytes = bytes.min(self.limits.max_body_bytes).div_ceil(1024).max(1);
        let kibibytes = u32::try_from(kibibytes).unwrap_or(u32::MAX);
        self.bodies.clone().try_acquire_many_owned(kibibytes).map_err(|_| ApiError::Busy)
    }

    /// Memory to decode pictures of so many pixels, when it is free.
    pub(crate) async fn decoding(&self, pixels: u64) -> Result<OwnedSemaphorePermit, ApiError> {
        let megapixels = pixels.div_ceil(1_000_000).clamp(1, MEGAPIXELS) as u32;
        let free = self.decoding.clone().acquire_many_owned(megapixels);
        let free = timeout(self.limits.queue_timeout, free).await.map_err(|_| ApiError::Busy)?;
        free.map_err(ApiError::internal)
    }

    /// Does `job` on a worker thread. The worker stays taken until the job ends, even if its request is given up.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let free = timeout(self.limits.queue_timeout, self.workers.clone().acquire_owned());
        let permit = free.await.map_err(|_| ApiError::Busy)?.map_err(ApiError::internal)?;
        let task = spawn_blocking(move || {
            let _permit = permit;
            job()
        });
        task.await.map_err(ApiError::internal)?
    }
}
