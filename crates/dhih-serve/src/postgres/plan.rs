//! Estimates the costs of a search on a shard: probing the next buckets of substrings, or scanning all codes. Costs are in microseconds of
//! one core, for a server whose pages are in memory; only their ratios matter.

use std::ops::Range;

use dhih_index::Substring;

/// The cost of looking up a value in an index.
const PROBE: f64 = 1.2;
/// The cost of comparing a code found in an index.
const CANDIDATE: f64 = 0.25;
/// The cost of comparing a code in a sequential scan.
const SCAN: f64 = 0.13;

/// How a step is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By the indexes.
    Probe,
    /// By a sequential scan.
    Scan,
}

/// A step probes the values that differ from the query's in exactly `weight` bits, of the substrings `parts`. Substrings before `parts`
/// have been probed with this weight, and all substrings with lower weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) weight: u32,
    pub(super) parts: Range<usize>,
}

impl Step {
    /// The first step: the query's own value of one substring. Where many codes are equal, this is sufficient.
    pub(super) fn first() -> Self {
        Self { weight: 0, parts: 0..1 }
    }
}

/// The number of bits of each substring, and the number of rows of the largest shard.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    lengths: Vec<u32>,
    rows: f64,
}

impl Plan {
    pub(super) fn new(substrings: &[Substring], rows: u64) -> Self {
        Self { lengths: substrings.iter().map(Substring::bits).collect(), rows: rows as f64 }
    }

    /// Whether probing is cheaper than a scan.
    pub(super) fn way(&self, step: &Step) -> Way {
        let probe = |&bits: &u32| {
            let values = choose(bits, step.weight);
            values * PROBE + CANDIDATE * self.rows * values / 2_f64.powi(bits as i32)
        };
        let cost: f64 = self.lengths[step.parts.clone()].iter().map(probe).sum();
        if cost < SCAN * self.rows { Way::Probe } else { Way::Scan }
    }

    /// After a step, all codes within this distance are known. A code that is not known differs in at least `weight + 1` bits in each
    /// substring that was probed with this weight, and in at least `weight` bits in each other one. The distance is one less than the sum
    /// of these.
    pub(super) fn certain_within(&self, step: &Step) -> u32 {
        let parts = self.lengths.len();
        if step.parts.end == parts && self.lengths.iter().all(|bits| step.weight >= *bits) {
            return u32::MAX;
        }
        parts as u32 * step.weight + step.parts.end as u32 - 1
    }

    /// The step after `step`, if codes up to the distance `limit` matter: as many substrings as are needed for certainty up to `limit`, but
    /// at most all.
    pub(super) fn after(&self, step: &Step, limit: u32) -> Step {
        let parts = self.lengths.len();
        let (weight, start) = match step.parts.end == parts {
            true => (step.weight + 1, 0),
            false => (step.weight, step.parts.end),
        };
        let needed = limit.saturating_sub(parts as u32 * weight) as usize;
        Step { weight, parts: start..needed.clamp(start, parts - 1) + 1 }
    }
}

/// The binomial coefficient: the number of ways to choose `few` of `all`.
fn choose(all: u32, few: u32) -> f64 {
    if few > all {
        return 0.0;
    }
    (0..few).fold(1.0, |ways, i| ways * f64::from(all - i) / f64::from(i + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(parts: u16, length: u16, rows: u64) -> Plan {
        let part = |j| Substring::new((j * length..(j + 1) * length).collect(), 1024).unwrap();
        Plan::new(&(0..parts).map(part).collect::<Vec<_>>(), rows)
    }

    fn whole(weight: u32, parts: usize) -> Step {
        Step { weight, parts: 0..parts }
    }

    #[test]
    fn near_values_are_probed_and_at_last_all_codes_are_read() {
        let plan = plan(3, 16, 1_000_000);
        let ways: Vec<Way> = (0..17).map(|weight| plan.way(&whole(weight, 3))).collect();
        assert_eq!(ways[..3], [Way::Probe; 3]);
        let first = ways.iter().position(|way| *way == Way::Scan).unwrap();
        assert!((3..8).contains(&first), "{ways:?}");
    }

    #[test]
    fn few_codes_are_read_rather_than_probed() {
        assert_eq!(plan(4, 8, 0).way(&whole(0, 4)), Way::Scan);
        assert_eq!(plan(4, 8, 20).way(&whole(0, 4)), Way::Scan);
        assert_eq!(plan(1, 8, 1000).way(&whole(0, 1)), Way::Probe);
    }

    #[test]
    fn steps_go_as_far_as_matters() {
        let plan = plan(3, 16, 1_000_000);
        let step = |weight, parts| Step { weight, parts };
        assert_eq!(plan.certain_within(&Step::first()), 0);
        for (limit, steps) in [
            (1, vec![step(0, 1..2)]),
            (2, vec![step(0, 1..3)]),
            (4, vec![step(0, 1..3), step(1, 0..2)]),
            (9, vec![step(0, 1..3), step(1, 0..3), step(2, 0..3), step(3, 0..1)]),
        ] {
            let mut now = Step::first();
            for expected in steps {
                assert!(plan.certain_within(&now) < limit);
                now = plan.after(&now, limit);
                assert_eq!(now, expected);
            }
            assert_eq!(plan.certain_within(&now), limit);
        }
        let certain = [15, 16].map(|weight| plan.certain_within(&whole(weight, 3)));
        assert_eq!(certain, [47, u32::MAX]);
    }

    #[test]
    fn binomials_are_counted() {
        assert_eq!(
            (choose(24, 0), choose(24, 2), choose(5, 5), choose(5, 6)),
            (1.0, 276.0, 1.0, 0.0)
        );
    }
}
