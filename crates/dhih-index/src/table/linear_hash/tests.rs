//! Tests of the linear hash.

use proptest::prelude::*;
use rayon::prelude::*;

use super::*;
use crate::codes::bits::MAX_BITS;
use crate::table::probe;

/// Hashes are compared one partition after the other, by their highest bits: those of one partition stay in the cache.
const LOG_PARTITIONS: u32 = 9;

fn partition(hash: u64) -> usize {
    (hash >> (64 - LOG_PARTITIONS)) as usize
}

/// Two bits.
struct Pair {
    first: usize,
    hash: u64,
}

/// All sets of bits whose hashes are in one partition.
struct Sets<'a> {
    /// The hash of each bit.
    of_bits: &'a [u64],
    /// The pairs of bits whose hashes are in each partition, by their first bits in descending order.
    pairs: &'a [Vec<Pair>],
    partition: usize,
}

impl Sets<'_> {
    /// Appends the hashes of the sets that consist of a set with this hash, whose bits are below `first`, of up to `more` bits from
    /// `first` on, and of a pair of bits behind them. The pair must bring the hash into the partition, so that few are tried in vain.
    fn append_hashes(&self, hash: u64, first: usize, more: u32, hashes: &mut Vec<u64>) {
        let pairs = &self.pairs[self.partition ^ partition(hash)];
        let pairs = pairs.iter().take_while(|pair| pair.first >= first);
        hashes.extend(pairs.map(|pair| hash ^ pair.hash));
        if more > 0 {
            for bit in first..self.of_bits.len() {
                self.append_hashes(hash ^ self.of_bits[bit], bit + 1, more - 1, hashes);
            }
        }
    }
}

/// Memory to find equal hashes in.
#[derive(Default)]
struct Memory {
    hashes: Vec<u64>,
    /// Bits that are set for hashes that occur once at least, and twice at least.
    once: Vec<u64>,
    twice: Vec<u64>,
}

impl Memory {
    /// Whether a hash occurs twice. Only those hashes are sorted whose lowest bits occur twice.
    fn two_are_equal(&mut self) -> bool {
        let Self { hashes, once, twice } = self;
        let words = (hashes.len() / 2).next_power_of_two();
        let place = |hash: u64| ((hash as usize / 64) & (words - 1), 1_u64 << (hash % 64));
        for bits in [&mut *once, twice] {
            bits.clear();
            bits.resize(words, 0);
        }
        for &hash in &*hashes {
            let (word, bit) = place(hash);
            twice[word] |= once[word] & bit;
            once[word] |= bit;
        }
        hashes.retain(|&hash| {
            let (word, bit) = place(hash);
            twice[word] & bit != 0
        });
        hashes.sort_unstable();
        hashes.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// Whether two different sets of at most `most` bits, two or more, have equal hashes.
fn some_are_equal(of_bits: &[u64], most: u32) -> bool {
    let mut pairs: Vec<Vec<Pair>> = (0..1 << LOG_PARTITIONS).map(|_| Vec::new()).collect();
    for first in (0..of_bits.len()).rev() {
        for other in &of_bits[first + 1..] {
            let hash = of_bits[first] ^ other;
            pairs[partition(hash)].push(Pair { first, hash });
        }
    }
    let in_partition = |memory: &mut Memory, at: usize| {
        // The empty set, whose hash is 0, and the sets of one bit.
        let small = [0].iter().chain(of_bits).copied().filter(|&hash| partition(hash) == at);
        memory.hashes.clear();
        memory.hashes.extend(small);
        let sets = Sets { of_bits, pairs: &pairs, partition: at };
        sets.append_hashes(0, 0, most - 2, &mut memory.hashes);
        (memory.hashes.len(), memory.two_are_equal())
    };
    let partitions = (0..1 << LOG_PARTITIONS).into_par_iter();
    let found = partitions.map_init(Memory::default, in_partition);
    let (count, equal) = found.reduce(|| (0, false), |a, b| (a.0 + b.0, a.1 | b.1));
    let sets = (0..=most).map(|size| probe::count(of_bits.len() as u32, size)).sum::<f64>();
    assert_eq!(count as f64, sets, "every set was looked at");
    equal
}

/// Looks at 715 million sets of bits. A row of `certain_lookups` holds for all its lengths if it does for the longest, since the hash
/// of a bit does not depend on the length of the code.
#[test]
fn no_two_sets_of_few_bits_have_equal_hashes() {
    let longest = |bits: &u32| certain_lookups(*bits) > certain_lookups(bits + 1);
    let rows: Vec<u32> = (1..=MAX_BITS).filter(longest).collect();
    assert_eq!(rows, [64, 128, 256, 1024, 4096]);
    for bits in rows {
        let of_bits: Vec<u64> = (0..bits).map(of_bit).collect();
        assert!(!some_are_equal(&of_bits, certain_lookups(bits)), "{bits} bits");
    }
}

#[test]
fn sets_with_equal_hashes_are_noticed() {
    let mut of_bits: Vec<u64> = (0..40).map(of_bit).collect();
    assert!(!some_are_equal(&of_bits, 3));
    // Six bits cancel out: two sets of three are equal, and no smaller ones.
    of_bits[7] = [1, 2, 11, 30, 39].iter().fold(0, |hash, &bit| hash ^ of_bits[bit]);
    assert!(!some_are_equal(&of_bits, 2));
    assert!(some_are_equal(&of_bits, 3));
}

proptest! {
    #[test]
    fn a_flipped_bit_changes_the_hash_by_its_constant(code: [u8; 8], bit in 0..64_u32) {
        let mut other = code;
        other[bit as usize / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(of_code(&other), of_code(&code) ^ of_bit(bit));
        prop_assert_eq!(ByteHash::new(8).of(&code), of_code(&code));
    }

    #[test]
    fn the_hash_of_a_difference_is_the_difference_of_hashes(a: [u8; 9], b: [u8; 9]) {
        prop_assert_eq!(of_difference(&a, &b), of_code(&a) ^ of_code(&b));
    }
}
