//! What every request shares: the run, the limits, and the workers that decode, encode and search off the async runtime.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::{Limits, Run, routes::ApiError};

/// A loaded run behind a bounded set of workers.
#[derive(Debug)]
pub struct AppState {
    run: Arc<Run>,
    limits: Limits,
    workers: Arc<Semaphore>,
}

impl AppState {
    /// Serves `run` within `limits`.
    pub fn new(run: Run, limits: Limits) -> Self {
        let workers = Arc::new(Semaphore::new(limits.workers));
        Self { run: Arc::new(run), limits, workers }
    }

    /// The run being served.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The limits requests are held to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Does `job` on a worker thread. The worker stays taken until the job ends, even if its request is given up.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Run) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let free = timeout(self.limits.queue_timeout, self.workers.clone().acquire_owned());
        let permit = free.await.map_err(|_| ApiError::Busy)?.map_err(ApiError::internal)?;
        let run = self.run.clone();
        let task = spawn_blocking(move || {
            let _permit = permit;
            job(&run)
        });
        task.await.map_err(ApiError::internal)?
    }
}
