//! What every request shares: the run, the limits, the keys, the encode queue, and the workers that decode and search off the
//! async runtime.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::Result;
use crate::encode::{EncodeQueue, QueueConfig};
use crate::http::ApiError;
use crate::http::guard::Guard;
use crate::http::readiness::{Phase, Readiness};
use crate::operation::hosts::Hosts;
use crate::operation::keys::Keys;
use crate::operation::limits::Limits;
use crate::run::Run;

/// A loaded run behind a bounded set of workers.
#[derive(Debug)]
pub struct AppState {
    run: ArcSwap<Run>,
    reloading: Mutex<()>,
    readiness: Readiness,
    limits: Limits,
    guard: Guard,
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
    /// Serves `run` within `limits`, to those with `keys`, under the names of this machine.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(run: Run, limits: Limits, keys: Keys, queue: QueueConfig) -> std::io::Result<Self> {
        let workers = Arc::new(Semaphore::new(limits.workers));
        let (run, reloading) = (ArcSwap::from_pointee(run), Mutex::default());
        // A GPU takes one batch after the other.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let queue =
            EncodeQueue::start(queue, if run.load().encoder().is_on_cpu() { cores } else { 1 })?;
        let decoding = Arc::new(Semaphore::new(MEGAPIXELS as usize));
        let bodies = Arc::new(Semaphore::new(BODIES.max(limits.max_body_bytes).div_ceil(1024)));
        let readiness = Readiness::default();
        readiness.advance(Phase::Serving);
        let guard = Guard::new(keys, limits.rate_limit);
        Ok(Self { run, reloading, readiness, limits, guard, queue, workers, decoding, bodies })
    }

    /// The run being served.
    pub fn run(&self) -> Arc<Run> {
        self.run.load_full()
    }

    /// Opens the run and its index anew and serves what is there now. Requests that are under way end with the old one; on
    /// failure that goes on being served.
    ///
    /// # Errors
    /// As for [`Run::load`].
    pub fn reload(&self) -> Result<Arc<Run>> {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = self.run.load().reload();
        let outcome = if reloaded.is_ok() { "done" } else { "failed" };
        metrics::counter!("dhih_reloads_total", "outcome" => outcome).increment(1);
        let run = Arc::new(reloaded?);
        self.run.store(run.clone());
        Ok(run)
    }

    /// Says at `/readyz` that new requests should go elsewhere. Those that come are still answered.
    pub fn stop_soon(&self) {
        self.readiness.advance(Phase::Stopping);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.readiness.phase()
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

    /// Puts other keys in force, at once. Sessions of keys that are not among them end.
    pub fn set_keys(&self, keys: Keys) {
        self.guard.set_keys(keys);
    }

    /// Who may be answered.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
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
