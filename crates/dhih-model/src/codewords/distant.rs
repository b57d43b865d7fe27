//! The search for codewords whose smallest distance is large, on bits packed into words. `mod.rs` says how codewords are drawn before the
//! search, and what they are for.

use std::cmp::Reverse;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Codes of one length, packed: bit k of a code is set where its value is +1.
#[derive(Debug, Clone)]
pub(super) struct PackedCodes {
    bits: usize,
    words_per_code: usize,
    words: Vec<u64>,
}

/// The distance of a code to the nearest other code, and how many other codes are at that distance (reversed). The greater, the better.
pub(super) type Closeness = (usize, Reverse<usize>);

impl PackedCodes {
    /// Packs codes of +-1.
    ///
    /// # Shapes
    /// `values`: `[codes, bits]`, row-major.
    pub(super) fn pack(values: &[i8], bits: usize) -> Self {
        let word = |part: &[i8]| {
            part.iter()
                .enumerate()
                .fold(0, |word, (bit, value)| word | u64::from(*value > 0) << bit)
        };
        let words = values.chunks_exact(bits).flat_map(|code| code.chunks(64).map(word)).collect();
        Self { bits, words_per_code: bits.div_ceil(64), words }
    }

    /// The codes as values +1 and -1.
    pub(super) fn unpack(&self) -> Vec<i8> {
        let value =
            |code: &[u64], bit: usize| if code[bit / 64] >> (bit % 64) & 1 == 1 { 1 } else { -1 };
        let codes = self.words.chunks_exact(self.words_per_code);
        codes.flat_map(|code| (0..self.bits).map(move |bit| value(code, bit))).collect()
    }

    fn len(&self) -> usize {
        self.words.len() / self.words_per_code
    }

    fn code(&self, i: usize) -> &[u64] {
        &self.words[i * self.words_per_code..][..self.words_per_code]
    }

    /// The closeness of `code` to all codes except code number `i`.
    fn closeness(&self, i: usize, code: &[u64]) -> Closeness {
        let mut nearest = (self.bits, Reverse(0));
        for (j, other) in self.words.chunks_exact(self.words_per_code).enumerate() {
            if j != i {
                count(&mut nearest, distance(code, other));
            }
        }
        nearest
    }

    /// The closeness of each code to the others. It takes `O(C^2 K / 64)` operations, on all threads.
    pub(super) fn all_closeness(&self) -> Vec<Closeness> {
        (0..self.len()).into_par_iter().map(|i| self.closeness(i, self.code(i))).collect()
    }

    /// Replaces code number `i` by `code` and updates `nearest`, the closeness of each code. It recomputes a closeness from scratch only where a
    /// code loses its last nearest neighbour.
    fn replace(&mut self, i: usize, code: &[u64], nearest: &mut [Closeness]) {
        let old = self.code(i).to_vec();
        self.words[i * self.words_per_code..][..self.words_per_code].copy_from_slice(code);
        nearest.par_iter_mut().with_min_len(1024).enumerate().for_each(|(j, nearest)| {
            if j == i {
                *nearest = self.closeness(i, code);
                return;
            }
            let [before, after] = [&old, code].map(|code| distance(code, self.code(j)));
            if before == nearest.0 && after != before {
                nearest.1.0 -= 1;
                if nearest.1.0 == 0 {
                    *nearest = self.closeness(j, self.code(j));
                    return;
                }
            }
            if after != before {
                count(nearest, after);
            }
        });
    }

    /// Hill climbing: flips one or two bits of a code that belongs to a closest pair, and keeps the change where the code is then no closer to
    /// the others than before.
    pub(super) fn spread(&mut self, mut nearest: Vec<Closeness>, rng: &mut ChaCha8Rng) {
        let classes = self.len();
        // Few codes get many proposals, because there the search has the most to gain.
        let proposals = ((1 << 32) / (classes * classes * self.bits).max(1)).clamp(64, 20_000);
        for _ in 0..proposals {
            let Some(closest) = min_distance(&nearest) else { break };
            let in_pair: Vec<usize> = (0..classes).filter(|i| nearest[*i].0 == closest).collect();
            let i = in_pair[rng.random_range(0..in_pair.len())];
            let mut code = self.code(i).to_vec();
            for _ in 0..rng.random_range(1..=2) {
                let bit = rng.random_range(0..self.bits);
                code[bit / 64] ^= 1 << (bit % 64);
            }
            if self.closeness(i, &code) >= nearest[i] {
                self.replace(i, &code, &mut nearest);
            }
        }
    }
}

/// The smallest distance of any two codes, where `nearest` is the closeness of each; `None` without codes.
pub(super) fn min_distance(nearest: &[Closeness]) -> Option<usize> {
    nearest.iter().map(|(distance, _)| *distance).min()
}

/// Adds one more code at `distance`.
fn count(nearest: &mut Closeness, distance: usize) {
    if distance < nearest.0 {
        *nearest = (distance, Reverse(1));
    } else if distance == nearest.0 {
        nearest.1.0 += 1;
    }
}

fn distance(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones() as usize).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::named_rng;

    /// Random codes of few bits, so that many distances are equal.
    fn random(codes: usize, bits: usize) -> Vec<i8> {
        let mut rng = named_rng(codes as u64, "random codes");
        (0..codes * bits).map(|_| if rng.random_bool(0.5) { 1 } else { -1 }).collect()
    }

    #[test]
    fn codes_are_unpacked_as_they_were_packed() {
        for (codes, bits) in [(3, 5), (7, 64), (4, 65), (2, 200)] {
            let values = random(codes, bits);
            assert_eq!(PackedCodes::pack(&values, bits).unpack(), values, "{codes} {bits}");
        }
    }

    #[test]
    fn closeness_is_that_of_the_definition_and_stays_so_when_codes_are_replaced() {
        let (classes, bits) = (40, 70);
        let mut codes = PackedCodes::pack(&random(classes, bits), bits);
        let defined = |codes: &PackedCodes| {
            let values = codes.unpack();
            let rows: Vec<&[i8]> = values.chunks(bits).collect();
            let of = |i: usize| {
                let others = (0..classes)
                    .filter(|j| *j != i)
                    .map(|j| rows[i].iter().zip(rows[j]).filter(|(a, b)| a != b).count());
                let others: Vec<usize> = others.collect();
                let least = others.iter().copied().min().unwrap();
                (least, Reverse(others.iter().filter(|d| **d == least).count()))
            };
            (0..classes).map(of).collect::<Vec<Closeness>>()
        };
        let mut nearest = codes.all_closeness();
        assert_eq!(nearest, defined(&codes));
        let mut rng = named_rng(1, "replaced");
        for step in 0..200 {
            let i = rng.random_range(0..classes);
            let mut code = codes.code(i).to_vec();
            let bit = rng.random_range(0..bits);
            code[bit / 64] ^= 1 << (bit % 64);
            codes.replace(i, &code, &mut nearest);
            assert_eq!(nearest, defined(&codes), "step {step}");
        }
    }
}
