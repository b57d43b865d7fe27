//! A bound on the memory that several threads use for decoding at the same time: a semaphore that counts bytes. The header of a picture tells
//! how many bytes it needs; `limits` bounds a single picture.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The bytes that all decoders together may use. A picture that needs more than that is decoded alone.
#[derive(Debug)]
pub struct DecodingBudget {
    bytes: u64,
    taken: Mutex<Taken>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: u64,
    /// Tickets are numbered and served in order, so that small pictures do not overtake a large one for ever.
    next_ticket: u64,
    called: u64,
}

/// A share of a budget. Dropping it returns the bytes.
#[derive(Debug)]
pub struct DecodingShare<'a> {
    budget: &'a DecodingBudget,
    bytes: u64,
}

impl DecodingBudget {
    /// A budget of `bytes` bytes.
    pub fn new(bytes: u64) -> Self {
        Self { bytes, taken: Mutex::default(), returned: Condvar::new() }
    }

    /// Waits until `bytes` are free, or, where `bytes` exceed the whole budget, until nothing is in use. Threads are served in the order in
    /// which they ask. A caller that holds a share must not wait for another thread that wants one: that is a deadlock.
    pub fn take(&self, bytes: u64) -> DecodingShare<'_> {
        let bytes = bytes.min(self.bytes);
        let mut taken = self.lock();
        let ticket = taken.next_ticket;
        taken.next_ticket += 1;
        while taken.called != ticket || taken.bytes + bytes > self.bytes {
            taken = self.returned.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        taken.called += 1;
        taken.bytes += bytes;
        drop(taken);
        // There may be room for the next in the queue, too.
        self.returned.notify_all();
        DecodingShare { budget: self, bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DecodingShare<'_> {
    fn drop(&mut self) {
        self.budget.lock().bytes -= self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn threads_never_hold_more_than_the_budget_and_the_largest_get_their_turn() {
        let budget = DecodingBudget::new(100);
        let (held, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let (budget, held, most) = (&budget, &held, &most);
                scope.spawn(move || {
                    for round in 0..200u64 {
                        let bytes = [1, 30, 60, 100, 1000][((thread + round) % 5) as usize];
                        let share = budget.take(bytes);
                        let counted = bytes.min(100);
                        let now = held.fetch_add(counted, Ordering::SeqCst) + counted;
                        most.fetch_max(now, Ordering::SeqCst);
                        held.fetch_sub(counted, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
        let most = most.into_inner();
        assert!((60..=100).contains(&most), "{most} of 100 were in use at a time");
        assert_eq!(budget.lock().bytes, 0);
    }
}
