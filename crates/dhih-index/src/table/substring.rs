//! Substrings of codes, one per table: how many, and which bits. Bits that vary together are kept apart, so that the buckets of
//! a table are of similar size (after Wan et al., "Data driven multi-index hashing", ICIP 2013). What is done with them:
//! `table.rs`, `search.rs`.

use serde::Serialize;

use crate::codes::Codes;
use crate::codes::bits::bytes_per_code;
use crate::error::{Error, Result};
use crate::table::probe::Masks;

/// The longest substring, in bits: a table has a place for each of its values.
pub(crate) const MAX_SUBSTRING: usize = 24;
/// Codes that are looked at to choose the bits.
const SAMPLE: usize = 8192;
/// Codes a bucket, on average, at least: a bucket costs a look at a place in memory far from the last, its codes are read
/// in one go.
const BUCKET: f64 = 128.0;
/// Tables that are built unless more are asked for: each has a copy of the codes.
const TABLES: usize = 8;

/// Some bits of each code, in the order in which they make up a number, lowest first. No two substrings share a bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Substring {
    positions: Vec<u16>,
}

impl Substring {
    /// Disjoint substrings for codes like these: `count` of them, or as many as suit an index of so many codes.
    ///
    /// # Errors
    /// More substrings than bits, or none.
    pub fn choose(codes: &Codes, count: Option<u32>) -> Result<Vec<Self>> {
        choose(codes.bits(), codes.as_bytes(), count)
    }

    /// Of at least one bit and at most 24: `None` elsewhere, or where one is not below `bits` or comes twice.
    pub fn new(positions: Vec<u16>, bits: u32) -> Option<Self> {
        let known = positions.iter().all(|&bit| u32::from(bit) < bits);
        let mut sorted = positions.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let fits = (1..=MAX_SUBSTRING).contains(&positions.len());
        (known && fits && sorted.len() == positions.len()).then_some(Self { positions })
    }

    /// The bits, lowest first.
    pub fn positions(&self) -> &[u16] {
        &self.positions
    }

    /// The number of bits.
    pub fn bits(&self) -> u32 {
        self.positions.len() as u32
    }

    /// Its value in a code, which has every bit of it.
    ///
    /// # Panics
    /// When the code is shorter.
    #[inline]
    pub fn of(&self, code: &[u8]) -> u32 {
        let bit = |&at: &u16| u32::from(code[usize::from(at / 8)] >> (at % 8)) & 1;
        self.positions.iter().enumerate().fold(0, |value, (k, at)| value | (bit(at) << k))
    }

    /// Its values `weight` bits from the one that it has in a code, each once.
    ///
    /// # Panics
    /// When the code is shorter.
    pub fn near(&self, code: &[u8], weight: u32) -> impl Iterator<Item = u32> + use<> {
        let value = self.of(code);
        Masks::new(self.bits(), weight).map(move |mask| value ^ mask)
    }

    /// Its bits in a code.
    pub(crate) fn mask(&self, bits: u32) -> Vec<u8> {
        let mut mask = vec![0; bytes_per_code(bits)];
        self.positions.iter().for_each(|&at| mask[usize::from(at / 8)] |= 1 << (at % 8));
        mask
    }
}

/// Reads one substring from many codes: what each byte adds is looked up.
pub(crate) struct Extractor {
    bytes: Vec<(usize, [u32; 256])>,
}

impl Extractor {
    pub(crate) fn new(substring: &Substring) -> Self {
        let mut bytes: Vec<(usize, [u32; 256])> = Vec::new();
        for (k, &at) in substring.positions.iter().enumerate() {
            let byte = usize::from(at / 8);
            let known = bytes.iter().position(|(place, _)| *place == byte);
            let known = known.unwrap_or_else(|| {
                bytes.push((byte, [0; 256]));
                bytes.len() - 1
            });
            for (value, adds) in bytes[known].1.iter_mut().enumerate() {
                *adds |= ((value as u32 >> (at % 8)) & 1) << k;
            }
        }
        Self { bytes }
    }

    /// Bytes of the code that have bits of the substring, and what each of their values adds.
    pub(crate) fn bytes(&self) -> &[(usize, [u32; 256])] {
        &self.bytes
    }

    #[inline]
    pub(crate) fn of(&self, code: &[u8]) -> u32 {
        self.bytes.iter().fold(0, |value, (at, adds)| value | adds[usize::from(code[*at])])
    }
}

/// Substrings for these packed codes of `bits` bits: `count` of them, or as many as suit their number.
///
/// # Errors
/// More substrings than bits, or none.
pub(crate) fn choose(bits: u32, codes: &[u8], count: Option<u32>) -> Result<Vec<Substring>> {
    choose_by_sample(bits, codes.len() / bytes_per_code(bits), codes, count)
}

/// The items that [`choose`] looks at among `number` items.
pub(crate) fn sampled_items(number: usize) -> impl Iterator<Item = usize> {
    let sampled = number.min(SAMPLE);
    (0..sampled).map(move |i| i * number / sampled)
}

/// As [`choose`], for `number` codes of which only `codes` are known: the [`sampled_items`].
pub(crate) fn choose_by_sample(
    bits: u32,
    number: usize,
    codes: &[u8],
    count: Option<u32>,
) -> Result<Vec<Substring>> {
    let log = (number.max(2) as f64).log2();
    let length = (log - BUCKET.log2()).round().clamp(8.0, MAX_SUBSTRING as f64) as usize;
    let count = match count {
        Some(count) if count == 0 || count > bits => {
            return Err(Error::Substrings { substrings: count, bits });
        }
        Some(count) => count as usize,
        None => (bits as usize / length).clamp(1, TABLES),
    };
    // A table has a place for each value, so its values are at most about twice as many as the codes.
    let longest = (log.ceil() as usize).clamp(8, MAX_SUBSTRING);
    let parts = spread(bits, codes, count, longest);
    let part = |positions| Substring::new(positions, bits);
    Ok(parts.into_iter().filter_map(part).collect())
}

/// Deals the bits out to `count` parts of at most `longest`: the bits that vary most first, each to the part with whose bits
/// it varies least together.
fn spread(bits: u32, codes: &[u8], count: usize, longest: usize) -> Vec<Vec<u16>> {
    let columns = Columns::of(bits, codes);
    let mut order: Vec<u16> = (0..bits as u16).collect();
    order.sort_by_key(|&bit| (columns.skew(bit), bit));
    let capacity = |part: usize| {
        let even = bits as usize / count + usize::from(part < bits as usize % count);
        even.min(longest)
    };
    let mut parts: Vec<Vec<u16>> = vec![Vec::new(); count];
    for bit in order {
        let open = (0..count).filter(|&part| parts[part].len() < capacity(part));
        let together = |part: &usize| {
            let of_part = parts[*part].iter().map(|&other| columns.correlation(bit, other));
            (of_part.sum::<u64>(), parts[*part].len(), *part)
        };
        if let Some(part) = open.min_by_key(together) {
            parts[part].push(bit);
        }
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

/// A sample of codes, bit by bit: a word holds one bit of 64 codes.
struct Columns {
    words: usize,
    sampled: u64,
    columns: Vec<u64>,
    ones: Vec<u64>,
}

impl Columns {
    fn of(bits: u32, codes: &[u8]) -> Self {
        let width = bytes_per_code(bits);
        let number = codes.len() / width;
        let sampled = number.min(SAMPLE);
        let words = sampled.div_ceil(64);
        let mut columns = vec![0_u64; words * bits as usize];
        for (i, item) in sampled_items(number).enumerate() {
            let code = &codes[item * width..][..width];
            for bit in 0..bits as usize {
                let one = u64::from(code[bit / 8] >> (bit % 8)) & 1;
                columns[bit * words + i / 64] |= one << (i % 64);
            }
        }
        let count = |bit: &[u64]| bit.iter().map(|word| u64::from(word.count_ones())).sum();
        let ones = match words {
            0 => vec![0; bits as usize],
            _ => columns.chunks_exact(words).map(count).collect(),
        };
        Self { words, sampled: sampled as u64, columns, ones }
    }

    /// How far the bit is from being one as often as not.
    fn skew(&self, bit: u16) -> u64 {
        (2 * self.ones[usize::from(bit)]).abs_diff(self.sampled)
    }

    /// How far two bits are from being equal as often as not.
    fn correlation(&self, a: u16, b: u16) -> u64 {
        let column = |bit: u16| &self.columns[usize::from(bit) * self.words..][..self.words];
        let pairs = column(a).iter().zip(column(b));
        let differ: u64 = pairs.map(|(a, b)| u64::from((a ^ b).count_ones())).sum();
        (2 * differ).abs_diff(self.sampled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn substrings_share_no_bit_and_suit_the_number_of_codes() {
        for bits in [1, 5, 8, 12, 16, 48, 64, 100, 128, 1024] {
            let width = bytes_per_code(bits);
            for number in [0, 1, 1000, 70_000] {
                let codes: Vec<u8> = (0..number * width).map(|i| (i * i / 7) as u8).collect();
                for count in [None, Some(1), Some(bits)] {
                    let parts = choose(bits, &codes, count).unwrap();
                    assert_eq!(count.unwrap_or(parts.len() as u32), parts.len() as u32);
                    let mut all: Vec<u16> =
                        parts.iter().flat_map(|part| part.positions.clone()).collect();
                    let total = all.len();
                    all.sort_unstable();
                    all.dedup();
                    assert!(all.len() == total && all.iter().all(|&bit| u32::from(bit) < bits));
                    let longest = parts.iter().map(|part| part.bits()).max().unwrap();
                    assert!(longest <= 8 || 1 << longest <= 2 * number, "{bits} {number}");
                }
            }
        }
        let parts = |bits, log: u32| {
            choose(bits, &vec![0; bytes_per_code(bits) << log], None).unwrap().len()
        };
        assert_eq!((parts(64, 20), parts(48, 16), parts(12, 16), parts(1024, 4)), (4, 5, 1, 8));
        for count in [0, 65] {
            assert!(matches!(choose(64, &[], Some(count)), Err(Error::Substrings { .. })));
        }
    }

    /// Bits 0 to 7 always equal each other, and so do bits 8 to 15: no part has two of one kind more than it must.
    #[test]
    fn bits_that_vary_together_are_kept_apart() {
        let codes: Vec<u8> = (0..4000_u32)
            .flat_map(|i| {
                [0, 1].map(|bit| {
                    if i.wrapping_mul(2_654_435_761) >> (30 + bit) & 1 == 1 { 255 } else { 0 }
                })
            })
            .collect();
        for part in choose(16, &codes, Some(8)).unwrap() {
            assert_eq!(part.positions.iter().map(|bit| bit / 8).collect::<Vec<_>>(), [0, 1]);
        }
    }

    proptest! {
        #[test]
        fn values_are_the_bits_one_by_one(
            code in prop::collection::vec(any::<u8>(), 1..20), seed: u64,
        ) {
            let bits = 8 * code.len() as u32;
            let mut all: Vec<u16> = (0..bits as u16).collect();
            for at in (1..all.len()).rev() {
                all.swap(at, (seed.wrapping_mul(at as u64 + 7) >> 20) as usize % (at + 1));
            }
            all.truncate(1 + seed as usize % MAX_SUBSTRING);
            let substring = Substring::new(all.clone(), bits).unwrap();
            let view = crate::codes::bits::view(bits, &code);
            let expected = all.iter().enumerate()
                .fold(0, |sum, (k, &at)| sum | (u32::from(view[usize::from(at)]) << k));
            prop_assert_eq!(substring.of(&code), expected);
            prop_assert_eq!(Extractor::new(&substring).of(&code), expected);
            let ones = substring.mask(bits).iter().map(|byte| byte.count_ones()).sum::<u32>();
            prop_assert_eq!(ones as usize, all.len());
        }
    }

    #[test]
    fn values_near_by_are_all_that_differ_in_so_many_bits() {
        let substring = Substring::new(vec![9, 0, 3, 14, 6], 16).unwrap();
        let code = [0b0100_1001, 0b0100_0010];
        for weight in 0..=6 {
            let mut near: Vec<u32> = substring.near(&code, weight).collect();
            near.sort_unstable();
            let differ = |value: &u32| (value ^ substring.of(&code)).count_ones() == weight;
            assert_eq!(near, (0..32).filter(differ).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_substring_is_refused() {
        for positions in [vec![], vec![8], vec![1, 1], (0..25).collect()] {
            assert_eq!(Substring::new(positions, 8), None);
        }
    }
}
