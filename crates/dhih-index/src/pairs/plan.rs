//! Plans how pairs are found at the least cost: the number of tables, their substrings, and in how many bits the values of a pair may
//! differ in each. The estimates rest on measured costs and on a sample of the codes; pairs never depend on them.

use rayon::prelude::*;

use crate::build::sample::evenly_spaced;
use crate::codes::bits::bytes_per_code;
use crate::table::probe;
use crate::table::substring::{self, Extractor, Substring};

/// Costs in nanoseconds of one thread of a Zen 4 with AVX-512. Only their ratios matter.
mod cost {
    /// A bucket, apart from its codes, for all left items of one value together, ...
    pub(super) const BUCKET: f64 = 20.0;
    /// ... and a byte of its codes, which are copied for these items.
    pub(super) const COPIED_BYTE: f64 = 0.03;
    /// A comparison of two codes, apart from their bytes, ...
    pub(super) const CODE: f64 = 0.10;
    /// ... and for each byte.
    pub(super) const BYTE: f64 = 0.022;
    /// An item, for each table: sorting it among the left items, and finding its buckets.
    pub(super) const ITEM: f64 = 60.0;
    /// The same where items are compared with one another bucket by bucket, without being sorted and looked up.
    pub(super) const ITEM_WITHIN: f64 = 15.0;
    /// An item that is put into a table, apart from its bytes, ...
    pub(super) const BUILD: f64 = 30.0;
    /// ... and for each byte.
    pub(super) const BUILD_BYTE: f64 = 0.5;
}

/// Left items of a block at most, unless tables have to be made again for each block. Few in tests, whose sets are small.
pub(super) const BLOCK: usize = if cfg!(test) { 40 } else { 1 << 19 };
/// Codes that are sampled to choose substrings, and to count how many fall into near buckets.
pub(super) const SAMPLED: usize = 8192;
/// Of these, codes that are taken for left items.
const SAMPLED_LEFT: usize = 128;
/// Of these, codes that are taken for right items.
const SAMPLED_RIGHT: usize = 4096;
/// The most tables of a join.
const MOST_TABLES: u32 = 48;
/// A number of tables is examined with the real codes only if, for codes without structure, it takes at most this many times as long as the
/// best number.
const PROMISING: f64 = 3.0;

/// A substring and the number of its bits in which the codes of a pair may differ.
#[derive(Debug, Clone)]
pub(super) struct WeightedSubstring {
    pub(super) substring: Substring,
    pub(super) weight: u32,
}

/// The join that is planned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) bits: u32,
    pub(super) radius: u32,
    /// Numbers of items.
    pub(super) left: usize,
    pub(super) right: usize,
    /// Whether both sides are the same items.
    pub(super) same: bool,
    /// Bytes that the tables may take.
    pub(super) memory: u64,
    /// Codes of the right items, evenly spaced.
    pub(super) sample: &'a [u8],
}

impl Task<'_> {
    /// Bytes that a right item takes while the tables are made and searched: its id, its code, and in each table its row, its code, and
    /// two places of the directory; and while a table is made, its value and its row, twice and with a place.
    pub(super) fn bytes_of_item(&self, tables: usize) -> usize {
        let width = bytes_per_code(self.bits);
        8 + width + tables.max(1) * (4 + width + 8) + 20
    }

    /// Right items whose tables fit into memory at a time.
    pub(super) fn capacity(&self, tables: usize) -> usize {
        let items = self.memory / self.bytes_of_item(tables) as u64;
        usize::try_from(items).unwrap_or(usize::MAX).max(1)
    }

    /// The substrings whose tables find all pairs at the least estimated cost. None where it is cheapest to compare all with all.
    pub(super) fn choose(&self) -> Vec<WeightedSubstring> {
        let pairs = self.left as f64 * self.right as f64;
        let all = pairs * self.share() * self.code();
        let counts = 1..=MOST_TABLES.min(self.radius.saturating_add(1)).min(self.bits);
        let uniform: Vec<(u32, f64)> = counts
            .map(|count| {
                let longest = longest(self.right);
                let lengths = weights(self.radius, count)
                    .zip((0..count).map(|at| length(self.bits, count, at).min(longest)));
                let tables =
                    lengths.map(|(weight, bits)| (bits, weight, uniform_share(bits, weight)));
                (count, self.cost(&tables.collect::<Vec<_>>()))
            })
            .collect();
        let least = uniform.iter().map(|(_, cost)| *cost).fold(all, f64::min);
        let promising = uniform.into_iter().filter(|(_, cost)| *cost <= PROMISING * least);
        let promising: Vec<u32> = promising.map(|(count, _)| count).collect();
        let examined = promising.into_par_iter().with_max_len(1).filter_map(|count| {
            let chosen = self.with_tables(count)?;
            let tables: Vec<_> = chosen.par_iter().map(|table| self.sampled(table)).collect();
            Some((self.cost(&tables), chosen))
        });
        let examined: Vec<_> = examined.collect();
        let best = examined.into_iter().min_by(|(a, _), (b, _)| a.total_cmp(b));
        best.filter(|(cost, _)| *cost < all).map(|(_, chosen)| chosen).unwrap_or_default()
    }

    /// `count` substrings with their weights; the longest ones have the greatest weights.
    pub(super) fn with_tables(&self, count: u32) -> Option<Vec<WeightedSubstring>> {
        let chosen =
            substring::choose_by_sample(self.bits, self.right, self.sample, Some(count)).ok()?;
        if chosen.len() != count as usize {
            return None;
        }
        let mut chosen = chosen;
        chosen.sort_by_key(|substring| std::cmp::Reverse(substring.bits()));
        let weighted = chosen.into_iter().zip(weights(self.radius, count));
        Some(weighted.map(|(substring, weight)| WeightedSubstring { substring, weight }).collect())
    }

    /// The bits and the weight of a table, and the share of the sampled pairs whose values differ in at most that weight of bits.
    fn sampled(&self, table: &WeightedSubstring) -> (u32, u32, f64) {
        let WeightedSubstring { substring, weight } = table;
        let (extractor, bits) = (Extractor::new(substring), substring.bits());
        let width = bytes_per_code(self.bits);
        let values: Vec<u32> =
            self.sample.chunks_exact(width).map(|code| extractor.of(code)).collect();
        let (mut near, mut compared) = (0_u64, 0_u64);
        // Left codes are those behind right ones, so that few are both.
        for left in evenly_spaced(values.len(), SAMPLED_LEFT).map(|at| (at + 1) % values.len()) {
            for right in evenly_spaced(values.len(), SAMPLED_RIGHT) {
                let is_near = (values[left] ^ values[right]).count_ones() <= *weight;
                near += u64::from(is_near && left != right);
                compared += u64::from(left != right);
            }
        }
        let share = near as f64 / compared.max(1) as f64;
        (bits, *weight, share.max(uniform_share(bits, *weight)))
    }

    /// The cost of a join with such tables: bits, weight, and the share of all items in the buckets that an item looks at.
    fn cost(&self, tables: &[(u32, u32, f64)]) -> f64 {
        let (left, right) = (self.left as f64, self.right as f64);
        let width = bytes_per_code(self.bits) as f64;
        let passes = right / self.capacity(tables.len()) as f64;
        // Of items that are compared with one another, each two buckets meet once, and no block is cut from them.
        let (item, block, met) = match self.same && passes <= 1.0 {
            true => (cost::ITEM_WITHIN, left, 0.5),
            false => (cost::ITEM, left.min(BLOCK as f64), 1.0),
        };
        let search = |&(bits, weight, share): &(u32, u32, f64)| {
            let buckets: f64 =
                (0..=weight.min(bits)).map(|weight| probe::count(bits, weight)).sum();
            let codes = right * share * self.share();
            // Left items of a block that have the same value.
            let group = (block / 2_f64.powi(bits as i32)).max(1.0);
            let shared = buckets * met * cost::BUCKET + codes * width * cost::COPIED_BYTE;
            item + shared / group + codes * self.code()
        };
        // Tables that do not fit are made again for each block of left items, which are about as many as the passes.
        let builds = if passes <= 1.0 { 1.0 } else { passes.ceil() };
        let build = tables.len() as f64 * (cost::BUILD + width * cost::BUILD_BYTE);
        left * tables.iter().map(search).sum::<f64>() + builds * right * build
    }

    /// The cost of comparing two codes.
    fn code(&self) -> f64 {
        cost::CODE + bytes_per_code(self.bits) as f64 * cost::BYTE
    }

    /// The share of the right items that are left when an item is looked at, on average.
    fn share(&self) -> f64 {
        if self.same { 0.5 } else { 1.0 }
    }
}

/// The weights of `count` tables, none ascending. Counted one higher each they add up to `radius + 1`: the codes of a pair that differed in
/// more bits of every substring would differ in more than `radius` bits in all.
fn weights(radius: u32, count: u32) -> impl Iterator<Item = u32> {
    let sum = u64::from(radius) + 1;
    let (each, more) = (sum / u64::from(count), sum % u64::from(count));
    // `count` is at most `radius + 1`, so that each is at least 1.
    (0..u64::from(count)).map(move |at| (each + u64::from(at < more) - 1) as u32)
}

/// The length of substring `at` of `count`, in bits, before it is cut to the longest that is useful.
fn length(bits: u32, count: u32, at: u32) -> u32 {
    bits / count + u32::from(at < bits % count)
}

/// The longest substring that is chosen for this many codes, in bits.
fn longest(codes: usize) -> u32 {
    (codes.max(2) as f64).log2().ceil().clamp(8.0, substring::MAX_SUBSTRING as f64) as u32
}

/// The share of uniform values of `bits` bits that differ from one of them in at most `weight` bits.
fn uniform_share(bits: u32, weight: u32) -> f64 {
    let near: f64 = (0..=weight.min(bits)).map(|weight| probe::count(bits, weight)).sum();
    near / 2_f64.powi(bits as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_certify_the_radius() {
        for radius in 0..80 {
            for count in 1..=radius + 1 {
                let weights: Vec<u32> = weights(radius, count).collect();
                assert_eq!(weights.len(), count as usize);
                assert_eq!(weights.iter().map(|weight| weight + 1).sum::<u32>(), radius + 1);
                assert!(weights.is_sorted_by(|a, b| a >= b));
            }
        }
    }

    #[test]
    fn few_codes_are_compared_and_many_have_tables() {
        let numbers = &mut crate::test_numbers::Numbers(3);
        let sample: Vec<u8> = (0..8 * SAMPLED).map(|_| numbers.next() as u8).collect();
        let task = |count: usize, radius| Task {
            bits: 64,
            radius,
            left: count,
            right: count,
            same: true,
            memory: u64::MAX,
            sample: &sample,
        };
        assert!(task(300, 3).choose().is_empty());
        let chosen = task(1_000_000, 3).choose();
        assert!((3..=4).contains(&chosen.len()), "{chosen:?}");
        // Codes that are near most others have no use for tables.
        assert!(task(1_000_000, 31).choose().is_empty());
        assert!(task(1_000_000, 64).choose().is_empty());
        // If all codes are equal, every code is compared with every other, whatever the tables.
        let equal = Task { sample: &[7; 8 * SAMPLED], ..task(1_000_000, 3) };
        assert!(equal.choose().is_empty());
    }
}
