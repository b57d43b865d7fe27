//! Statistics of the codes of a segment, from a sample of its own items, taken when the segment is built (`build/sample.rs`). Costs are
//! estimated with them; hits never depend on them.

use serde::{Deserialize, Serialize};

/// The neighbours whose distances a profile has: the 1st, the 10th and so on.
const NEIGHBOURS: [usize; 4] = [1, 10, 100, 1000];
/// A profile has the sizes of buckets whose values differ from an item's own in fewer bits than this.
pub(crate) const WEIGHTS: usize = 3;

/// Statistics of the codes of a segment, from a sample of its own items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// The mean distance of the 1st, 10th, 100th and 1,000th neighbour.
    pub(crate) distances: [f64; NEIGHBOURS.len()],
    /// The mean number of codes in a bucket whose value differs from an item's own in 0, 1 and 2 bits.
    pub(crate) bucket_codes: [f64; WEIGHTS],
}

impl Profile {
    /// Takes the distances of the neighbours of each sampled item, in ascending order, and the mean sizes of buckets.
    pub(crate) fn new(neighbours: &[Vec<u32>], bucket_codes: [f64; WEIGHTS]) -> Self {
        let mean = |k: usize| {
            let kth = |found: &Vec<u32>| found.get(k - 1).or(found.last()).copied().unwrap_or(0);
            let sum: f64 = neighbours.iter().map(|found| f64::from(kth(found))).sum();
            sum / neighbours.len().max(1) as f64
        };
        Self { distances: NEIGHBOURS.map(mean), bucket_codes }
    }

    /// Rounds to 64ths, which every program writes and reads as the same decimal number.
    pub(crate) fn rounded(self) -> Self {
        let round = |x: f64| (x * 64.0).round() / 64.0;
        Self { distances: self.distances.map(round), bucket_codes: self.bucket_codes.map(round) }
    }

    /// How many neighbours of each item [`Self::new`] needs.
    pub(crate) fn neighbours() -> usize {
        NEIGHBOURS[NEIGHBOURS.len() - 1]
    }

    /// The estimated number of neighbours within a distance: the inverse of [`expected`](Self::expected).
    pub(crate) fn within(&self, distance: u32) -> f64 {
        let distance = f64::from(distance);
        let is_beyond = |known: &&f64| **known <= distance;
        let below = self.distances[1..NEIGHBOURS.len() - 1].iter().filter(is_beyond).count();
        let (low, high) = (self.distances[below], self.distances[below + 1]);
        let step = (distance - low) / (high - low).max(f64::MIN_POSITIVE);
        10_f64.powf(below as f64 + step.clamp(-1.0, 20.0))
    }

    /// The estimated distance of the `k`-th neighbour. Between two known neighbours it is interpolated linearly in the logarithm of
    /// `k`, and beyond the last of them extrapolated in the same way. `k` may have a fraction: see `Plan::expected`.
    pub(crate) fn expected(&self, k: f64) -> u32 {
        let at = k.max(1.0).log10();
        let below = (at as usize).min(NEIGHBOURS.len() - 2);
        let (low, high) = (self.distances[below], self.distances[below + 1]);
        (low + (high - low) * (at - below as f64)).round() as u32
    }
}
