//! The places of the encode queue, which count the images in progress: from before they are decoded until they are encoded or dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of images in progress.
#[derive(Debug)]
pub(super) struct Places {
    taken: AtomicUsize,
    capacity: usize,
}

impl Places {
    pub(super) fn new(capacity: usize) -> Self {
        Self { taken: AtomicUsize::new(0), capacity }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes places for `count` images; `None` if there are too few.
    pub(super) fn take(self: &Arc<Self>, count: usize) -> Option<Place> {
        let more = |taken: usize| Some(taken + count).filter(|taken| *taken <= self.capacity);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place { places: self.clone(), count })
    }
}

/// Places in the queue, which are released when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    count: usize,
}

impl Place {
    /// Splits off the place of one image.
    pub(super) fn split(&mut self) -> Self {
        let count = self.count.min(1);
        self.count -= count;
        Self { places: self.places.clone(), count }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.count > 0 {
            self.places.taken.fetch_sub(self.count, Ordering::Relaxed);
        }
    }
}
