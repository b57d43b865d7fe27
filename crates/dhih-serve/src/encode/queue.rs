//! The encode queue: which images may join those under way (`places.rs`), and waiting for their codes. Who encodes: `workers.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dhih_model::Encoded;
use tokio::sync::oneshot;

use super::places::{Place, Places};
use super::workers::{Job, Pace, Workers};
use super::{EncodeError, QueueConfig};
use crate::run::Run;

/// While fewer images are under way, more are let in, however slow the network: it would else refuse people who are only a few at once.
const FEW: usize = 8;

/// The queue's entrance. The workers end when it is dropped.
#[derive(Debug)]
pub(super) struct EncodeQueue {
    places: Arc<Places>,
    max_queued: Duration,
    workers: Workers,
    pace: Arc<Pace>,
}

impl EncodeQueue {
    /// Starts so many workers.
    pub(super) fn start(config: QueueConfig, workers: usize) -> std::io::Result<Self> {
        let pace = Arc::new(Pace::default());
        let workers = Workers::start(config, workers, &pace)?;
        let places = Arc::new(Places::new(config.capacity));
        Ok(Self { places, max_queued: config.max_queued, workers, pace })
    }

    /// Places for `images`, or a refusal at once.
    pub(super) fn enter(&self, images: usize) -> Result<Place, EncodeError> {
        if images > self.places.capacity() {
            return Err(EncodeError::TooMany { most: self.places.capacity() });
        }
        let before = self.places.taken();
        let is_slow = before >= FEW && self.pace.of(before + images) > self.max_queued;
        let place = if is_slow { None } else { self.places.take(images) };
        place.ok_or_else(|| EncodeError::Overloaded { wait: self.pace.of(before) })
    }

    /// The codes of images, in order; `place` has room for them. Where this is given up, those that no worker has yet are dropped.
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
        // Those of pictures that could not be decoded.
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

    /// Images that are under way.
    pub(super) fn depth(&self) -> usize {
        self.places.taken()
    }
}

/// Codes that are waited for.
struct Expected<'a> {
    codes: std::vec::IntoIter<oneshot::Receiver<Result<Encoded, String>>>,
    workers: &'a Workers,
}

impl Drop for Expected<'_> {
    /// Lets go of the codes first: the workers drop what nobody waits for.
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
        // What never fits is no matter of waiting.
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
