//! The encode queue: images of all requests go to one thread, which encodes them in batches. A bounded number of images may be
//! under way, from before they are decoded until they have their codes; what does not fit is refused at once.

use std::sync::Arc;
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
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { capacity: 128, max_batch: 32, max_wait: Duration::from_millis(2) }
    }
}

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
    capacity: usize,
    jobs: Sender<Job>,
}

impl EncodeQueue {
    /// Starts the encoding thread. It ends when the queue is dropped.
    pub(crate) fn start(config: QueueConfig) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new().name("encoder".into());
        thread.spawn(move || encode_all(&waiting, config))?;
        let places = Arc::new(Semaphore::new(config.capacity));
        Ok(Self { places, capacity: config.capacity, jobs })
    }

    /// A place for `images`, or a refusal at once.
    pub(crate) fn enter(&self, images: usize) -> Result<Place, ApiError> {
        let images = u32::try_from(images.min(self.capacity)).unwrap_or(u32::MAX);
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
        self.capacity - self.places.available_permits()
    }

    fn report(&self) {
        metrics::gauge!("dhih_encode_queue_images").set(self.depth() as f64);
    }
}

fn encode_all(waiting: &Receiver<Job>, config: QueueConfig) {
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
        encode(batch);
        next = next.or_else(|| waiting.recv().ok());
    }
}

fn encode(batch: Vec<Job>) {
    let started = Instant::now();
    metrics::histogram!("dhih_encode_batch_images").record(batch.len() as f64);
    let waited = batch.iter().map(|job| (started - job.asked).as_secs_f64());
    waited.for_each(|seconds| metrics::histogram!("dhih_queue_seconds").record(seconds));
    let pixels: Vec<u8> = batch.iter().flat_map(|job| &job.pixels).copied().collect();
    let codes = batch[0].run.encoder().encode(&pixels);
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
