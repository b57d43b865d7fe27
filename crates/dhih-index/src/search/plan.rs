//! Which way of searching is cheapest from where a search stands: looking up whole codes a few bits away, looking up buckets of
//! substrings, or scanning all codes. The costs are measured ones; what a set of codes is like is looked at when it is
//! indexed. The ways themselves: `search.rs`.

use serde::{Deserialize, Serialize};

use crate::table::probe;

/// Nanoseconds, on one core of a Zen 4 with AVX-512. Only their ratios matter.
mod cost {
    /// A look-up of a whole code, among others that are under way.
    pub(super) const LOOK_UP: f64 = 4.0;
    /// A step of probing beside its buckets: the first of them is waited for.
    pub(super) const STEP: f64 = 250.0;
    /// A bucket, among others.
    pub(super) const BUCKET: f64 = 30.0;
    /// A byte of one of the first codes of a bucket, which come from a place in memory of their own.
    pub(super) const FIRST_BYTE: f64 = 0.11;
    /// How many bytes are first ones: then the machine sees that they are read in order.
    pub(super) const FIRST: f64 = 1536.0;
    /// A byte of code that is read in order: from the last cache, and from memory.
    pub(super) const BYTE: f64 = 0.008;
    pub(super) const FAR_BYTE: f64 = 0.030;
    /// Codes of so many bytes are in the last cache from one scan to the next; of so many, nothing is.
    pub(super) const CACHED: f64 = 8e6;
    pub(super) const UNCACHED: f64 = 32e6;
    /// A code beside its bytes.
    pub(super) const CODE: f64 = 0.04;
    /// A code that is read at a place of its own.
    pub(super) const FAR_CODE: f64 = 8.0;
    /// What it takes more to find a code in a bucket than in a scan: it may have been met before, and others are elsewhere.
    pub(super) const FOUND: f64 = 20.0;
}

/// The numbers of neighbours whose distances are looked at.
const NEIGHBOURS: [usize; 4] = [1, 10, 100, 1000];
/// Distances from a substring at which the size of buckets is looked at.
pub(crate) const WEIGHTS: usize = 3;

/// What a set of codes is like, from a sample of its own items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Mean distance of the 1st, 10th, 100th and 1,000th neighbour.
    pub(crate) distances: [f64; NEIGHBOURS.len()],
    /// Mean number of codes in a bucket 0, 1 and 2 bits from an item's own.
    pub(crate) bucket_codes: [f64; WEIGHTS],
}

impl Profile {
    /// From the distances of the neighbours of each sampled item, in order, and mean sizes of buckets.
    pub(crate) fn new(neighbours: &[Vec<u32>], bucket_codes: [f64; WEIGHTS]) -> Self {
        let mean = |k: usize| {
            let kth = |found: &Vec<u32>| found.get(k - 1).or(found.last()).copied().unwrap_or(0);
            let sum: f64 = neighbours.iter().map(|found| f64::from(kth(found))).sum();
            sum / neighbours.len().max(1) as f64
        };
        Self { distances: NEIGHBOURS.map(mean), bucket_codes }
    }

    /// To 64ths, which have the same form in every program that reads them.
    pub(crate) fn rounded(self) -> Self {
        let round = |x: f64| (x * 64.0).round() / 64.0;
        Self { distances: self.distances.map(round), bucket_codes: self.bucket_codes.map(round) }
    }

    /// How many neighbours [`Self::new`] wants to see.
    pub(crate) fn neighbours() -> usize {
        NEIGHBOURS[NEIGHBOURS.len() - 1]
    }

    /// About how far the `k`-th neighbour is: between two known ones by the logarithm of `k`.
    pub(crate) fn expected(&self, k: usize) -> u32 {
        let at = (k.max(1) as f64).log10().min((NEIGHBOURS.len() - 1) as f64);
        let below = (at as usize).min(NEIGHBOURS.len() - 2);
        let (low, high) = (self.distances[below], self.distances[below + 1]);
        (low + (high - low) * (at - below as f64)).round() as u32
    }
}

/// A way to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// Look up all codes one bit further away.
    LookUp,
    /// Look up the next buckets.
    Probe,
    /// Scan all codes.
    Scan,
}

/// The set that is searched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) bits: u32,
    /// Number of different codes.
    pub(crate) codes: usize,
    /// Bytes of a code.
    pub(crate) width: usize,
    /// Whether the tables have copies of the codes in their own order.
    pub(crate) copied: bool,
    /// Whether whole codes can be looked up.
    pub(crate) whole: bool,
    pub(crate) profile: Option<&'a Profile>,
}

/// The next step of probing: the buckets that differ in `weight` bits, of the table in place `part` of the search's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ProbeStep {
    pub(crate) weight: u32,
    pub(crate) part: usize,
}

/// A table, in its place among those that are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TableOrder {
    /// The number of codes in the query's own bucket.
    pub(crate) own: u32,
    pub(crate) part: usize,
    /// The length of the substring.
    pub(crate) bits: u32,
}

/// What each way would cost to the end, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Costs {
    pub(crate) look_up: f64,
    pub(crate) probe: f64,
    pub(crate) scan: f64,
}

impl Costs {
    /// The cheapest.
    pub(crate) fn best(self) -> Action {
        if self.look_up <= self.probe && self.look_up <= self.scan {
            Action::LookUp
        } else if self.probe <= self.scan {
            Action::Probe
        } else {
            Action::Scan
        }
    }
}

impl Plan<'_> {
    /// Scanning all codes.
    pub(crate) fn scan(&self) -> f64 {
        self.codes as f64 * (cost::CODE + self.byte() * self.width as f64)
    }

    /// A byte of code among others that are read in order.
    fn byte(&self) -> f64 {
        let bytes = self.codes as f64 * self.width as f64;
        let far = (bytes - cost::CACHED) / (cost::UNCACHED - cost::CACHED);
        cost::BYTE + far.clamp(0.0, 1.0) * (cost::FAR_BYTE - cost::BYTE)
    }

    /// Looking at so many rows one by one.
    pub(crate) fn each(&self, rows: f64) -> f64 {
        2.0 * rows * cost::FAR_CODE
    }

    /// Looking up all codes at the distances `from..=to`.
    pub(crate) fn look_up(&self, from: u32, to: u32) -> f64 {
        // Further away there are more codes than any set has.
        if !self.whole || to > from + 8 {
            return f64::INFINITY;
        }
        (from..=to).map(|distance| probe::count(self.bits, distance) * cost::LOOK_UP).sum()
    }

    /// Probing from `next` until all codes within `to` are met, where so many of a bucket's codes are found: a share.
    pub(crate) fn probe(
        &self,
        mut next: ProbeStep,
        to: u32,
        turns: &[TableOrder],
        found: f64,
    ) -> f64 {
        let (mut sum, ceiling) = (0.0, self.scan());
        loop {
            let turn = turns[next.part];
            let buckets = probe::count(turn.bits, next.weight);
            let codes = self.bucket_codes(next.weight, turn);
            sum += cost::STEP + buckets * (self.bucket(codes) + codes * found * cost::FOUND);
            // More than that is never chosen.
            if next.certified(turns.len()) >= to || sum > 4.0 * ceiling {
                return sum;
            }
            next = next.after(turns.len());
        }
    }

    /// A bucket of so many codes.
    fn bucket(&self, codes: f64) -> f64 {
        if !self.copied {
            return cost::BUCKET + codes * cost::FAR_CODE;
        }
        let bytes = codes * self.width as f64;
        let first = bytes.min(cost::FIRST);
        cost::BUCKET + first * cost::FIRST_BYTE + (bytes - first) * self.byte() + codes * cost::CODE
    }

    /// Codes in a bucket of this step, as far as can be known.
    fn bucket_codes(&self, weight: u32, turn: TableOrder) -> f64 {
        let own = f64::from(turn.own);
        if weight == 0 {
            return own;
        }
        let even = self.codes as f64 / 2_f64.powi(turn.bits as i32);
        let Some(Profile { bucket_codes, .. }) = self.profile else { return even };
        let typical = bucket_codes[(weight as usize).min(WEIGHTS - 1)];
        // Who lies where others crowd has more neighbours at every distance.
        let crowd = (own + 1.0) / (bucket_codes[0] + 1.0);
        (typical * crowd.clamp(0.25, 4.0)).max(even)
    }
}

impl ProbeStep {
    /// The distance within which all codes are met when this step is done: one that differs in `d` bits differs in at most
    /// `d / m` (rounded down) in one of its `m` substrings, and were it not met, it would differ in at least `weight + 1` bits
    /// in each substring up to this and `weight` in the others.
    pub(crate) fn certified(self, tables: usize) -> u32 {
        self.weight * tables as u32 + self.part as u32
    }

    /// The step after.
    pub(crate) fn after(self, tables: usize) -> Self {
        match self.part + 1 {
            part if part < tables => Self { part, ..self },
            _ => Self { weight: self.weight + 1, part: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(own: u32) -> [TableOrder; 4] {
        [0, 1, 2, 3].map(|part| TableOrder { own, part, bits: 16 })
    }

    fn plan(codes: usize, profile: Option<&Profile>) -> Plan<'_> {
        Plan { bits: 64, codes, width: 8, copied: true, whole: true, profile }
    }

    #[test]
    fn steps_certify_one_distance_after_the_other() {
        let steps = std::iter::successors(Some(ProbeStep::default()), |next| Some(next.after(3)));
        let certified: Vec<u32> = steps.take(7).map(|next| next.certified(3)).collect();
        assert_eq!(certified, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn near_neighbours_are_looked_up_middling_ones_probed_far_ones_scanned() {
        let plan = plan(10_000_000, None);
        let best = |to, own| {
            let probe = plan.probe(ProbeStep::default(), to, &turns(own), 0.0);
            Costs { look_up: plan.look_up(0, to), probe, scan: plan.scan() }.best()
        };
        let crowded = [0, 1, 2].map(|to| best(to, 50_000));
        assert_eq!(crowded, [Action::LookUp; 3]);
        assert_eq!(
            [2, 6, 14, 30].map(|to| best(to, 150)),
            [Action::Probe, Action::Probe, Action::Probe, Action::Scan]
        );
    }

    #[test]
    fn the_expected_distance_lies_between_known_ones() {
        let found: Vec<Vec<u32>> = vec![(0..2000).map(|i| i / 100).collect(), vec![4]];
        let profile = Profile::new(&found, [8.0, 4.0, 2.0]);
        assert_eq!(profile.distances, [2.0, 2.0, 2.0, 6.5]);
        assert_eq!(
            [0, 1, 100, 316, 1000, 1 << 40].map(|k| profile.expected(k)),
            [2, 2, 2, 4, 7, 7]
        );
    }

    #[test]
    fn who_lies_in_a_crowd_meets_more() {
        let profile = Profile { distances: [1.0; 4], bucket_codes: [100.0, 50.0, 20.0] };
        let plan = plan(1_000_000, Some(&profile));
        let cost = |own| plan.probe(ProbeStep { weight: 1, part: 0 }, 4, &turns(own), 0.0);
        assert!(cost(1000) > cost(100) && cost(100) > cost(1));
        let finding = |found| plan.probe(ProbeStep { weight: 1, part: 0 }, 4, &turns(100), found);
        assert!(finding(0.5) > finding(0.1) && finding(0.1) > finding(0.0));
    }
}
