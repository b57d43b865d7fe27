//! How long the answer on an HTTP/2 stream has waited for its client.
//!
//! A client that does not read leaves its TCP connection blocked, which `timed_stream.rs` notices. A client of HTTP/2 can instead withhold
//! the window of a single stream, while the connection goes on. The pace of each answer applies the same time limit to each stream.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::timed_stream::{SLOWEST, poll_deadline};

tokio::task_local! {
    /// The pace of the answer on the stream whose task this is.
    static OF_THIS_STREAM: Pace;
}

/// The progress of one answer.
#[derive(Debug, Clone)]
pub(super) struct Pace(Arc<Mutex<Progress>>);

#[derive(Debug)]
struct Progress {
    /// The longest time that the answer may wait for its client.
    longest: Duration,
    /// How much longer it may wait now.
    patience: Duration,
    /// When a piece was handed over that the client has not made room for, and its length.
    handed_over: Option<(Instant, usize)>,
}

impl Pace {
    /// The pace of an answer that may wait for its client for `longest`.
    pub(super) fn new(longest: Duration) -> Self {
        Self(Arc::new(Mutex::new(Progress { longest, patience: longest, handed_over: None })))
    }

    /// The pace that belongs to the task of a stream. Outside of such a task, it is one that nothing waits for.
    pub(super) fn of_this_stream() -> Self {
        OF_THIS_STREAM.try_with(Self::clone).unwrap_or_else(|_| Self::new(Duration::MAX))
    }

    /// Runs the task of a stream until it ends or its answer has waited for too long. Returns whether it ended.
    pub(super) async fn limit(self, task: impl Future<Output = ()>) -> bool {
        let task = OF_THIS_STREAM.scope(self.clone(), task);
        tokio::select! {
            // In this order, so that what the task has just handed over is seen.
            biased;
            () = task => true,
            () = self.stalled() => false,
        }
    }

    /// Notes that a piece of so many bytes waits for the client.
    pub(super) fn hand_over(&self, bytes: usize) {
        self.progress().handed_over = Some((Instant::now(), bytes));
    }

    /// Notes that the client has made room for the piece that was handed over, if there is one.
    pub(super) fn taken(&self) {
        let mut progress = self.progress();
        if let Some((since, bytes)) = progress.handed_over.take() {
            let earned =
                Duration::from_secs(1) * u32::try_from(bytes).unwrap_or(u32::MAX) / SLOWEST;
            let left = progress.patience.saturating_sub(since.elapsed());
            progress.patience = left.saturating_add(earned).min(progress.longest);
        }
    }

    /// Resolves once the answer has waited for too long. Must be polled by the task that hands over the pieces.
    async fn stalled(&self) {
        let mut timer = Box::pin(sleep_until(Instant::now()));
        poll_fn(|context| {
            let progress = self.progress();
            let deadline =
                progress.handed_over.and_then(|(since, _)| since.checked_add(progress.patience));
            drop(progress);
            match deadline {
                Some(deadline) => poll_deadline(timer.as_mut(), deadline, context).map(drop),
                None => Poll::Pending,
            }
        })
        .await;
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Hands over pieces of `bytes`, for each of which the client makes room after a second.
    async fn trickle(pieces: usize, bytes: usize) -> bool {
        let task = async {
            let pace = Pace::of_this_stream();
            for _ in 0..pieces {
                pace.hand_over(bytes);
                sleep(SECOND).await;
                pace.taken();
            }
        };
        Pace::new(10 * SECOND).limit(task).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_served_and_one_that_trickles_is_not() {
        assert!(trickle(1000, 8192).await);
        assert!(!trickle(1000, 512).await);
        assert!(trickle(5, 512).await, "it has some patience");
    }

    #[tokio::test(start_paused = true)]
    async fn computing_an_answer_is_not_waiting_for_the_client() {
        let started = Instant::now();
        let task = async {
            sleep(1000 * SECOND).await;
            let pace = Pace::of_this_stream();
            pace.hand_over(1);
            pace.taken();
            sleep(1000 * SECOND).await;
            pace.hand_over(1);
            std::future::pending().await
        };
        assert!(!Pace::new(10 * SECOND).limit(task).await);
        assert_eq!(started.elapsed().as_secs(), 2010);
    }
}
