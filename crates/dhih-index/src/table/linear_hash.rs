//! The hash of a code in the code hash table. It is linear: the hash of a code is the `xor` of one constant for each of its bits
//! that is set, so that the hash of a code with some bits flipped follows from the hash of the code by one `xor` for each bit.
//! The table itself: `code_hash.rs`.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::codes::bits::MAX_BITS;

/// What each bit of a code adds to its hash: the sequence of the SplitMix64 generator.
static OF_BITS: [u64; MAX_BITS as usize] = {
    let (mut of_bits, mut k) = ([0; MAX_BITS as usize], 0);
    while k < of_bits.len() {
        let z = (k as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        of_bits[k] = z ^ (z >> 31);
        k += 1;
    }
    of_bits
};

/// What bit `k` of a code adds to its hash, if it is set. Does not depend on the length of the code.
#[inline(always)]
pub(crate) fn of_bit(k: u32) -> u64 {
    OF_BITS[k as usize]
}

/// What each of some bits of a code adds to its hash.
#[inline(always)]
pub(crate) fn of_bits(bits: Range<u32>) -> &'static [u64] {
    &OF_BITS[bits.start as usize..bits.end as usize]
}

/// The greatest distance at which whole codes of `bits` bits may be looked up by their hashes. No two different sets of at most that
/// many bits have equal hashes, so that each code within the distance is found exactly once. Nothing guarantees this for a 64-bit
/// hash in general; a test verifies it for this one, by enumerating all such sets for the longest code of each row.
pub(crate) const fn certain_lookups(bits: u32) -> u32 {
    match bits {
        0..=64 => 6,
        65..=128 => 5,
        129..=256 => 4,
        257..=1024 => 3,
        1025..=4096 => 2,
        _ => 0,
    }
}

/// The hash of a code.
pub(crate) fn of_code(code: &[u8]) -> u64 {
    let ones = |(byte, at): (u8, u32)| {
        (0..8).filter(move |k| byte >> k & 1 == 1).map(move |k| of_bit(8 * at + k))
    };
    code.iter().copied().zip(0..).flat_map(ones).fold(0, |hash, bit| hash ^ bit)
}

/// The `xor` of the hashes of two codes of equal length, which is the hash of the bits in which they differ.
pub(crate) fn of_difference(a: &[u8], b: &[u8]) -> u64 {
    let mut hash = 0;
    for (at, (a, b)) in (0..).zip(a.iter().zip(b)) {
        let mut bits = a ^ b;
        while bits != 0 {
            hash ^= of_bit(8 * at + bits.trailing_zeros());
            bits &= bits - 1;
        }
    }
    hash
}

/// Hashes many codes of one length, by looking up what each value of each byte adds.
pub(crate) struct ByteHash(Vec<[u64; 256]>);

impl ByteHash {
    /// Prepares for codes of `width` bytes.
    pub(crate) fn new(width: usize) -> Self {
        let byte = |at: usize| {
            let mut adds = [0_u64; 256];
            for (value, adds) in adds.iter_mut().enumerate() {
                let ones = (0..8).filter(|k| value >> k & 1 == 1);
                *adds = ones.fold(0, |hash, k| hash ^ of_bit(8 * at as u32 + k));
            }
            adds
        };
        Self((0..width).map(byte).collect())
    }

    /// The hash of a code.
    #[inline]
    pub(crate) fn of(&self, code: &[u8]) -> u64 {
        self.0.iter().zip(code).fold(0, |hash, (adds, byte)| hash ^ adds[usize::from(*byte)])
    }
}
