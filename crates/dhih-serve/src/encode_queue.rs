//! The encode queue: images of all requests go to one thread, which encodes them in batches. A bounded number of images may be
//! under way, from before they are decoded until they have their codes, and no more than the encoder is through with soon; what does
//! not fit is refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::Run;
use crate::routes::ApiError;

/// How images are gathered into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// Images under way at most; further ones are refused.
    pub capacity: usize,
    /// Images encoded together at most.
    pub max_batch: usize,
    /// How long the first image of a batch waits for others.
    pub max_wait: Duration,
    /// Images are refused that would wait longer for those before them, by what encoding has taken lately: under more load than
    /// the encoder takes, those that are accepted are answered as soon as ever.
    pub max_queued: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        let (max_wait, max_queued) = (Duration::from_millis(2), Duration::from_millis(40));
        Self { capacity: 128, max_batch: 32, max_wait, max_queued }
    }
}

/// So few images may always be under way, however slow the network.
const FEW: usize = 4;

/// The real-valued code of an image.
pub(crate) type Values = Vec<f32>;

/// A place in the queue, for one request; given back when it is dropped.
pub(crate) struct Place(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

struct Job {
    run: Arc<Run>,
    /// `[height, width, channels]` of the run's input.
    pixels: Vec<u8>,
    asked: Instant,
    answer: oneshot::Sender<Result<Values, String>>,
}

/// The queue's entrance.
#[derive(Debug)]
pub(crate) struct EncodeQueue {
    places: Arc<Semaphore>,
    config: QueueConfig,
    jobs: Sender<Job>,
    pace: Arc<Pace>,
}

/// The time that an image takes lately.
#[derive(Debug, Default)]
struct Pace(AtomicU64);

impl Pace {
    /// A batch weighs as much as an eighth of all before it.
    fn measure(&self, batch: Duration, images: usize) {
        let each = (batch.as_nanos() as u64 / images.max(1) as u64).max(1);
        let before = self.0.load(Ordering::Relaxed);
        let mean = if before == 0 { each } else { (7 * before + each) / 8 };
        self.0.store(mean, Ordering::Relaxed);
    }

    /// How long so many images take.
    fn of(&self, images: usize) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed).saturating_mul(images as u64))
    }
}

impl EncodeQueue {
    /// Starts the encoding thread. It ends when the queue is dropped.
    pub(crate) fn start(config: QueueConfig) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new().name("encoder".into());
        let pace = Arc::new(Pace::default());
        let measured = pace.clone();
        thread.spawn(move || encode_all(&waiting, config, &measured))?;
        let places = Arc::new(Semaphore::new(config.capacity));
        Ok(Self { places, config, jobs, pace })
    }

    /// A place for `images`, or a refusal at once.
    pub(crate) fn enter(&self, images: usize) -> Result<Place, ApiError> {
        let before = self.depth();
        if before >= FEW && self.pace.of(before) > self.config.max_queued {
            return Err(ApiError::Busy);
        }
        let images = u32::try_from(images.min(self.config.capacity)).unwrap_or(u32::MAX);
        let place = self.places.clone().try_acquire_many_owned(images);
        self.report();
        place.map(Place).map_err(|_| ApiError::Busy)
    }

    /// The codes of images, in order.
    pub(crate) async fn encode(
        &self,
        run: &Arc<Run>,
        images: Vec<Vec<u8>>,
    ) -> Result<Vec<Values>, ApiError> {
        let send = |pixels| {
            let (answer, code) = oneshot::channel();
            let job = Job { run: run.clone(), pixels, asked: Instant::now(), answer };
            self.jobs.send(job).map_err(|_| ApiError::internal("the encoding thread has ended"))?;
            Ok(code)
        };
        let codes = images.into_iter().map(send).collect::<Result<Vec<_>, ApiError>>()?;
        let mut values = Vec::with_capacity(codes.len());
        for code in codes {
            values.push(code.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?);
        }
        Ok(values)
    }

    /// Images that are under way.
    pub(crate) fn depth(&self) -> usize {
        self.config.capacity - self.places.available_permits()
    }

    fn report(&self) {
        metrics::gauge!("dhih_encode_queue_images").set(self.depth() as f64);
    }
}

fn encode_all(waiting: &Receiver<Job>, config: QueueConfig, pace: &Pace) {
    let mut next = waiting.recv().ok();
    while let Some(first) = next.take() {
        let (mut batch, until) = (vec![first], Instant::now() + config.max_wait);
        while batch.len() < config.max_batch {
            let left = until.saturating_duration_since(Instant::now());
            match waiting.recv_timeout(left) {
                // A batch is of one model.
                Ok(job) if !Arc::ptr_eq(&job.run, &batch[0].run) => {
                    next = Some(job);
                    break;
                }
                Ok(job) => batch.push(job),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        encode(batch, pace);
        next = next.or_else(|| waiting.recv().ok());
    }
}

fn encode(batch: Vec<Job>, pace: &Pace) {
    let started = Instant::now();
    metrics::histogram!("dhih_encode_batch_images").record(batch.len() as f64);
    let waited = batch.iter().map(|job| (started - job.asked).as_secs_f64());
    waited.for_each(|seconds| metrics::histogram!("dhih_queue_seconds").record(seconds));
    let pixels: Vec<u8> = batch.iter().flat_map(|job| &job.pixels).copied().collect();
    let codes = batch[0].run.encoder().encode(&pixels);
    pace.measure(started.elapsed(), batch.len());
    metrics::histogram!("dhih_encode_seconds").record(started.elapsed().as_secs_f64());
    let bits = batch[0].run.bits() as usize;
    for (row, job) in batch.into_iter().enumerate() {
        let code = match &codes {
            Ok(values) => Ok(values[row * bits..(row + 1) * bits].to_vec()),
            Err(error) => Err(error.to_string()),
        };
        // Who asked may have gone.
        let _ = job.answer.send(code);
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
}
