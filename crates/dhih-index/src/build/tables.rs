//! Chooses the number of tables for the goal of an index: the number with which such a search is estimated to cost least, by the same costs
//! by which searches choose their steps (`search/cost.rs`). `table/substring.rs` chooses the bits of the substrings.

use crate::build::sample::evenly_spaced;
use crate::codes::Codes;
use crate::error::Result;
use crate::flat::together::Pass;
use crate::flat::topk::Best;
use crate::hamming::Near;
use crate::hits::{Bound, Hit};
use crate::search::cost::{CodeCosts, StepSize};
use crate::table::probe;
use crate::table::substring::{self, Extractor, Substring};

/// What an index is built for. It answers all other searches, too.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Goal, Index, IndexBuilder, IndexConfig};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(16, vec![1, 2, 3, 4, 5, 6])?);
/// let config = IndexConfig::default().with_goal(Goal::Within { radius: 3 });
/// IndexBuilder::new(config).build(&set, &dir)?;
/// assert_eq!(Index::open(&dir)?.within(&[1, 2], 3)?.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Goal {
    /// To find all items within a radius.
    Within {
        /// The radius in bits.
        radius: u32,
    },
    /// To find the nearest items.
    Nearest {
        /// How many of them.
        k: usize,
    },
}

/// The most tables that are chosen: each takes memory and time to build.
const MOST_TABLES: u32 = 64;
/// A number of tables is examined with the real codes only if, for codes without structure, it costs at most this many times as much as the
/// best number.
const PROMISING: f64 = 1.5;
/// Fewer tables are preferred if they cost at most this many times as much as the best number.
const GOOD_ENOUGH: f64 = 1.05;
/// The usual number of tables is preferred if it costs at most this many times as much. Estimates are no better than that.
const USUAL: f64 = 1.5;
/// The number of sampled codes that serve as queries.
const QUERIES: usize = 64;
/// The number of sampled codes that serve as the codes in buckets.
const CODES: usize = 4096;
/// Codes that are compared before the pages of a mapped file that they are in are given back.
const CODES_PER_PIECE: usize = 1 << 18;

/// The number of tables for a goal; `None` where the usual number serves it well, or no tables are of use for it.
///
/// # Errors
/// A damaged file.
pub(crate) fn choose(codes: &Codes, goal: Goal) -> Result<Option<u32>> {
    let sample = sample(codes);
    let radius = match goal {
        Goal::Within { radius } => radius.min(codes.bits()),
        Goal::Nearest { k } => neighbour_distance(codes, k),
    };
    let width = codes.bytes_per_code();
    // The same codes give the same tables on every machine. All tables together are larger than a cache.
    let costs = CodeCosts::new(codes.len(), width, 1.0).uncached();
    let search = SearchCosts { costs, radius };
    let counts = 1..=MOST_TABLES.min(codes.bits());
    let of_uniform_codes: Vec<(u32, f64)> = counts
        .map(|count| {
            let lengths = substring::lengths(codes.bits(), codes.len(), count);
            let even = |bits: usize| vec![codes.len() as f64 / (1_u64 << bits) as f64];
            let tables = lengths.map(|bits| (bits as u32, even(bits)));
            (count, search.cost(&tables.collect::<Vec<_>>()))
        })
        .collect();
    let least = of_uniform_codes.iter().map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
    let mut promising = Vec::new();
    let cost_of_tables = |count: Option<u32>| -> Result<f64> {
        let substrings = substring::choose_by_sample(codes.bits(), codes.len(), &sample, count)?;
        let tables: Vec<_> =
            substrings.iter().map(|own| bucket_sizes(own, &sample, codes)).collect();
        Ok(search.cost(&tables))
    };
    for (count, cost) in of_uniform_codes {
        if cost <= PROMISING * least {
            promising.push((count, cost_of_tables(Some(count))?));
        }
    }
    let least = promising.iter().map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
    if least >= costs.scan(1) || cost_of_tables(None)? <= USUAL * least {
        return Ok(None);
    }
    let chosen = promising.into_iter().find(|(_, cost)| *cost <= GOOD_ENOUGH * least);
    Ok(chosen.map(|(count, _)| count))
}

/// Copies of the codes by which substrings are chosen.
pub(crate) fn sample(codes: &Codes) -> Vec<u8> {
    /// The system may map this many pages around each that is looked at, so few are looked at before they are released.
    const TOGETHER: usize = 64;
    let (number, mut sample) = (codes.len(), Vec::new());
    for (i, item) in substring::sampled_items(number).enumerate() {
        sample.extend_from_slice(codes.get(item));
        if i % TOGETHER == 0 {
            codes.release(0..number);
        }
    }
    codes.release(0..number);
    sample
}

/// Estimates the cost of a search within a radius.
struct SearchCosts {
    costs: CodeCosts,
    radius: u32,
}

impl SearchCosts {
    /// The cost with these tables. A table is given by its length and by the mean number of codes in its buckets at each distance from the
    /// query's own bucket, as far as these numbers are known. As searches do, the estimate always takes the cheapest step.
    fn cost(&self, tables: &[(u32, Vec<f64>)]) -> f64 {
        let step = |(table, weight): (usize, usize)| {
            let (bits, sizes) = &tables[table];
            let codes = sizes.get(weight).or(sizes.last()).copied().unwrap_or(0.0);
            let buckets = probe::count(*bits, weight as u32);
            let (near_share, in_order) = (0.0, table == 0);
            self.costs.step(StepSize { buckets, codes, near_share, in_order })
        };
        let mut next: Vec<(usize, f64)> =
            (0..tables.len()).map(|table| (0, step((table, 0)))).collect();
        let (mut sum, scan) = (0.0, self.costs.scan(1));
        for _ in 0..=self.radius {
            let cheapest = next.iter_mut().enumerate().min_by(|(_, a), (_, b)| a.1.total_cmp(&b.1));
            let Some((table, (weight, cost))) = cheapest else { return f64::INFINITY };
            sum += *cost;
            if *weight as u32 >= tables[table].0 || sum > 4.0 * scan {
                break;
            }
            *weight += 1;
            *cost = step((table, *weight));
        }
        sum
    }
}

/// The length of a substring, and the mean number of codes in its buckets, by their distance from a code's own.
fn bucket_sizes(substring: &Substring, sample: &[u8], codes: &Codes) -> (u32, Vec<f64>) {
    let (extractor, bits) = (Extractor::new(substring), substring.bits());
    let sample = sample.chunks_exact(codes.bytes_per_code());
    let values: Vec<u32> = sample.map(|code| extractor.of(code)).collect();
    let (mut pairs, mut compared) = (vec![0_u64; bits as usize + 1], 0_u64);
    for query in evenly_spaced(values.len(), QUERIES).map(|at| (at + 1) % values.len()) {
        for code in evenly_spaced(values.len(), CODES).filter(|code| *code != query) {
            pairs[(values[query] ^ values[code]).count_ones() as usize] += 1;
            compared += 1;
        }
    }
    let even = codes.len() as f64 / (1_u64 << bits) as f64;
    let sizes = (0..).zip(pairs).map(|(weight, pairs)| {
        let share = pairs as f64 / compared.max(1) as f64;
        (share * codes.len() as f64 / probe::count(bits, weight)).max(even)
    });
    (bits, sizes.collect())
}

/// The mean distance of the `k`-th neighbour of some of the codes.
fn neighbour_distance(codes: &Codes, k: usize) -> u32 {
    let queries = evenly_spaced(codes.len(), QUERIES);
    let queries: Vec<Vec<u8>> = queries.map(|query| codes.get(query).to_vec()).collect();
    let count = queries.len();
    let queries: Vec<&[u8]> = queries.iter().map(Vec::as_slice).collect();
    // The nearest of all is the code itself.
    let bound = Bound::nearest(k.saturating_add(1));
    let mut bests: Vec<Best> = queries.iter().map(|_| Best::new(bound)).collect();
    let (mut limits, mut pass) = (vec![u32::MAX; count], Pass::default());
    let width = codes.bytes_per_code();
    for start in (0..codes.len()).step_by(CODES_PER_PIECE) {
        let end = codes.len().min(start + CODES_PER_PIECE);
        let piece = &codes.as_bytes()[start * width..end * width];
        let Ok(()) = pass.run(piece, &queries, &mut limits, |query, first, near| {
            for &Near { at, distance } in near {
                bests[query].push(Hit { distance, id: (start + first) as u64 + u64::from(at) });
            }
            Ok::<u32, std::convert::Infallible>(bests[query].limit())
        });
        codes.release(start..end);
    }
    let last = |best: Best| best.into_hits().last().map_or(0.0, |hit| f64::from(hit.distance));
    let sum: f64 = bests.into_iter().map(last).sum();
    (sum / count.max(1) as f64).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_numbers::Numbers;

    fn uniform(bits: u32, count: usize) -> Codes {
        let numbers = &mut Numbers(5);
        let bytes = (0..count * bits as usize / 8).map(|_| numbers.next() as u8).collect();
        Codes::new(bits, bytes).unwrap()
    }

    #[test]
    fn far_neighbours_need_many_tables_until_none_are_of_use() {
        let codes = uniform(256, 200_000);
        let tables = |radius| choose(&codes, Goal::Within { radius }).unwrap();
        // The usual number is eight.
        let some = [0, 8, 20, 25].map(tables);
        assert!(some[..2].iter().all(Option::is_none), "{some:?}");
        assert!(some[2..].iter().all(|some| some.is_some_and(|count| count > 12)), "{some:?}");
        assert_eq!([tables(100), tables(256), tables(u32::MAX)], [None; 3]);
        // The nearest neighbours of random codes are about that far away.
        assert_eq!(choose(&codes, Goal::Nearest { k: 10 }).unwrap(), None);
    }

    #[test]
    fn the_distance_of_neighbours_is_measured() {
        // Each code occurs eight times.
        let bytes: Vec<u8> =
            (0..8000_u32).flat_map(|i| (i / 8).wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
        let codes = Codes::new(32, bytes).unwrap();
        assert_eq!(neighbour_distance(&codes, 7), 0);
        assert!(neighbour_distance(&codes, 8) > 2);
        let none = Codes::new(32, Vec::new()).unwrap();
        assert_eq!(choose(&none, Goal::Nearest { k: 7 }).unwrap(), None);
    }
}
