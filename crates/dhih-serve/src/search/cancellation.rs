//! Cancellation of searches whose caller has gone.

use tokio_util::sync::{CancellationToken, DropGuard};

/// Whether a search was cancelled by its caller. Clones belong to the same search.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(CancellationToken);

/// Cancels a search when it is dropped.
#[derive(Debug)]
#[must_use = "the search is given up when this is dropped"]
pub struct CancelOnDrop(#[expect(dead_code, reason = "acts when it is dropped")] DropGuard);

impl Cancellation {
    /// Cancels the search.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Cancels the search once the returned guard is dropped.
    pub fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.0.clone().drop_guard())
    }

    /// Whether the search was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves once the search is cancelled.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }
}
