//! What a search would cost on a shard: whether substrings are probed a bit farther out, or all codes are read. Measured in
//! microseconds of one core, on a server whose pages are in memory; only their ratios count.

use dhih_index::Substring;

/// To find a value in an index.
const PROBE: f64 = 1.2;
/// To compare a code that an index brought.
const CANDIDATE: f64 = 0.25;
/// To compare a code in turn.
const SCAN: f64 = 0.13;

/// The way of the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By the indexes.
    Probe,
    /// Through all codes.
    Scan,
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

    /// How to go on once all values fewer than `weight` bits off were probed.
    pub(super) fn next(&self, weight: u32) -> Way {
        let probe = |&bits: &u32| {
            let values = choose(bits, weight);
            values * PROBE + CANDIDATE * self.rows * values / 2_f64.powi(bits as i32)
        };
        let cost: f64 = self.lengths.iter().map(probe).sum();
        if cost < SCAN * self.rows { Way::Probe } else { Way::Scan }
    }

    /// All codes within this distance are known once all values up to `weight` bits off were probed: in one of the substrings a
    /// code differs in no more than its share.
    pub(super) fn certain_within(&self, weight: u32) -> u32 {
        if self.lengths.iter().all(|bits| weight >= *bits) {
            return u32::MAX;
        }
        self.lengths.len() as u32 * (weight + 1) - 1
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

    #[test]
    fn near_values_are_probed_and_at_last_all_codes_are_read() {
        let plan = plan(3, 16, 1_000_000);
        let ways: Vec<Way> = (0..17).map(|weight| plan.next(weight)).collect();
        assert_eq!(ways[..3], [Way::Probe; 3]);
        assert!(ways.contains(&Way::Scan));
        let first = ways.iter().position(|way| *way == Way::Scan).unwrap();
        assert!((3..8).contains(&first), "{ways:?}");
        let certain = [0, 2, 15, 16].map(|weight| plan.certain_within(weight));
        assert_eq!(certain, [2, 8, 47, u32::MAX]);
    }

    #[test]
    fn few_codes_are_read_rather_than_probed() {
        assert_eq!(plan(4, 8, 0).next(0), Way::Scan);
        assert_eq!(plan(4, 8, 20).next(0), Way::Scan);
        assert_eq!(plan(1, 8, 1000).next(0), Way::Probe);
    }

    #[test]
    fn binomials_are_counted() {
        assert_eq!(
            (choose(24, 0), choose(24, 2), choose(5, 5), choose(5, 6)),
            (1.0, 276.0, 1.0, 0.0)
        );
    }
}
