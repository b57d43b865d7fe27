//! What the tests share: a seeded source of numbers, sets of codes of many shapes. No assertions.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use dhih_index::{CodeSet, Codes, Index, IndexBuilder, IndexConfig, Labels};

/// SplitMix64.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A uniform code.
    pub fn code(&mut self, bits: u32) -> Vec<u8> {
        let mut code: Vec<u8> = (0..bits.div_ceil(8)).map(|_| self.next() as u8).collect();
        if !bits.is_multiple_of(8) {
            *code.last_mut().unwrap() &= (1 << (bits % 8)) - 1;
        }
        code
    }

    /// A code with up to `flips` bits flipped.
    pub fn near(&mut self, code: &[u8], bits: u32, flips: usize) -> Vec<u8> {
        let mut code = code.to_vec();
        for _ in 0..self.below(flips + 1) {
            let bit = self.below(bits as usize);
            code[bit / 8] ^= 1 << (bit % 8);
        }
        code
    }

    /// `count` codes: uniform, equal, clustered, or with many equal ones.
    pub fn codes(&mut self, bits: u32, count: usize) -> Codes {
        let centres: Vec<_> = (0..1 + self.below(8)).map(|_| self.code(bits)).collect();
        let flips = self.pick(&[0, 0, 1, 3, 8]);
        let uniform = self.below(3) == 0;
        let mut bytes = Vec::new();
        for _ in 0..count {
            let centre = self.below(centres.len());
            bytes.extend(if uniform {
                self.code(bits)
            } else {
                self.near(&centres[centre], bits, flips)
            });
        }
        Codes::new(bits, bytes).unwrap()
    }

    /// Unique ids in no order.
    pub fn ids(&mut self, count: usize) -> Vec<u64> {
        let mut ids: Vec<u64> =
            (0..count as u64).map(|i| i * 1_000_003 + self.next() % 1_000_003).collect();
        for at in (1..count).rev() {
            ids.swap(at, self.below(at + 1));
        }
        ids
    }
}

/// Changes one byte of a file in place.
pub fn poke(path: &Path, at: usize, byte: u8) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[byte]).unwrap();
}

/// Cuts a file in place.
pub fn cut(path: &Path, end: usize) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(end as u64).unwrap();
}

/// A small set with everything that a codes file can hold.
pub fn small_set() -> CodeSet {
    let mut numbers = Numbers(1);
    CodeSet {
        codes: numbers.codes(20, 12),
        ids: Some(numbers.ids(12)),
        labels: Some(Labels::Single((0..12).map(|i| i % 3).collect())),
        classes: ["cat", "dog", "ship"].map(String::from).to_vec(),
        model_sha256: Some("ab".repeat(32)),
        precision: None,
        vectors: None,
    }
}

pub fn build(set: &CodeSet, dir: &Path, substrings: Option<u32>) -> Index {
    IndexBuilder::new(IndexConfig::default().with_substrings(substrings)).build(set, dir).unwrap();
    Index::open(dir).unwrap()
}
