//! What a search would cost on a shard: whether substrings are probed a bit farther out, or all codes are read. In microseconds of one
//! core, estimated for a server whose pages are in memory; only their ratios count.

use std::ops::Range;

use dhih_index::Substring;

/// To find a value in an index.
const PROBE: f64 = 1.2;
/// To compare a code that an index brought.
const CANDIDATE: f64 = 0.25;
/// To compare a code in turn.
const SCAN: f64 = 0.13;

/// The way of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By the indexes.
    Probe,
    /// Through all codes.
    Scan,
}

/// Values so many bits off, of some substrings. Those before have been probed as far, and all of them one bit less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) weight: u32,
    pub(super) parts: Range<usize>,
}

impl Step {
    /// The query's own value of one substring: where many codes are equal, that is enough.
    pub(super) fn first() -> Self {
        Self { weight: 0, parts: 0..1 }
    }
}

/// How many bits each substring has, and how many rows the largest shard.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    lengths: Vec<u32>,
    rows: f64,
}

impl Plan {
    pub(super) fn new(substrings: &[Substring], rows: u64) -> Self {
        Self { lengths: substrings.iter().map(Substring::bits).collect(), rows: rows as f64 }
    }

    /// Whether a step is worth it.
    pub(super) fn way(&self, step: &Step) -> Way {
        let probe = |&bits: &u32| {
            let values = choose(bits, step.weight);
            values * PROBE + CANDIDATE * self.rows * values / 2_f64.powi(bits as i32)
        };
        let cost: f64 = self.lengths[step.parts.clone()].iter().map(probe).sum();
        if cost < SCAN * self.rows { Way::Probe } else { Way::Scan }
    }

    /// All codes within this distance are known after a step. One that is not differs in `weight + 1` bits or more in each substring
    /// that was probed so far, in `weight` or more in each other: at least one bit more, in sum.
    pub(super) fn certain_within(&self, step: &Step) -> u32 {
        let parts = self.lengths.len();
        if step.parts.end == parts && self.lengths.iter().all(|bits| step.weight >= *bits) {
            return u32::MAX;
        }
        parts as u32 * step.weight + step.parts.end as u32 - 1
    }

    /// The step after one, where codes up to the distance `limit` matter: as many substrings as make that certain, at most all.
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

/// The number of ways to choose `few` of `all`.
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
