//! `Additions`: the queue of requests that wait for a group commit. `adding.rs` makes the change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ChangeError, Changed, NewItem, Once};

/// The most items of one change that combines several requests.
const MOST: usize = 100_000;

/// What happens to the other items of a request if one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    AllOrNone,
    Each,
}

/// Additions that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Additions {
    waiting: Mutex<Vec<Addition>>,
    tickets: AtomicU64,
}

/// The items of one request.
#[derive(Debug)]
pub(super) struct Addition {
    ticket: u64,
    pub(super) items: Vec<NewItem>,
    pub(super) mode: Mode,
    /// The idempotency key of the request, if it has one.
    pub(super) once: Option<Once>,
    pub(super) answer: SyncSender<Result<Changed, ChangeError>>,
}

impl Additions {
    /// Enqueues a request until its turn, or until another request takes it along. Returns its ticket and the receiver of its answer.
    pub(super) fn wait(
        &self,
        items: Vec<NewItem>,
        mode: Mode,
        once: Option<Once>,
    ) -> (u64, Receiver<Result<Changed, ChangeError>>) {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = sync_channel(1);
        self.lock().push(Addition { ticket, items, mode, once, answer });
        (ticket, answered)
    }

    /// Takes the request with this ticket and those that wait with it, in order of arrival. Empty if another request has taken it already.
    pub(super) fn take_with(&self, ticket: u64) -> Vec<Addition> {
        let mut waiting = self.lock();
        let Some(own) = waiting.iter().position(|one| one.ticket == ticket) else {
            return Vec::new();
        };
        // The request itself is always taken; its items count first against the bound.
        let mut items = waiting[own].items.len();
        let mut group = Vec::new();
        let mut left = Vec::new();
        for one in waiting.drain(..) {
            let is_own = one.ticket == ticket;
            if is_own || items + one.items.len() <= MOST {
                items += if is_own { 0 } else { one.items.len() };
                group.push(one);
            } else {
                left.push(one);
            }
        }
        *waiting = left;
        group
    }

    /// Removes a request from the queue. Returns whether it was still waiting.
    pub(super) fn withdraw(&self, ticket: u64) -> bool {
        let mut waiting = self.lock();
        let before = waiting.len();
        waiting.retain(|one| one.ticket != ticket);
        waiting.len() < before
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Addition>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
