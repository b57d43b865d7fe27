//! The status of a follower, with its lag behind the primary. The lag is measured by the follower's clock only, so the clocks need not
//! agree.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the follower knows about its primary.
#[derive(Debug)]
pub(crate) struct FollowStatus {
    primary: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The last moment at which the follower had every change of the primary. Until the first such moment, the creation of this status.
    complete: Instant,
    /// The number of the primary's last change. Absent until the primary has sent it.
    head: Option<u64>,
    is_connected: bool,
    error: Option<&'static str>,
}

/// A snapshot of the status, for `/v1/info`, `/readyz` and the metrics.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Followed {
    pub(crate) primary: String,
    pub(crate) head: Option<u64>,
    pub(crate) lag: Duration,
    pub(crate) is_connected: bool,
    pub(crate) error: Option<&'static str>,
}

impl FollowStatus {
    pub(crate) fn new(primary: String) -> Self {
        let state =
            State { complete: Instant::now(), head: None, is_connected: false, error: None };
        Self { primary, state: Mutex::new(state) }
    }

    /// The address of the primary.
    pub(crate) fn primary(&self) -> &str {
        &self.primary
    }

    /// Records that the feed has begun.
    pub(super) fn connected(&self) {
        let mut state = self.lock();
        (state.is_connected, state.error) = (true, None);
    }

    /// Records that the primary's last change was `head` at the moment `at`, and that the changes up to `position` have been applied.
    pub(super) fn saw(&self, head: u64, position: u64, at: Instant) {
        let mut state = self.lock();
        state.head = Some(head);
        if position >= head {
            state.complete = at;
        }
    }

    /// Records that the feed has ended, with the code of the error.
    pub(super) fn lost(&self, error: &'static str) {
        let mut state = self.lock();
        (state.is_connected, state.error) = (false, Some(error));
    }

    /// The current status.
    pub(crate) fn now(&self) -> Followed {
        let state = self.lock();
        Followed {
            primary: self.primary.clone(),
            head: state.head,
            lag: state.complete.elapsed(),
            is_connected: state.is_connected,
            error: state.error,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_time_since_nothing_was_missing() {
        let status = FollowStatus::new("http://a".into());
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        status.connected();
        status.saw(7, 7, ago(30));
        assert!(status.now().lag >= Duration::from_secs(30));
        status.saw(9, 8, ago(1));
        assert!(status.now().lag >= Duration::from_secs(30), "change 9 is missing");
        assert_eq!(status.now().head, Some(9));
        status.saw(9, 9, ago(1));
        assert!((Duration::from_secs(1)..Duration::from_secs(30)).contains(&status.now().lag));
        status.lost("unreachable");
        let now = status.now();
        assert_eq!((now.is_connected, now.error, now.head), (false, Some("unreachable"), Some(9)));
        status.connected();
        assert_eq!(status.now().error, None);
    }
}
