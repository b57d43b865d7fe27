//! The best hits so far of a search that scans: bounded in number, in distance, or in both. Searches by tables keep codes instead of
//! hits (`search/collector.rs`).

use std::collections::BinaryHeap;

use crate::hits::{Bound, Hit};

/// The `k` best hits within a radius, among those pushed so far.
#[derive(Debug, Default)]
pub(crate) struct Best {
    k: usize,
    radius: u32,
    /// The worst hit is on top.
    heap: BinaryHeap<Hit>,
}

impl Best {
    /// No hits yet of a search that goes as far as `bound` says.
    pub(crate) fn new(bound: Bound) -> Self {
        Self { k: bound.k, radius: bound.radius, heap: BinaryHeap::new() }
    }

    /// Begins another search in the same memory.
    pub(crate) fn begin(&mut self, bound: Bound) {
        (self.k, self.radius) = (bound.k, bound.radius);
        self.heap.clear();
    }

    /// The greatest distance at which a hit can still be among the best.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() >= self.k => worst.distance,
            _ => self.radius,
        }
    }

    /// Offers a hit; returns whether it is among the best.
    #[inline]
    pub(crate) fn push(&mut self, hit: Hit) -> bool {
        if hit.distance > self.radius {
            return false;
        }
        if self.heap.len() < self.k {
            self.heap.push(hit);
            return true;
        }
        match self.heap.peek_mut() {
            Some(mut worst) if hit < *worst => {
                *worst = hit;
                true
            }
            _ => false,
        }
    }

    /// The hits in order.
    pub(crate) fn into_hits(self) -> Vec<Hit> {
        self.heap.into_sorted_vec()
    }

    /// Appends the hits in order to `out` and removes them; the memory is kept.
    pub(crate) fn drain_into(&mut self, out: &mut Vec<Hit>) {
        let mut hits = std::mem::take(&mut self.heap).into_vec();
        hits.sort_unstable();
        out.extend_from_slice(&hits);
        hits.clear();
        self.heap = hits.into();
    }

    /// Removes the hits, and frees memory until at most `bytes` bytes are left.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.heap.clear();
        self.heap.shrink_to(bytes / size_of::<Hit>());
    }

    /// The bytes of memory that it holds.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Hit>() * self.heap.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_best_are_the_first_of_the_sorted(
            pairs in prop::collection::vec((0..9_u32, 0..9_u64), 0..60),
            k in 1..20_usize, radius in 0..9_u32,
        ) {
            let mut all: Vec<Hit> = pairs.iter().map(|&(distance, id)| Hit { distance, id }).collect();
            let (mut nearest, mut within) = (Best::new(Bound::nearest(k)), Best::new(Bound::within(radius)));
            let mut both = Best::new(Bound::nearest(1));
            both.push(Hit::new(0, 0));
            both.begin(Bound::nearest_within(k, radius));
            for &hit in &all {
                prop_assert!(!nearest.push(hit) || hit.distance <= nearest.limit());
                prop_assert_eq!(within.push(hit), hit.distance <= radius);
                both.push(hit);
            }
            all.sort();
            prop_assert_eq!(nearest.into_hits(), &all[..k.min(all.len())]);
            all.retain(|hit| hit.distance <= radius);
            prop_assert_eq!(within.into_hits(), &all[..]);
            let mut hits = vec![Hit::new(99, 0)];
            both.drain_into(&mut hits);
            prop_assert_eq!(&hits[1..], &all[..k.min(all.len())]);
            both.drain_into(&mut hits);
            prop_assert_eq!(hits.len(), 1 + k.min(all.len()));
        }
    }
}
