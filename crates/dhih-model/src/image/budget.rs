//! Memory that the pictures of several threads take at the same time: a semaphore that counts bytes. What one picture takes is known from
//! its header; what one picture may take is in `limits`.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that decoders may hold together. A picture that needs more than all of them is decoded alone.
#[derive(Debug)]
pub struct DecodingBudget {
    bytes: u64,
    taken: Mutex<Taken>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: u64,
    /// Tickets are handed out and called in order, so that a large picture is not passed by small ones for ever.
    next_ticket: u64,
    called: u64,
}

/// Bytes of a budget that are in use. They are returned when this is dropped.
#[derive(Debug)]
pub struct DecodingShare<'a> {
    budget: &'a DecodingBudget,
    bytes: u64,
}

impl DecodingBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { bytes, taken: Mutex::default(), returned: Condvar::new() }
    }

    /// Waits until `bytes` are free, or until nothing is in use where `bytes` are more than the whole budget. Threads get their share in the
    /// order in which they ask. The caller must not wait for another thread that wants a share while it holds one.
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
        // The next in the queue may fit, too.
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
