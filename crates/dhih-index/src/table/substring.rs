//! Substrings of codes, one for each table: how many there are, and which bits each consists of. Bits that are correlated go to
//! different substrings, so that the buckets of a table are of similar size (after Wan et al., "Data driven multi-index hashing",
//! ICIP 2013). The table of a substring: `mod.rs`.

use serde::Serialize;

use crate::codes::Codes;
use crate::codes::bits::bytes_per_code;
use crate::error::{Error, Result};
use crate::table::probe::Masks;

/// The greatest length of a substring, in bits: the directory of a table has an entry for each value.
pub(crate) const MAX_SUBSTRING: usize = 24;
/// The number of codes that are sampled to choose the bits.
const SAMPLED_CODES: usize = 8192;
/// The number of codes in a bucket that lengths of substrings aim at. A bucket costs a cache miss, after which its codes are read
/// sequentially.
const CODES_PER_BUCKET: f64 = 128.0;
/// The greatest number of tables unless the caller asks for more: each has a copy of the codes.
const MAX_DEFAULT_TABLES: usize = 8;

/// Some bits of each code, which make up a number, lowest bit first. The substrings of an index share no bit.
///
/// ```
/// use dhih_index::Substring;
///
/// let substring = Substring::new(vec![0, 2, 9], 16).ok_or("no substring")?;
/// assert_eq!(substring.of(&[0b0000_0101, 0b0000_0010]), 0b111);
/// // The values at distance 1 from it.
/// assert_eq!(substring.near(&[0b0000_0101, 0b0000_0010], 1).count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Substring {
    positions: Vec<u16>,
}

impl Substring {
    /// Chooses substrings that share no bit for these codes: `count` of them, or as many as suit the number of codes.
    ///
    /// # Errors
    /// A `count` of 0, or more substrings than bits.
    pub fn choose(codes: &Codes, count: Option<u32>) -> Result<Vec<Self>> {
        choose(codes.bits(), codes.as_bytes(), count)
    }

    /// The substring of the bits at these positions. `None` if there are no positions or more than 24, if one is not below `bits`,
    /// or if one occurs twice.
    pub fn new(positions: Vec<u16>, bits: u32) -> Option<Self> {
        let known = positions.iter().all(|&bit| u32::from(bit) < bits);
        let mut sorted = positions.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let fits = (1..=MAX_SUBSTRING).contains(&positions.len());
        (known && fits && sorted.len() == positions.len()).then_some(Self { positions })
    }

    /// The positions of its bits in a code, lowest bit of its value first.
    pub fn positions(&self) -> &[u16] {
        &self.positions
    }

    /// The number of bits.
    pub fn bits(&self) -> u32 {
        self.positions.len() as u32
    }

    /// Its value in a code.
    ///
    /// # Panics
    /// Panics if the code has no byte for one of its bits.
    #[inline]
    pub fn of(&self, code: &[u8]) -> u32 {
        let bit = |&at: &u16| u32::from(code[usize::from(at / 8)] >> (at % 8)) & 1;
        self.positions.iter().enumerate().fold(0, |value, (k, at)| value | (bit(at) << k))
    }

    /// The values that differ in `weight` bits from the one that it has in a code, each once.
    ///
    /// # Panics
    /// Panics if the code has no byte for one of its bits.
    pub fn near(&self, code: &[u8], weight: u32) -> impl Iterator<Item = u32> + use<> {
        let value = self.of(code);
        Masks::new(self.bits(), weight).map(move |mask| value ^ mask)
    }

    /// A code of `bits` bits in which its bits are set, and no others.
    pub(crate) fn mask(&self, bits: u32) -> Vec<u8> {
        let mut mask = vec![0; bytes_per_code(bits)];
        self.positions.iter().for_each(|&at| mask[usize::from(at / 8)] |= 1 << (at % 8));
        mask
    }
}

/// Reads one substring from many codes, by looking up what each value of each byte adds to the substring's value.
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

    /// The bytes of a code that have bits of the substring, and what each value of the byte adds.
    pub(crate) fn bytes(&self) -> &[(usize, [u32; 256])] {
        &self.bytes
    }

    #[inline]
    pub(crate) fn of(&self, code: &[u8]) -> u32 {
        self.bytes.iter().fold(0, |value, (at, adds)| value | adds[usize::from(code[*at])])
    }
}

/// As [`Substring::choose`], for packed codes of `bits` bits.
///
/// # Errors
/// A `count` of 0, or more substrings than bits.
pub(crate) fn choose(bits: u32, codes: &[u8], count: Option<u32>) -> Result<Vec<Substring>> {
    choose_by_sample(bits, codes.len() / bytes_per_code(bits), codes, count)
}

/// The items that [`choose`] looks at among `number` items.
pub(crate) fn sampled_items(number: usize) -> impl Iterator<Item = usize> {
    let sampled = number.min(SAMPLED_CODES);
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
    let length = (log - CODES_PER_BUCKET.log2()).round().clamp(8.0, MAX_SUBSTRING as f64) as usize;
    let count = match count {
        Some(count) if count == 0 || count > bits => {
            return Err(Error::Substrings { substrings: count, bits });
        }
        Some(count) => count as usize,
        None => (bits as usize / length).clamp(1, MAX_DEFAULT_TABLES),
    };
    let columns = Columns::of(bits, codes);
    let lengths: Vec<usize> = lengths(bits, number, count as u32).collect();
    let substrings = deal_out(&columns, bits, &lengths);
    Ok(substrings.into_iter().filter_map(|positions| Substring::new(positions, bits)).collect())
}

/// The lengths of `count` substrings for `number` codes, as equal as possible. The directory of a table has an entry for each value of its
/// substring. Lengths are bounded, so that there are at most about twice as many values as codes.
pub(crate) fn lengths(bits: u32, number: usize, count: u32) -> impl Iterator<Item = usize> {
    let log = (number.max(2) as f64).log2();
    let longest = (log.ceil() as usize).clamp(8, MAX_SUBSTRING);
    let even = move |substring: u32| bits / count + u32::from(substring < bits % count);
    (0..count).map(move |substring| (even(substring) as usize).min(longest))
}

/// Deals the bits out to substrings: the bits that vary most first, each to the substring whose bits it is least correlated with.
fn deal_out(columns: &Columns, bits: u32, lengths: &[usize]) -> Vec<Vec<u16>> {
    let mut order: Vec<u16> = (0..bits as u16).collect();
    order.sort_by_key(|&bit| (columns.skew(bit), bit));
    let mut substrings: Vec<Vec<u16>> = vec![Vec::new(); lengths.len()];
    for bit in order {
        let open = (0..lengths.len()).filter(|&at| substrings[at].len() < lengths[at]);
        let correlation = |at: &usize| {
            let others = substrings[*at].iter().map(|&other| columns.correlation(bit, other));
            (others.sum::<u64>(), substrings[*at].len(), *at)
        };
        if let Some(at) = open.min_by_key(correlation) {
            substrings[at].push(bit);
        }
    }
    substrings.iter_mut().for_each(|positions| positions.sort_unstable());
    substrings
}

/// A sample of codes in columns, one for each bit: a word holds that bit of 64 codes.
struct Columns {
    /// Words in a column.
    words: usize,
    sampled: u64,
    columns: Vec<u64>,
    /// The number of sampled codes in which each bit is set.
    ones: Vec<u64>,
}

impl Columns {
    fn of(bits: u32, codes: &[u8]) -> Self {
        let width = bytes_per_code(bits);
        let number = codes.len() / width;
        let sampled = number.min(SAMPLED_CODES);
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

    /// How far the bit is from being set in half of the codes.
    fn skew(&self, bit: u16) -> u64 {
        (2 * self.ones[usize::from(bit)]).abs_diff(self.sampled)
    }

    /// How far two bits are from being equal in half of the codes.
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
        for bits in [1, 5, 8, 12, 16, 48, 64, 100, 128, 1024, 4096] {
            let width = bytes_per_code(bits);
            for number in [0, 1, 1000, 70_000] {
                let codes: Vec<u8> = (0..number * width).map(|i| (i * i / 7) as u8).collect();
                for count in [None, Some(1), Some(bits)] {
                    let chosen = choose(bits, &codes, count).unwrap();
                    assert_eq!(count.unwrap_or(chosen.len() as u32), chosen.len() as u32);
                    let mut all: Vec<u16> =
                        chosen.iter().flat_map(|substring| substring.positions.clone()).collect();
                    let total = all.len();
                    all.sort_unstable();
                    all.dedup();
                    assert!(all.len() == total && all.iter().all(|&bit| u32::from(bit) < bits));
                    let longest = chosen.iter().map(Substring::bits).max().unwrap();
                    assert!(longest <= 8 || 1 << longest <= 2 * number, "{bits} {number}");
                }
            }
        }
        let count = |bits, log: u32| {
            choose(bits, &vec![0; bytes_per_code(bits) << log], None).unwrap().len()
        };
        assert_eq!((count(64, 20), count(48, 16), count(12, 16), count(1024, 4)), (4, 5, 1, 8));
        for count in [0, 65] {
            assert!(matches!(choose(64, &[], Some(count)), Err(Error::Substrings { .. })));
        }
    }

    /// Bits 0 to 7 always equal each other, and so do bits 8 to 15: each substring gets one bit of either kind.
    #[test]
    fn correlated_bits_go_to_different_substrings() {
        let codes: Vec<u8> = (0..4000_u32)
            .flat_map(|i| {
                [0, 1].map(|bit| {
                    if i.wrapping_mul(2_654_435_761) >> (30 + bit) & 1 == 1 { 255 } else { 0 }
                })
            })
            .collect();
        for substring in choose(16, &codes, Some(8)).unwrap() {
            assert_eq!(substring.positions.iter().map(|bit| bit / 8).collect::<Vec<_>>(), [0, 1]);
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
    fn invalid_positions_are_refused() {
        for positions in [vec![], vec![8], vec![1, 1], (0..25).collect()] {
            assert_eq!(Substring::new(positions, 8), None);
        }
    }
}
