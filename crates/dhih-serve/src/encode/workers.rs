//! The threads that encode. Under little load, a batch is spread over all cores, so that a single image is encoded soonest. Under more load
//! the workers divide the images, and each encodes its part on one core, so that no core waits for another.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dhih_model::Encoded;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

use super::QueueConfig;
use super::places::Place;
use crate::run::Run;

/// An image that waits for its code.
pub(super) struct Job {
    pub(super) run: Arc<Run>,
    /// The pixels `[height, width, channels]`, in the input shape of the run.
    pub(super) pixels: Vec<u8>,
    pub(super) asked: Instant,
    pub(super) answer: oneshot::Sender<Result<Encoded, String>>,
    /// Released when the job is dropped.
    pub(super) place: Place,
}

/// The average encoding time of an image, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// Updates the moving average: the new batch has a weight of one eighth.
    pub(super) fn measure(&self, batch: Duration, images: usize) {
        let each = (batch.as_nanos() as u64 / images.max(1) as u64).max(1);
        let before = self.0.load(Ordering::Relaxed);
        let mean = if before == 0 { each } else { (7 * before + each) / 8 };
        self.0.store(mean, Ordering::Relaxed);
    }

    /// The estimated time for this many images.
    pub(super) fn of(&self, images: usize) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed).saturating_mul(images as u64))
    }
}

/// The handle of the workers. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Workers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    workers: usize,
    config: QueueConfig,
    pace: Arc<Pace>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// The number of workers that are encoding.
    busy: usize,
    closed: bool,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("jobs", &self.jobs.len()).finish_non_exhaustive()
    }
}

impl Workers {
    pub(super) fn start(
        config: QueueConfig,
        workers: usize,
        pace: &Arc<Pace>,
    ) -> std::io::Result<Self> {
        let (waiting, arrived) = (Mutex::default(), Condvar::new());
        let all = Self(Arc::new(Shared { waiting, arrived, workers, config, pace: pace.clone() }));
        for _ in 0..workers {
            let alone = ThreadPoolBuilder::new().num_threads(1).build();
            let alone = alone.map_err(std::io::Error::other)?;
            let (shared, thread) = (all.0.clone(), std::thread::Builder::new());
            thread.name("encoder".into()).spawn(move || shared.encode_all(&alone))?;
        }
        Ok(all)
    }

    pub(super) fn give(&self, jobs: Vec<Job>) {
        self.0.lock().jobs.extend(jobs);
        self.0.arrived.notify_all();
    }

    /// Drops the images whose receivers are gone.
    pub(super) fn drop_abandoned(&self) {
        self.0.lock().jobs.retain(|job| !job.answer.is_closed());
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.arrived.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn encode_all(&self, alone: &ThreadPool) {
        while let Some((batch, shared)) = self.next() {
            let started = Instant::now();
            let images = batch.len();
            // A panic must not end the worker.
            let done = catch_unwind(AssertUnwindSafe(|| match shared {
                true => alone.install(|| encode(batch)),
                false => encode(batch),
            }));
            if done.is_err() {
                tracing::error!(images, "encoding ended early");
            }
            // The other workers encode as many images in the same time.
            let at_once = if shared { self.workers as u32 } else { 1 };
            self.pace.measure(started.elapsed() / at_once, images);
            self.lock().busy -= 1;
        }
    }

    /// The next batch, whose images are all for the same run, and whether other workers have work as well. `None` when the queue is closed.
    fn next(&self) -> Option<(Vec<Job>, bool)> {
        let mut waiting = self.lock();
        loop {
            let Some(first) = waiting.jobs.front() else {
                if waiting.closed {
                    return None;
                }
                waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            // The wait counts from the arrival of the image, so time spent while others were encoded is included.
            let wait =
                (first.asked + self.config.max_wait).saturating_duration_since(Instant::now());
            let enough = waiting.jobs.len() >= self.config.max_batch;
            if wait.is_zero() || enough || waiting.closed {
                break;
            }
            let more = self.arrived.wait_timeout(waiting, wait);
            waiting = more.unwrap_or_else(PoisonError::into_inner).0;
        }
        let (share, shared) = share(waiting.jobs.len(), waiting.busy, self.workers);
        let run = waiting.jobs.front()?.run.clone();
        let of_run = waiting.jobs.iter().take_while(|job| Arc::ptr_eq(&job.run, &run)).count();
        let count = share.min(of_run).min(self.config.max_batch);
        waiting.busy += 1;
        Some((waiting.jobs.drain(..count).collect(), shared))
    }
}

/// How many of the waiting images a worker takes, and whether others have work as well. If there is work for more than half of the workers,
/// each encodes its part on one core.
fn share(waiting: usize, busy: usize, workers: usize) -> (usize, bool) {
    let shared = workers > 1 && 2 * (waiting + busy) > workers;
    (if shared { waiting.div_ceil(workers) } else { waiting }, shared)
}

fn encode(batch: Vec<Job>) {
    let started = Instant::now();
    metrics::histogram!("dhih_encode_batch_images").record(batch.len() as f64);
    let waited = batch.iter().map(|job| (started - job.asked).as_secs_f64());
    waited.for_each(|seconds| metrics::histogram!("dhih_queue_seconds").record(seconds));
    let pixels = batch.iter().map(|job| &job.pixels[..]).collect::<Vec<_>>().concat();
    let encoder = batch[0].run.encoder().map_err(|e| e.to_string());
    let encoded =
        encoder.and_then(|encoder| encoder.encode_all(&pixels).map_err(|e| e.to_string()));
    metrics::histogram!("dhih_encode_seconds").record(started.elapsed().as_secs_f64());
    let count = batch.len();
    let of_row = |all: &[f32], row: usize| {
        let each = all.len() / count;
        all[row * each..(row + 1) * each].to_vec()
    };
    for (row, job) in batch.into_iter().enumerate() {
        let code = match &encoded {
            Ok(Encoded { values, features }) => Ok(Encoded {
                values: of_row(values, row),
                features: features.as_deref().map(|features| of_row(features, row)),
            }),
            Err(error) => Err(error.clone()),
        };
        let Job { answer, place, run, .. } = job;
        // Release the place and the run before answering: a caller that has its answer must find the place free. The caller may have gone,
        // so a failed send is ignored.
        drop((place, run));
        let _ = answer.send(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_follows_what_batches_take() {
        let pace = Pace::default();
        assert_eq!(pace.of(1000), Duration::ZERO);
        pace.measure(Duration::from_millis(80), 8);
        assert_eq!(pace.of(5), Duration::from_millis(50));
        (0..100).for_each(|_| pace.measure(Duration::from_millis(32), 32));
        let now = pace.of(10).as_secs_f64();
        assert!((now - 0.010).abs() < 1e-4, "{now}");
    }

    #[test]
    fn workers_share_what_is_enough_for_them() {
        // A worker that is alone takes everything and uses all cores. A single worker never shares.
        assert_eq!(
            [share(1, 0, 2), share(4, 0, 8), share(9, 0, 1)],
            [(1, false), (4, false), (9, false)]
        );
        assert_eq!(
            [share(1, 1, 2), share(5, 0, 2), share(9, 3, 8)],
            [(1, true), (3, true), (2, true)]
        );
    }
}
