//! `Additions`: requests that wait to be made one change together. How that change is made: `adding.rs`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ChangeError, Changed, NewItem};

/// Items of one change, as far as several requests bring them.
const MOST: usize = 100_000;

/// What becomes of the items of a request of which one is refused.
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
    pub(super) answer: SyncSender<Result<Changed, ChangeError>>,
}

impl Additions {
    /// Lets a request wait for its turn, or for another that takes it along: its ticket, and where it is answered.
    pub(super) fn wait(
        &self,
        items: Vec<NewItem>,
        mode: Mode,
    ) -> (u64, Receiver<Result<Changed, ChangeError>>) {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = sync_channel(1);
        self.lock().push(Addition { ticket, items, mode, answer });
        (ticket, answered)
    }

    /// The request of a ticket and those that wait with it, in the order in which they came; none where it was taken along.
    pub(super) fn take_with(&self, ticket: u64) -> Vec<Addition> {
        let mut waiting = self.lock();
        let Some(own) = waiting.iter().position(|one| one.ticket == ticket) else {
            return Vec::new();
        };
        // Its own is among them, however many wait.
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

    /// Lets a request wait no more; whether it did.
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
