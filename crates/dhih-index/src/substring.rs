//! Cutting codes into substrings, one per table: how many, and where. What is done with them:
//! `table.rs`, `search.rs`.

use serde::Serialize;

use crate::bits;
use crate::error::{Error, Result};

/// The longest substring, in bits: its values are `u32`.
pub(crate) const MAX_SUBSTRING: u32 = 32;

/// Bits `start..start + bits` of each code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Substring {
    /// The first bit.
    pub start: u32,
    /// The number of bits, up to 32.
    pub bits: u32,
}

impl Substring {
    /// Its value in a code.
    #[inline]
    pub(crate) fn of(self, code: &[u8]) -> u32 {
        bits::substring(code, self.start, self.bits)
    }
}

/// Cuts codes of `bits` bits into `count` substrings whose lengths differ by one at most.
///
/// # Errors
/// More substrings than bits, or so few that one is longer than 32 bits.
pub(crate) fn split(bits: u32, count: u32) -> Result<Vec<Substring>> {
    if !(bits.div_ceil(MAX_SUBSTRING)..=bits).contains(&count) {
        return Err(Error::Substrings { substrings: count, bits });
    }
    let cut = |part: u32| part * (bits / count) + part.min(bits % count);
    let substring = |part| Substring { start: cut(part), bits: cut(part + 1) - cut(part) };
    Ok((0..count).map(substring).collect())
}

/// The number of substrings for `codes` different codes of `bits` bits: each about `log2(codes)`
/// bits long, so that a bucket holds about one code.
pub(crate) fn choose(bits: u32, codes: usize) -> u32 {
    let length = (codes.max(2) as f64).log2().round().clamp(8.0, MAX_SUBSTRING.into());
    let count = (f64::from(bits) / length).round() as u32;
    count.clamp(bits.div_ceil(MAX_SUBSTRING), bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substrings_follow_each_other_and_cover_the_code() {
        for bits in 1..=1024 {
            let chosen = [0, 1, 1000, 1 << 20, 1 << 27].map(|codes| choose(bits, codes));
            for count in chosen.into_iter().chain([bits.div_ceil(32), bits]) {
                let parts = split(bits, count).unwrap();
                assert_eq!(parts.len() as u32, count);
                let end = parts.iter().fold(0, |end, part| {
                    assert!(part.start == end && (1..=32).contains(&part.bits));
                    assert!(part.bits.abs_diff(parts[0].bits) <= 1);
                    end + part.bits
                });
                assert_eq!(end, bits);
            }
        }
        assert_eq!((choose(64, 1 << 20), choose(48, 60_000), choose(12, 60_000)), (3, 3, 1));
    }

    #[test]
    fn counts_that_do_not_suit_are_refused() {
        for (bits, count) in [(64, 1), (64, 65), (64, 0), (1, 0), (1, 2), (33, 1)] {
            assert!(matches!(split(bits, count), Err(Error::Substrings { .. })), "{bits} {count}");
        }
    }
}
