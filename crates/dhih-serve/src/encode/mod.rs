//! The encode queue: images of all requests are encoded in batches, off the async runtime. A bounded number of images may be
//! under way, from before they are decoded until they have their codes, and no more than the encoder is through with soon; what does
//! not fit is refused at once. Who encodes: `workers.rs`.

mod workers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use self::workers::{Job, Pace, Workers};
use crate::run::Run;

/// How images are gathered into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// Images under way at most; further ones are refused.
    pub capacity: usize,
    /// Images that one worker encodes together at most.
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

/// Why an image has no code.
#[derive(Debug)]
pub(crate) enum EncodeError {
    /// As many images wait as may.
    Busy,
    /// The network failed.
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl EncodeError {
    fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(cause.into())
    }
}

/// The queue's entrance. The workers end when it is dropped.
#[derive(Debug)]
pub(crate) struct EncodeQueue {
    places: Arc<Semaphore>,
    config: QueueConfig,
    workers: Workers,
    pace: Arc<Pace>,
}

impl EncodeQueue {
    /// Starts so many workers.
    pub(crate) fn start(config: QueueConfig, workers: usize) -> std::io::Result<Self> {
        let pace = Arc::new(Pace::default());
        let workers = Workers::start(config, workers, &pace)?;
        let places = Arc::new(Semaphore::new(config.capacity));
        Ok(Self { places, config, workers, pace })
    }

    /// A place for `images`, or a refusal at once.
    pub(crate) fn enter(&self, images: usize) -> Result<Place, EncodeError> {
        let before = self.depth();
        if before >= FEW && self.pace.of(before) > self.config.max_queued {
            return Err(EncodeError::Busy);
        }
        let images = u32::try_from(images.min(self.config.capacity)).unwrap_or(u32::MAX);
        let place = self.places.clone().try_acquire_many_owned(images);
        self.report();
        place.map(Place).map_err(|_| EncodeError::Busy)
    }

    /// The codes of images, in order.
    pub(crate) async fn encode(
        &self,
        run: &Arc<Run>,
        images: Vec<Vec<u8>>,
    ) -> Result<Vec<Values>, EncodeError> {
        let job = |pixels| {
            let (answer, code) = oneshot::channel();
            (Job { run: run.clone(), pixels, asked: Instant::now(), answer }, code)
        };
        let (jobs, codes): (Vec<Job>, Vec<_>) = images.into_iter().map(job).unzip();
        self.workers.give(jobs);
        let mut values = Vec::with_capacity(codes.len());
        for code in codes {
            let code = code.await.map_err(EncodeError::failed)?;
            values.push(code.map_err(EncodeError::failed)?);
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
