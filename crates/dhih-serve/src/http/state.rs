//! What every request shares: the run, the limits, the keys, the encode queue, and the workers that decode and search off the
//! async runtime.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::Result;
use crate::blocking::BlockingPool;
use crate::encode::{PictureEncoder, QueueConfig};
use crate::http::ApiError;
use crate::http::body_memory::BodyMemory;
use crate::http::guard::Guard;
use crate::http::readiness::{Phase, Readiness};
use crate::operation::hosts::Hosts;
use crate::operation::keys::Keys;
use crate::operation::limits::Limits;
use crate::run::Run;
use crate::search::Cancellation;

/// A loaded run behind a bounded set of workers.
#[derive(Debug)]
pub struct AppState {
    run: ArcSwap<Run>,
    reloading: Mutex<()>,
    readiness: Readiness,
    limits: Limits,
    guard: Guard,
    pictures: PictureEncoder,
    threads: BlockingPool,
    bodies: Arc<BodyMemory>,
}

impl AppState {
    /// Serves `run` within `limits`, to those with `keys`, under the names of this machine.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(run: Run, limits: Limits, keys: Keys, queue: QueueConfig) -> std::io::Result<Self> {
        let (run, reloading) = (ArcSwap::from_pointee(run), Mutex::default());
        let threads = BlockingPool::new(limits.workers, limits.queue_timeout);
        // A GPU takes one batch after the other.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = if run.load().encoder().is_on_cpu() { cores } else { 1 };
        let image = limits.image.clone();
        let pictures = PictureEncoder::start(queue, workers, threads.clone(), image)?;
        let bodies = Arc::new(BodyMemory::new(&limits));
        let readiness = Readiness::default();
        readiness.advance(Phase::Serving);
        let guard = Guard::new(keys, limits.rate_limit);
        Ok(Self { run, reloading, readiness, limits, guard, pictures, threads, bodies })
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
        self.work_in_parts(|_| job()).await
    }

    /// As [`work`](Self::work), for a job of several parts, which looks between them whether anybody still waits for its end.
    pub(crate) async fn work_in_parts<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Cancellation) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.threads.run(job).await?
    }
}
