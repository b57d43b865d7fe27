//! Codewords: fixed codes, one for each class, to which some losses draw samples. They are not trained, but follow from scheme, seed and size,
//! as long as the random number generator stays the same. A checkpoint contains the codewords of its network. `distant.rs` searches for
//! codewords that are far from each other.
//!
//! The Hadamard and Bernoulli codewords are those of CSQ (Yuan et al., CVPR 2020). Codewords of maximised minimum distance are those of
//! OrthoHash (Hoe et al., NeurIPS 2021); the search for them is our own.

mod distant;

use std::collections::BTreeSet;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub use crate::init::is_codeword;
use crate::init::named_rng;

use distant::{PackedCodes, min_distance};

/// How codewords are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Hadamard where the sizes allow it, else Bernoulli, as in CSQ.
    #[default]
    Auto,
    /// Rows of the Hadamard matrix H, then of -H. Any two differ in half of their bits or in all. The number of bits must be a power of two, and
    /// there are at most twice as many classes as bits.
    Hadamard,
    /// Random and distinct, with half of the bits set.
    Bernoulli,
    /// The smallest distance of any two is made as large as possible by a search that starts from the other two schemes.
    Distant,
}

impl Scheme {
    /// The name used in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Hadamard => "hadamard",
            Self::Bernoulli => "bernoulli",
            Self::Distant => "distant",
        }
    }
}

/// What codewords depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodewordConfig {
    /// How the codewords are made.
    pub scheme: Scheme,
    /// How many codewords there are.
    pub classes: usize,
    /// The length of a codeword.
    pub bits: usize,
    /// The seed of the random schemes and of the tie-breaking code.
    pub seed: u64,
}

/// One code for each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codewords {
    bits: usize,
    values: Vec<i8>,
    tie: Vec<i8>,
}

impl Codewords {
    /// Makes codewords.
    ///
    /// # Errors
    /// [`Error::Config`] where the scheme has no such codewords: too many classes for the bits, or no Hadamard matrix.
    pub fn new(config: CodewordConfig) -> Result<Self> {
        let CodewordConfig { scheme, classes, bits, seed } = config;
        let values = match scheme {
            Scheme::Auto | Scheme::Hadamard if has_hadamard(classes, bits) => {
                hadamard(classes, bits).concat()
            }
            Scheme::Hadamard => {
                return Err(impossible(config, "a power of two, half as many as classes or more"));
            }
            Scheme::Auto | Scheme::Bernoulli => bernoulli(config)?.concat(),
            Scheme::Distant => distant(config)?,
        };
        let tie = balanced(bits, &mut named_rng(seed, "codewords tie"));
        Ok(Self { bits, values, tie })
    }

    /// Length of a code.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// Number of codes.
    pub fn classes(&self) -> usize {
        self.values.len() / self.bits
    }

    /// The codes as +1 and -1, `[classes, bits]`, row-major.
    pub fn values(&self) -> &[i8] {
        &self.values
    }

    /// A further code of +1 and -1, `[bits]`, which decides ties between codes.
    pub fn tie(&self) -> &[i8] {
        &self.tie
    }

    /// The smallest Hamming distance of any two codes; the number of bits where there is only one code.
    pub fn min_distance(&self) -> usize {
        let codes = PackedCodes::pack(&self.values, self.bits);
        min_distance(&codes.all_closeness()).unwrap_or(self.bits)
    }
}

fn impossible(config: CodewordConfig, bits: &str) -> Error {
    let CodewordConfig { scheme, classes, bits: got, .. } = config;
    Error::Config {
        name: "bits",
        got: format!(
            "{got}, too few or not fit for {} codewords of {classes} classes",
            scheme.name()
        ),
        expected: format!("{bits}; or another scheme of codewords"),
    }
}

fn has_hadamard(classes: usize, bits: usize) -> bool {
    bits.is_power_of_two() && classes <= 2 * bits
}

/// Rows of Sylvester's matrix, followed by those of its negative.
fn hadamard(classes: usize, bits: usize) -> Vec<Vec<i8>> {
    let value = |row: usize, column: usize| {
        let odd = ((row % bits) & column).count_ones() % 2 == 1;
        if odd == (row < bits) { -1 } else { 1 }
    };
    (0..classes).map(|row| (0..bits).map(|column| value(row, column)).collect()).collect()
}

/// Rows of Hadamard matrices side by side, one matrix for each power of two in the binary form of `bits`. Rows repeat where a matrix has too
/// few. Two codes differ in at least half of the bits as long as there are at most twice as many classes as the smallest matrix has rows.
fn hadamard_blocks(classes: usize, bits: usize) -> Vec<Vec<i8>> {
    let sizes = (0..usize::BITS).rev().map(|power| 1usize << power).filter(|size| bits & size != 0);
    let blocks: Vec<Vec<Vec<i8>>> = sizes.map(|size| hadamard(2 * size, size)).collect();
    let row =
        |row: usize| blocks.iter().flat_map(|block| block[row % block.len()].clone()).collect();
    (0..classes).map(row).collect()
}

/// As many +1 as -1 in random order; one more +1 where the number of bits is odd.
fn balanced(bits: usize, rng: &mut ChaCha8Rng) -> Vec<i8> {
    let mut code: Vec<i8> = (0..bits).map(|bit| if bit < bits / 2 { -1 } else { 1 }).collect();
    code.shuffle(rng);
    code
}

fn bernoulli(config: CodewordConfig) -> Result<Vec<Vec<i8>>> {
    let CodewordConfig { classes, bits, seed, .. } = config;
    // The number of balanced codes, in floating point because it may be huge.
    let ways = (1..=bits / 2).fold(1.0, |ways: f64, k| ways * (bits + 1 - k) as f64 / k as f64);
    if ways + 0.5 < classes as f64 {
        return Err(impossible(config, "more"));
    }
    let mut rng = named_rng(seed, "codewords bernoulli");
    let (mut known, mut rows) = (BTreeSet::new(), Vec::with_capacity(classes));
    while rows.len() < classes {
        let row = balanced(bits, &mut rng);
        if known.insert(row.clone()) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The better of [`hadamard_blocks`] and [`bernoulli`], improved by hill climbing.
fn distant(config: CodewordConfig) -> Result<Vec<i8>> {
    let CodewordConfig { classes, bits, seed, .. } = config;
    let with_closeness = |rows: Vec<Vec<i8>>| {
        let codes = PackedCodes::pack(&rows.concat(), bits);
        let nearest = codes.all_closeness();
        (codes, nearest)
    };
    let (blocks, near_blocks) = with_closeness(hadamard_blocks(classes, bits));
    let blocks_distance = min_distance(&near_blocks);
    let (mut codes, nearest) = match bernoulli(config).map(with_closeness) {
        Ok((drawn, nearest)) if min_distance(&nearest) > blocks_distance => (drawn, nearest),
        Err(error) if blocks_distance == Some(0) => return Err(error),
        _ => (blocks, near_blocks),
    };
    codes.spread(nearest, &mut named_rng(seed, "codewords distant"));
    Ok(codes.unpack())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn distance(a: &[i8], b: &[i8]) -> usize {
        a.iter().zip(b).filter(|(a, b)| a != b).count()
    }

    fn codewords(scheme: Scheme, classes: usize, bits: usize, seed: u64) -> Result<Codewords> {
        Codewords::new(CodewordConfig { scheme, classes, bits, seed })
    }

    #[test]
    fn codewords_are_known_by_name_of_one_loss_or_of_several() {
        for name in ["codewords.codes", "codewords.tie", "first_8.codewords.codes"] {
            assert!(is_codeword(name), "{name}");
        }
        for name in ["codewords", "my_codewords.codes", "codewords.a.b", "class_weights"] {
            assert!(!is_codeword(name), "{name}");
        }
    }

    #[test]
    fn hadamard_rows_differ_in_half_of_their_bits_or_in_all() {
        for (classes, bits) in [(2, 1), (4, 2), (10, 16), (32, 16), (128, 64)] {
            let words = codewords(Scheme::Hadamard, classes, bits, 0).unwrap();
            assert_eq!((words.classes(), words.bits()), (classes, bits));
            let rows: Vec<&[i8]> = words.values().chunks_exact(bits).collect();
            for (i, a) in rows.iter().enumerate() {
                for (j, b) in rows[..i].iter().enumerate() {
                    let expected = if i - j == bits { bits } else { bits / 2 };
                    assert_eq!(distance(a, b), expected, "{classes} {bits}: {i} {j}");
                }
            }
        }
    }

    #[test]
    fn drawn_codewords_are_balanced_and_distinct_and_depend_on_the_seed() {
        for (classes, bits) in [(6, 4), (10, 48), (3, 7), (200, 12), (924, 12)] {
            let words = codewords(Scheme::Bernoulli, classes, bits, 1).unwrap();
            assert!(words.min_distance() > 0, "{classes} {bits}");
            for row in words.values().chunks_exact(bits).chain([words.tie()]) {
                assert_eq!(row.iter().filter(|bit| **bit < 0).count(), bits / 2);
            }
            assert_eq!(words, codewords(Scheme::Bernoulli, classes, bits, 1).unwrap());
        }
        let seeds = [1, 2].map(|seed| codewords(Scheme::Bernoulli, 10, 48, seed).unwrap());
        assert!(seeds[0].values() != seeds[1].values() && seeds[0].tie() != seeds[1].tie());
    }

    #[test]
    fn distant_codewords_are_no_nearer_than_the_others() {
        for (classes, bits) in [(2, 5), (10, 12), (10, 16), (8, 4), (64, 32), (10, 48), (100, 24)] {
            let words = codewords(Scheme::Distant, classes, bits, 3).unwrap();
            let distance = words.min_distance();
            if let Ok(drawn) = codewords(Scheme::Bernoulli, classes, bits, 3) {
                assert!(distance >= drawn.min_distance(), "{classes} {bits}: {distance}");
            }
            if has_hadamard(classes, bits) {
                assert!(distance >= bits / 2, "{classes} {bits}: {distance}");
            }
            assert_eq!(words, codewords(Scheme::Distant, classes, bits, 3).unwrap());
        }
        let distance =
            |classes, bits| codewords(Scheme::Distant, classes, bits, 0).unwrap().min_distance();
        // The search itself gains something: two codes can be opposite, and 48 bits reach half of the bits although there is no Hadamard matrix
        // of that size here.
        assert_eq!(distance(2, 16), 16);
        assert!(distance(10, 48) >= 24);
        let drawn = codewords(Scheme::Bernoulli, 40, 24, 0).unwrap().min_distance();
        assert!(distance(40, 24) > drawn, "{} {drawn}", distance(40, 24));
    }

    /// Checkpoints of older versions have no codewords. They are drawn again and must be the same. These are digests of the values and the
    /// tie-breaking code, one byte for each value.
    #[test]
    fn codewords_are_those_of_older_versions() {
        for (scheme, classes, bits, seed, expected) in [
            (Scheme::Bernoulli, 10, 48, 0, "d902a0aca6c9bebe"),
            (Scheme::Distant, 10, 48, 0, "40a404c424f9a79f"),
            (Scheme::Distant, 10, 16, 0, "e1fd2e20e0660f18"),
            (Scheme::Distant, 21, 12, 3, "0906e08a431fd3da"),
            (Scheme::Distant, 100, 24, 1, "9274ba49c5958770"),
            (Scheme::Distant, 7, 100, 2, "eb0050668174740e"),
            (Scheme::Distant, 100, 64, 0, "143cdcae6d24e139"),
            (Scheme::Distant, 300, 70, 5, "957477cae7f92b68"),
            (Scheme::Distant, 1000, 64, 0, "31aec1bc1de09681"),
        ] {
            let words = codewords(scheme, classes, bits, seed).unwrap();
            let bytes: Vec<u8> =
                words.values().iter().chain(words.tie()).map(|bit| *bit as u8).collect();
            let digest = crate::files::hex(&Sha256::digest(&bytes)[..8]);
            assert_eq!(digest, expected, "{scheme:?} {classes} {bits} {seed}");
        }
    }

    #[test]
    fn the_rule_takes_hadamard_where_it_can() {
        let same = |classes, bits, scheme| {
            let auto = codewords(Scheme::Auto, classes, bits, 5).unwrap();
            assert_eq!(auto, codewords(scheme, classes, bits, 5).unwrap(), "{classes} {bits}");
        };
        same(10, 16, Scheme::Hadamard);
        same(32, 16, Scheme::Hadamard);
        same(33, 16, Scheme::Bernoulli);
        same(10, 48, Scheme::Bernoulli);
    }

    #[test]
    fn impossible_requests_are_refused() {
        for (scheme, classes, bits) in [
            (Scheme::Hadamard, 10, 48),
            (Scheme::Hadamard, 33, 16),
            (Scheme::Bernoulli, 7, 4),
            (Scheme::Auto, 9, 4),
            (Scheme::Distant, 9, 3),
        ] {
            let error = codewords(scheme, classes, bits, 0).unwrap_err();
            assert!(matches!(error, Error::Config { name: "bits", .. }), "{error}");
            let message = error.to_string();
            for part in [scheme.name(), "another scheme", &classes.to_string()] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}
