//! The state that all collections of a service share: limits, keys, places for requests, memory for bodies, and threads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::blocking::BlockingPool;
use crate::encode::QueueConfig;
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
use crate::operation::path_prefix::PathPrefix;
use crate::operation::resource_policy::ResourcePolicy;
use crate::operation::steps::step;
use crate::run::Run;
use crate::run::links::LinkTemplate;
use crate::search::Cancellation;

/// The most changes that wait for their turn at once.
const CHANGES: usize = 64;

/// The most exports in progress: each takes a thread for as long as its client reads.
const EXPORTS: usize = 4;

/// What the requests of a service share, whichever collection they are for.
#[derive(Debug)]
pub struct Shared {
    limits: Limits,
    guard: Guard,
    in_flight: InFlight,
    bodies: Arc<BodyMemory>,
    readiness: Readiness,
    queue: QueueConfig,
    /// The places for exports in progress.
    exports: Arc<Semaphore>,
    path_prefix: PathPrefix,
    links: Option<LinkTemplate>,
    resource_policy: ResourcePolicy,
    max_lag: Option<Duration>,
    /// Threads for decoding and searching.
    threads: BlockingPool,
    /// Threads for changes. They wait for each other and for the disk. Changes that wait are made together in one group commit, so more
    /// threads make larger groups.
    changing: BlockingPool,
    /// Threads that wait for a remote store. However slow the store is, `threads` stay free.
    store_threads: BlockingPool,
}

impl Shared {
    /// State with the given limits, keys and queue, under the host names of this machine.
    pub fn new(limits: Limits, keys: Keys, queue: QueueConfig) -> Self {
        let readiness = Readiness::default();
        readiness.advance(Phase::Serving);
        Self {
            guard: Guard::new(keys, limits.rate_limit),
            in_flight: InFlight::new(limits.max_in_flight),
            bodies: Arc::new(BodyMemory::new(&limits)),
            readiness,
            queue,
            exports: Arc::new(Semaphore::new(EXPORTS)),
            path_prefix: PathPrefix::default(),
            links: None,
            resource_policy: ResourcePolicy::default(),
            max_lag: None,
            threads: BlockingPool::new(limits.workers, limits.queue_timeout),
            changing: BlockingPool::new(CHANGES, limits.queue_timeout),
            store_threads: BlockingPool::new(limits.store_searches, limits.queue_timeout),
            limits,
        }
    }

    /// Replaces the host names of the service.
    #[must_use]
    pub fn with_hosts(mut self, hosts: Hosts) -> Self {
        self.guard.hosts = hosts;
        self
    }

    /// Allows pages of these origins to read and, with a key, to make changes.
    #[must_use]
    pub fn with_allowed_origins(mut self, origins: Vec<AllowedOrigin>) -> Self {
        self.guard.origins = AllowedOrigins::new(origins);
        self
    }

    /// Serves below a path prefix, with which the paths in answers begin.
    #[must_use]
    pub fn with_path_prefix(mut self, prefix: PathPrefix) -> Self {
        self.guard.cookie = SessionCookie::below(prefix.clone());
        self.path_prefix = prefix;
        self
    }

    /// Adds links to the originals of items.
    #[must_use]
    pub fn with_links(mut self, links: Option<LinkTemplate>) -> Self {
        self.links = links;
        self
    }

    /// Sets whether pages of other sites may embed answers, such as pictures, without reading them.
    #[must_use]
    pub fn with_resource_policy(mut self, policy: ResourcePolicy) -> Self {
        self.resource_policy = policy;
        self
    }

    /// Makes `/readyz` report that requests should go elsewhere while a copy lags further behind its primary than this.
    #[must_use]
    pub fn with_max_lag(mut self, most: Option<Duration>) -> Self {
        self.max_lag = most;
        self
    }

    /// The longest lag of a copy that is still ready.
    pub(crate) fn max_lag(&self) -> Option<Duration> {
        self.max_lag
    }

    /// The template of the links to originals.
    pub(crate) fn links(&self) -> Option<&LinkTemplate> {
        self.links.as_ref()
    }

    /// Which pages may embed answers.
    pub(crate) fn resource_policy(&self) -> ResourcePolicy {
        self.resource_policy
    }

    /// The path prefix of the service.
    pub(crate) fn path_prefix(&self) -> &PathPrefix {
        &self.path_prefix
    }

    /// The limits of requests.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Replaces the keys at once. Sessions whose keys are not among the new ones end.
    pub fn set_keys(&self, keys: Keys) {
        self.guard.set_keys(keys);
    }

    /// Makes `/readyz` report that new requests should go elsewhere. Requests that still arrive are answered.
    pub fn stop_soon(&self) {
        self.readiness.advance(Phase::Stopping);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.readiness.phase()
    }

    /// The checks that requests must pass.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The places for requests in progress.
    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// The memory of request bodies.
    pub(crate) fn bodies(&self) -> &Arc<BodyMemory> {
        &self.bodies
    }

    /// The places for exports in progress.
    pub(crate) fn exports(&self) -> &Arc<Semaphore> {
        &self.exports
    }

    /// The settings of the encode queue.
    pub(crate) fn queue(&self) -> QueueConfig {
        self.queue
    }

    /// The threads for decoding and searching.
    pub(crate) fn threads(&self) -> &BlockingPool {
        &self.threads
    }

    /// Runs `job` on a worker thread. The thread stays taken until the job ends, even if the request has gone.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.threads.run(|_| job()).await?
    }

    /// Runs `job`, which makes a change, on a thread for changes.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        step("change", self.changing.run(|_| job())).await?
    }

    /// Runs work that may take long on a thread of its own. `None` means that it exceeded half of the time limit and continues in the
    /// background.
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

    /// Runs `job`, which searches `run`, on a thread for searches. The job is cancelled if the caller goes away.
    pub(crate) async fn search<T: Send + 'static>(
        &self,
        run: &Run,
        job: impl FnOnce(&Cancellation) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let threads = if run.is_remote() { &self.store_threads } else { &self.threads };
        threads.run(job).await?
    }
}
