//! A search that nobody waits for any more is to end, wherever it runs.

use tokio_util::sync::{CancellationToken, DropGuard};

/// Whether a search was given up by who asked for it. Clones are of the same search.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(CancellationToken);

/// Gives a search up when it is dropped.
#[derive(Debug)]
#[must_use = "the search is given up when this is dropped"]
pub struct CancelOnDrop(#[expect(dead_code, reason = "acts when it is dropped")] DropGuard);

impl Cancellation {
    /// Gives the search up.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Gives the search up once what is returned is dropped.
    pub fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.0.clone().drop_guard())
    }

    /// Whether it was given up.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves once it is given up.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }
}
