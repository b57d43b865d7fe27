//! How far each table was probed, and which table is probed next: the one whose next buckets cost least. Every step makes the same progress
//! in any table, so that always taking the cheapest step is the cheapest way to any distance. This is the general pigeonhole principle,
//! with thresholds that are chosen for each query (Qin et al., "GPH: Similarity search in Hamming space", ICDE 2018). `buckets.rs` carries
//! out the steps.

use crate::search::cost::StepSize;
use crate::search::plan::Plan;
use crate::search::profile::WEIGHTS;
use crate::table::probe;

/// A table, and how far a search has probed it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TableProgress {
    /// The number of the table in the segment.
    pub(crate) table: usize,
    /// The length of its substring in bits.
    pub(crate) bits: u32,
    /// The buckets whose values differ from the query's own in fewer bits than this were probed.
    pub(crate) done: u32,
    /// The number of codes in the query's own bucket.
    own: u32,
    /// How many times as many codes as usual the buckets near the query have.
    density: f64,
}

/// The result of a step of probing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Probed {
    /// Codes that were compared, ...
    pub(crate) compared: u64,
    /// ... and how many of them were within the limit.
    pub(crate) near: usize,
}

impl std::ops::Add for Probed {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { compared: self.compared + other.compared, near: self.near + other.near }
    }
}

impl TableProgress {
    /// A table that was not probed yet.
    pub(crate) fn new(plan: &Plan, table: usize, bits: u32, own: u32) -> Self {
        let usual = plan.profile.map_or(0.0, |profile| profile.bucket_codes[0]);
        // If the query's own bucket is fuller than most, so are those near it.
        let density = ((f64::from(own) + 1.0) / (usual + 1.0)).clamp(0.25, 4.0);
        Self { table, bits, done: 0, own, density }
    }

    /// Whether every code is in a bucket that was probed.
    pub(crate) fn is_complete(&self) -> bool {
        self.done > self.bits
    }

    /// Goes on to the buckets that are one bit further away.
    pub(crate) fn advance(&mut self, plan: &Plan, probed: Probed) {
        if self.done > 0 {
            // The buckets at one distance predict those at the next distance better than the query's own bucket does.
            let found = probed.compared as f64 / probe::count(self.bits, self.done).max(1.0);
            let usual = plan.usual_bucket(self.bits, self.done);
            self.density = ((found + 0.5) / (usual + 0.5)).clamp(0.1, 10.0);
        }
        self.done += 1;
    }

    /// The cost of its next step.
    pub(crate) fn cost(&self, plan: &Plan, near_share: f64) -> f64 {
        let codes = match self.done {
            0 => f64::from(self.own),
            weight => plan.usual_bucket(self.bits, weight) * self.density,
        };
        let buckets = probe::count(self.bits, self.done);
        plan.costs.step(StepSize { buckets, codes, near_share, in_order: self.table == 0 })
    }
}

impl Plan<'_> {
    /// The usual number of codes in a bucket of this weight of a substring.
    fn usual_bucket(&self, bits: u32, weight: u32) -> f64 {
        let even = self.costs.codes as f64 / (1_u64 << bits) as f64;
        let sampled =
            self.profile.map(|profile| profile.bucket_codes[(weight as usize).min(WEIGHTS - 1)]);
        sampled.unwrap_or(even).max(even)
    }

    /// The place of the table whose next step is cheapest, and the cost of that step.
    pub(crate) fn next_table(&self, tables: &[TableProgress], near_share: f64) -> (usize, f64) {
        #[cfg(test)]
        if let Some(place) = odd_order::next(tables.len()) {
            return (place, tables[place].cost(self, near_share));
        }
        let costs = tables.iter().map(|table| table.cost(self, near_share));
        costs
            .enumerate()
            .fold((0, f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best })
    }

    /// The cost of probing until all codes within a distance are found. `steps` is memory to work in.
    pub(crate) fn probe(&self, probing: Probing, steps: &mut Vec<(TableProgress, f64)>) -> f64 {
        let Probing { tables, to, near_share } = probing;
        steps.clear();
        steps.extend(tables.iter().map(|table| (*table, table.cost(self, near_share))));
        // A way that costs more than this is never chosen.
        let (mut sum, most) = (0.0, 2.0 * self.scan());
        for _ in certain(tables)..=to {
            let next = steps.iter_mut().min_by(|(_, a), (_, b)| a.total_cmp(b));
            let Some((table, cost)) = next else { return f64::INFINITY };
            sum += *cost;
            table.done += 1;
            if table.is_complete() || sum > most {
                break;
            }
            *cost = table.cost(self, near_share);
        }
        sum
    }
}

/// Probing that continues from a state of the tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probing<'a> {
    pub(crate) tables: &'a [TableProgress],
    /// It is done when all codes within this distance are found.
    pub(crate) to: u32,
    /// The share of the codes in a bucket that are within the limit, and wanted.
    pub(crate) near_share: f64,
}

/// All codes nearer than this are in buckets that were probed. A code that is in none of them differs from the query in at least `done`
/// bits of the substring of each table. Substrings share no bit, so that these bits add up.
pub(crate) fn certain(tables: &[TableProgress]) -> u32 {
    if tables.iter().any(TableProgress::is_complete) {
        return u32::MAX;
    }
    tables.iter().map(|table| table.done).sum()
}

/// A random order of tables, which tests force upon the searches of their thread. Hits must not depend on it.
#[cfg(test)]
pub(crate) mod odd_order {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Begins to choose tables at random. With `None`, their costs decide again.
    pub(crate) fn set(seed: Option<u64>) {
        STATE.set(seed);
    }

    /// Chooses the next of `tables` tables. The first ones come most of the time, so that the tables are probed to very different
    /// distances.
    pub(super) fn next(tables: usize) -> Option<usize> {
        let state = STATE.get()?.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        STATE.set(Some(state));
        let number = (state >> 33) as usize;
        Some(if number.is_multiple_of(4) {
            number / 4 % tables
        } else {
            (number / 4 % 3).min(tables - 1)
        })
    }
}
