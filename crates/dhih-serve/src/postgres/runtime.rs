//! A Tokio runtime for the store. It allows any thread to wait for a search: a worker thread, a thread of another runtime, or a program
//! without one.

use std::{future::Future, sync::mpsc};

use tokio::runtime::{Builder, Runtime as Tokio};

use super::Error;

/// The number of threads that communicate with servers. They mostly wait.
const THREADS: usize = 2;

/// The runtime. Dropping it abandons the tasks that still run in it.
#[derive(Debug)]
pub(super) struct Runtime(Option<Tokio>);

impl Runtime {
    pub(super) fn start() -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("dhih-postgres")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Error::Runtime { reason: error.to_string() })?;
        Ok(Self(Some(runtime)))
    }

    /// Runs `future` and blocks this thread until it has ended.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let ended = || Error::Runtime { reason: "its task ended early".into() };
        let (done, waiting) = mpsc::sync_channel(1);
        let runtime = self.0.as_ref().ok_or_else(ended)?;
        runtime.spawn(async move {
            // A failed send means that the waiting thread is gone, and is ignored.
            let _ = done.send(future.await);
        });
        waiting.recv().map_err(|_| ended())?
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Waiting for a runtime within another one would panic.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_within_another_runtime_and_tells_of_a_task_that_panicked() {
        let outer = Builder::new_current_thread().build().unwrap();
        outer.block_on(async {
            let runtime = Runtime::start().unwrap();
            assert_eq!(runtime.wait(async { Ok(7) }).unwrap(), 7);
            let ended = runtime.wait(async { Err::<(), _>(Error::Empty) }).unwrap_err();
            assert!(matches!(ended, Error::Empty));
        });
        let runtime = Runtime::start().unwrap();
        let ended = runtime.wait::<()>(async { panic!("a test") }).unwrap_err();
        assert!(ended.to_string().contains("ended early"), "{ended}");
    }
}
