//! The encode queue: admits images (`places.rs`) and waits for their codes. `workers.rs` encodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dhih_model::Encoded;
use tokio::sync::oneshot;

use super::places::{Place, Places};
use super::workers::{Job, Pace, Workers};
use super::{EncodeError, QueueConfig};
use crate::run::Run;

/// Below this number of images in progress, more are always admitted, however slow the network is. Otherwise a slow network would refuse
/// even a few users.
const FEW: usize = 8;

/// The queue. Dropping it ends the workers.
#[derive(Debug)]
pub(super) struct EncodeQueue {
    places: Arc<Places>,
    max_queued: Duration,
    workers: Workers,
    pace: Arc<Pace>,
}

impl EncodeQueue {
    /// Starts a queue with the given number of workers.
    pub(super) fn start(config: QueueConfig, workers: usize) -> std::io::Result<Self> {
        let pace = Arc::new(Pace::default());
        let workers = Workers::start(config, workers, &pace)?;
        let places = Arc::new(Places::new(config.capacity));
        Ok(Self { places, max_queued: config.max_queued, workers, pace })
    }

    /// Takes places for `images`, or refuses them at once.
    pub(super) fn enter(&self, images: usize) -> Result<Place, EncodeError> {
        if images > self.places.capacity() {
            return Err(EncodeError::TooMany { most: self.places.capacity() });
        }
        let before = self.places.taken();
        let is_slow = before >= FEW && self.pace.of(before + images) > self.max_queued;
        let place = if is_slow { None } else { self.places.take(images) };
        place.ok_or_else(|| EncodeError::Overloaded { wait: self.pace.of(before) })
    }

    /// The codes of images, in order; `place` has room for them. If this future is dropped, the images that no worker has taken are
    /// dropped.
    pub(super) async fn encode(
        &self,
        run: &Arc<Run>,
        mut place: Place,
        images: Vec<Vec<u8>>,
    ) -> Result<Vec<Encoded>, EncodeError> {
        let mut job = |pixels| {
            let (answer, code) = oneshot::channel();
            let (run, place) = (run.clone(), place.split());
            (Job { run, pixels, asked: Instant::now(), answer, place }, code)
        };
        let (jobs, codes): (Vec<Job>, Vec<_>) = images.into_iter().map(&mut job).unzip();
        // The remaining places belong to pictures that could not be decoded.
        drop(place);
        let mut made = Vec::with_capacity(codes.len());
        let mut expected = Expected { codes: codes.into_iter(), workers: &self.workers };
        self.workers.give(jobs);
        for code in expected.codes.by_ref() {
            let code = code.await.map_err(EncodeError::failed)?;
            made.push(code.map_err(EncodeError::failed)?);
        }
        Ok(made)
    }

    /// The number of images in progress.
    pub(super) fn depth(&self) -> usize {
        self.places.taken()
    }
}

/// The codes that a request waits for.
struct Expected<'a> {
    codes: std::vec::IntoIter<oneshot::Receiver<Result<Encoded, String>>>,
    workers: &'a Workers,
}

impl Drop for Expected<'_> {
    /// Drops the receivers first, by which the workers recognise abandoned images.
    fn drop(&mut self) {
        self.codes.by_ref().for_each(drop);
        self.workers.drop_abandoned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(capacity: usize, max_queued: Duration) -> EncodeQueue {
        let config = QueueConfig { capacity, max_queued, ..QueueConfig::default() };
        EncodeQueue::start(config, 0).unwrap()
    }

    #[test]
    fn places_are_counted_by_the_image_and_come_back_one_by_one() {
        let queue = queue(8, Duration::ZERO);
        let mut five = queue.enter(5).unwrap();
        assert_eq!(queue.depth(), 5);
        assert!(matches!(queue.enter(4), Err(EncodeError::Overloaded { .. })));
        let one = five.split();
        assert_eq!(queue.depth(), 5, "they are shared out, not taken again");
        drop(five);
        assert_eq!(queue.depth(), 1);
        drop(one);
        assert_eq!(queue.depth(), 0);
        assert!(queue.enter(8).is_ok());
        // Waiting cannot help a request that is larger than the queue, so it gets another error.
        assert!(matches!(queue.enter(9), Err(EncodeError::TooMany { most: 8 })));
    }

    #[test]
    fn a_slow_network_takes_a_few_and_a_fast_one_many() {
        let slow = queue(128, Duration::from_millis(250));
        slow.pace.measure(Duration::from_secs(1), 1);
        let places: Vec<_> = (0..FEW).map(|_| slow.enter(1).unwrap()).collect();
        match slow.enter(1) {
            Err(EncodeError::Overloaded { wait }) => {
                assert_eq!(wait, Duration::from_secs(FEW as u64))
            }
            other => panic!("{other:?}"),
        }
        drop(places);
        assert!(slow.enter(32).is_ok(), "a batch comes in where nobody waits");
        let fast = queue(128, Duration::from_millis(250));
        fast.pace.measure(Duration::from_millis(4), 1);
        let _places: Vec<_> = (0..40).map(|_| fast.enter(1).unwrap()).collect();
        assert!(fast.enter(22).is_ok(), "62 images take 248 ms");
        assert!(fast.enter(23).is_err(), "the images to be let in count as well");
    }
}
