//! Codes for searches, drawn from a seed: either random, or clustered like learned codes, most of which are equal to others.

use dhih_index::{CodeSet, Codes, bytes_per_code};

/// A random number generator (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The distribution of codes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Random,
    /// Codes around this number of centres.
    Learned(usize),
}

pub fn draw(bits: u32, count: usize, kind: Kind, numbers: &mut Numbers) -> Codes {
    let uniform = |numbers: &mut Numbers| -> Vec<f32> {
        (0..bits).map(|_| if numbers.next() & 1 == 1 { 1.0 } else { -1.0 }).collect()
    };
    let values: Vec<f32> = match kind {
        Kind::Random => (0..count).flat_map(|_| uniform(numbers)).collect(),
        Kind::Learned(kinds) => {
            // The centres do not depend on what was drawn before.
            let mut own = Numbers(u64::from(bits));
            let kinds: Vec<Vec<f32>> = (0..kinds).map(|_| uniform(&mut own)).collect();
            let one = |_| {
                let mut code = kinds[numbers.below(kinds.len() as u64) as usize].clone();
                // Half of the codes have no flipped bit, a quarter has one, and so on.
                for _ in 0..numbers.next().trailing_ones() {
                    let bit = numbers.below(u64::from(bits)) as usize;
                    code[bit] = -code[bit];
                }
                code
            };
            (0..count).flat_map(one).collect()
        }
    };
    if count == 0 {
        return Codes::new(bits, Vec::new()).unwrap();
    }
    let codes = Codes::from_real(bits, &values).unwrap();
    assert_eq!(codes.as_bytes().len(), count * bytes_per_code(bits));
    codes
}

/// Items with widely spaced ids in random order.
pub fn items(bits: u32, count: usize, kind: Kind, seed: u64) -> CodeSet {
    let mut numbers = Numbers(seed);
    let codes = draw(bits, count, kind, &mut numbers);
    let mut ids: Vec<u64> = (0..count as u64).map(|n| n * 977 + (n % 5) * (1 << 40)).collect();
    for at in (1..ids.len()).rev() {
        ids.swap(at, numbers.below(at as u64 + 1) as usize);
    }
    CodeSet { ids: Some(ids), model_sha256: Some("test".into()), ..CodeSet::new(codes) }
}
