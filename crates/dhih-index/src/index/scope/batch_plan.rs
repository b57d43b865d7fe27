//! What the queries of a batch know of each other: how many of them ended in a scan of a component. The cost of a scan that others share
//! depends on it. Threads count without waiting for each other, and hits never depend on the counts.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::flat::together::QUERIES_PER_PASS;
use crate::search::{BatchForecast, Ending};

/// A forecast counts as much as this many planned queries.
const ASSUMED: usize = 16;
/// After so many plans, ...
const PLANNED_AT_LEAST: usize = 32;
/// ... queries are no longer planned if less than one in so many was spared the scan: plans cost a twentieth of a scan.
const SPARED_ONE_IN: usize = 20;

/// What holds for all queries of a batch.
pub(super) struct BatchPlan {
    /// The number of queries.
    queries: usize,
    /// What is known of the scans of each component, in the order of the scope.
    scans: Vec<Scans>,
}

/// How many queries of a batch end in a scan of a component.
struct Scans {
    forecast: BatchForecast,
    /// The queries that were planned so far, ...
    planned: AtomicUsize,
    /// ... and how many of them ended in the scan.
    scanned: AtomicUsize,
}

impl BatchPlan {
    /// The plan of a batch of this many queries, with a forecast for each component.
    pub(super) fn new(queries: usize, forecasts: impl IntoIterator<Item = BatchForecast>) -> Self {
        let scans = |forecast| Scans { forecast, planned: 0.into(), scanned: 0.into() };
        Self { queries, scans: forecasts.into_iter().map(scans).collect() }
    }

    /// Whether queries share a scan of a component without a plan for each: because that is cheap, or because nearly all queries that were
    /// planned ended in the scan.
    pub(super) fn scans_at_once(&self, place: usize) -> bool {
        let Scans { forecast, planned, scanned } = &self.scans[place];
        let (scanned, planned) = (scanned.load(Relaxed), planned.load(Relaxed));
        *forecast == BatchForecast::ScannedAtOnce
            || planned >= PLANNED_AT_LEAST
                && SPARED_ONE_IN * planned.saturating_sub(scanned) < planned
    }

    /// The number of queries that are expected to share a scan of a component.
    pub(super) fn sharing(&self, place: usize) -> usize {
        let Scans { forecast, planned, scanned } = &self.scans[place];
        let assumed = if *forecast == BatchForecast::NotScanned { 0 } else { ASSUMED };
        let scanned = scanned.load(Relaxed) + assumed;
        let all = planned.load(Relaxed) + ASSUMED;
        (self.queries * scanned / all).clamp(1, QUERIES_PER_PASS)
    }

    /// Takes note of how the plan of a query ended.
    pub(super) fn note(&self, place: usize, ending: &Ending) {
        self.scans[place].planned.fetch_add(1, Relaxed);
        if let Ending::Scan { .. } = ending {
            self.scans[place].scanned.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hits::Reach;

    const SCAN: Ending = Ending::Scan { certain: 0, expected: None };
    const FOUND: Ending = Ending::Reached(Reach::ALL);

    #[test]
    fn the_price_of_a_scan_follows_those_that_share_it() {
        use BatchForecast::{NotScanned, Scanned, ScannedAtOnce};
        let plan = BatchPlan::new(1000, [Scanned, NotScanned, ScannedAtOnce]);
        assert_eq!([0, 1].map(|place| plan.sharing(place)), [QUERIES_PER_PASS, 1]);
        assert_eq!([0, 1, 2].map(|place| plan.scans_at_once(place)), [false, false, true]);
        for _ in 0..300 {
            plan.note(0, &FOUND);
            plan.note(1, &FOUND);
        }
        assert_eq!([0, 1].map(|place| plan.sharing(place)), [1000 * 16 / 316, 1]);
        for _ in 0..300 {
            plan.note(1, &SCAN);
        }
        assert_eq!(plan.sharing(1), QUERIES_PER_PASS);
        assert!(!plan.scans_at_once(1));
        assert_eq!(BatchPlan::new(1, [Scanned]).sharing(0), 1);
    }

    #[test]
    fn queries_are_planned_until_it_spares_hardly_any_the_scan() {
        let plan = BatchPlan::new(1000, [BatchForecast::Scanned]);
        for planned in 0..PLANNED_AT_LEAST {
            assert!(!plan.scans_at_once(0), "after {planned}");
            plan.note(0, &SCAN);
        }
        assert!(plan.scans_at_once(0));
        plan.note(0, &FOUND);
        plan.note(0, &FOUND);
        // Two of 34 were spared it.
        assert!(!plan.scans_at_once(0));
    }
}
