//! Runs blocking work outside of the async runtime, a bounded number of jobs at a time. A job always runs to its end, even if its request
//! has gone. This file knows nothing about what a job does.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::search::Cancellation;

/// A bounded number of threads for blocking jobs.
#[derive(Debug, Clone)]
pub(crate) struct BlockingPool {
    threads: Arc<Semaphore>,
    patience: Duration,
}

/// Why a job has no result.
#[derive(Debug)]
pub(crate) enum BlockingError {
    /// No thread became free in time.
    Busy,
    /// The job panicked.
    Failed(Box<dyn Error + Send + Sync>),
}

impl BlockingPool {
    /// A pool that runs `threads` jobs at a time. Further jobs wait for a thread for at most `patience`.
    pub(crate) fn new(threads: usize, patience: Duration) -> Self {
        Self { threads: Arc::new(Semaphore::new(threads)), patience }
    }

    /// How long a job waits for a free thread at most.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Runs `job` as soon as a thread is free. A job with several steps should check between them whether it was cancelled, because its
    /// caller may have gone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Cancellation) -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let failed = |error: &dyn Error| BlockingError::Failed(error.to_string().into());
        let free = timeout(self.patience, self.threads.clone().acquire_owned()).await;
        let permit = free.map_err(|_| BlockingError::Busy)?.map_err(|error| failed(&error))?;
        let cancellation = Cancellation::default();
        // This future drops the guard when it ends or is dropped, which cancels the job.
        let waiting = cancellation.on_drop();
        let task = spawn_blocking(move || {
            let _permit = permit;
            job(&cancellation)
        });
        let result = task.await.map_err(|error| failed(&error));
        drop(waiting);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_job_sees_that_its_request_is_given_up() {
        let pool = BlockingPool::new(1, Duration::from_secs(60));
        let (started, begun) = mpsc::channel();
        let (ask, asked) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let job = move |cancellation: &Cancellation| {
            started.send(cancellation.is_cancelled()).unwrap();
            asked.recv().unwrap();
            tell.send(cancellation.is_cancelled()).unwrap();
        };
        let request = tokio::spawn(async move { pool.run(job).await });
        let before = tokio::task::spawn_blocking(move || begun.recv()).await.unwrap();
        assert_eq!(before, Ok(false));
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        ask.send(()).unwrap();
        let after = tokio::task::spawn_blocking(move || told.recv()).await.unwrap();
        assert_eq!(after, Ok(true));
    }

    #[tokio::test]
    async fn a_job_waits_no_longer_than_it_may_and_a_panic_is_an_error() {
        let none = BlockingPool::new(0, Duration::ZERO);
        assert!(matches!(none.run(|_| ()).await, Err(BlockingError::Busy)));
        let pool = BlockingPool::new(1, Duration::from_secs(60));
        assert!(matches!(pool.run(|_| panic!("gone")).await, Err(BlockingError::Failed(_))));
        assert!(matches!(pool.run(|_| 7).await, Ok(7)), "its thread is free again");
    }
}
