//! Watches a store in PostgreSQL while it is served: switches to a newer generation when there is one, and tells `/readyz` whether searches
//! can be answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};

use crate::http::AppState;

/// The pause between two checks.
const PAUSE: Duration = Duration::from_secs(5);
/// How long after a failed reload the same generation is tried again. The run directory may have got the matching model meanwhile.
const RETRY: Duration = Duration::from_secs(60);

/// Checks a store repeatedly.
#[derive(Debug)]
pub struct StoreWatch {
    state: Arc<AppState>,
    refusal: Option<Refusal>,
}

/// A generation that could not be served.
#[derive(Debug)]
struct Refusal {
    generation: i32,
    at: Instant,
}

impl StoreWatch {
    /// Watches the store of `state`.
    pub fn new(state: Arc<AppState>) -> Self {
        Self { state, refusal: None }
    }

    /// Checks the store repeatedly until the task is aborted.
    pub(crate) fn spawn(mut self) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PAUSE).await;
                match spawn_blocking(move || {
                    self.check();
                    self
                })
                .await
                {
                    Ok(watch) => self = watch,
                    Err(error) => {
                        tracing::error!(%error, "the store is not looked after any more");
                        return;
                    }
                }
            }
        })
    }

    /// Reloads if there is a newer generation, then checks every shard. Blocks until the hosts have answered.
    pub fn check(&mut self) {
        let run = self.state.run();
        let Some(cluster) = run.cluster() else { return };
        // If the coordinator is down, searches can still be answered.
        match cluster.current_generation() {
            Ok(current) if current != cluster.generation() => self.reload(current),
            Ok(_) => self.refusal = None,
            Err(error) => tracing::debug!(%error, "the current generation is not known"),
        }
        let run = self.state.run();
        let answers = run.cluster().map_or(Ok(()), |cluster| cluster.check_shards());
        let was_available = self.state.set_store_available(answers.is_ok());
        match answers {
            Err(error) if was_available => {
                tracing::error!(%error, "searches cannot be answered: /readyz says so until they can");
            }
            Ok(()) if !was_available => tracing::info!("searches can be answered again"),
            _ => {}
        }
    }

    fn reload(&mut self, generation: i32) {
        let refused =
            |refusal: &Refusal| refusal.generation == generation && refusal.at.elapsed() < RETRY;
        if self.refusal.as_ref().is_some_and(refused) {
            return;
        }
        tracing::info!(generation, "another generation was loaded");
        self.refusal = None;
        // If another reload is in progress, the next check sees its result.
        if let Some(Err(error)) = self.state.try_reload() {
            tracing::error!(%error, "not reloaded: the generation before is served on");
            self.refusal = Some(Refusal { generation, at: Instant::now() });
        }
    }
}
