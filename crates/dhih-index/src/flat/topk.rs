//! `Hit`, and the best hits so far of a search: bounded in number, in distance, or both. How hits
//! are found: `flat.rs` and `search.rs`.

use std::collections::BinaryHeap;

use crate::hits::{Bound, Hit};

/// The `k` best hits within a radius, among those pushed so far.
#[derive(Debug)]
pub(crate) struct Best {
    k: usize,
    radius: u32,
    heap: BinaryHeap<Hit>,
}

impl Best {
    /// The `k` nearest of all.
    pub(crate) fn nearest(k: usize) -> Self {
        Self { k, radius: u32::MAX, heap: BinaryHeap::new() }
    }

    /// All within `radius`.
    pub(crate) fn within(radius: u32) -> Self {
        Self { k: usize::MAX, radius, heap: BinaryHeap::new() }
    }

    /// As far as a search goes.
    pub(crate) fn of(bound: Bound) -> Self {
        Self { k: bound.k, radius: bound.radius, heap: BinaryHeap::new() }
    }

    /// The greatest distance at which a hit may still be taken.
    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() >= self.k => worst.distance,
            _ => self.radius,
        }
    }

    /// Offers a hit; false where it is not among the best.
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
            let hit = |&(distance, id)| Hit { distance, id };
            let mut all: Vec<Hit> = pairs.iter().map(hit).collect();
            let (mut nearest, mut within) = (Best::nearest(k), Best::within(radius));
            for &hit in &all {
                prop_assert!(!nearest.push(hit) || hit.distance <= nearest.limit());
                prop_assert_eq!(within.push(hit), hit.distance <= radius);
            }
            all.sort();
            prop_assert_eq!(nearest.into_hits(), &all[..k.min(all.len())]);
            all.retain(|hit| hit.distance <= radius);
            prop_assert_eq!(within.into_hits(), all);
        }
    }
}
