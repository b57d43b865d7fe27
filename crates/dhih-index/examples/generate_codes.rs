//! Writes sets of codes to measure an index with, and 1,000 queries from the same distribution that are not among them:
//!
//! ```text
//! cargo run --release -p dhih-index --example generate_codes -- OUT.npy QUERIES.npy COUNT BITS uniform
//! cargo run --release -p dhih-index --example generate_codes -- OUT.npy QUERIES.npy COUNT BITS 100
//! ```
//!
//! `uniform` draws every bit by itself. A number is one of classes, and codes are like learned ones: a centre a class, drawn
//! uniformly; an item takes a class (the sizes are those of Zipf's law) and a rate of flipped bits from a Beta distribution, so
//! that most items lie within 6 bits of their centre and many share a code.

use std::error::Error;
use std::path::Path;

use dhih_index::{CodeSet, Codes};

const QUERIES: usize = 1000;
/// Of Beta(1, b) for codes of 64 bits: a mean of 2.1 flipped bits.
const RATE: f64 = 29.0;

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1).
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn code(&mut self, bits: u32) -> Vec<u8> {
        let mut code: Vec<u8> = (0..bits.div_ceil(8)).map(|_| self.next() as u8).collect();
        if let Some(last) = code.last_mut().filter(|_| !bits.is_multiple_of(8)) {
            *last &= (1 << (bits % 8)) - 1;
        }
        code
    }
}

enum Kind {
    Uniform,
    /// Centres, and the share of items up to each class.
    Learned(Vec<Vec<u8>>, Vec<f64>),
}

impl Kind {
    fn learned(classes: usize, bits: u32, numbers: &mut Numbers) -> Self {
        let centres = (0..classes).map(|_| numbers.code(bits)).collect();
        let mut share = 0.0;
        let mut shares: Vec<f64> = (1..=classes)
            .map(|rank| {
                share += 1.0 / rank as f64;
                share
            })
            .collect();
        shares.iter_mut().for_each(|up_to| *up_to /= share);
        Self::Learned(centres, shares)
    }

    fn code(&self, bits: u32, numbers: &mut Numbers) -> Vec<u8> {
        let Self::Learned(centres, shares) = self else { return numbers.code(bits) };
        let place = numbers.unit();
        let class = shares.partition_point(|&up_to| up_to < place).min(centres.len() - 1);
        let mut code = centres[class].clone();
        // Beta(1, b), scaled so that longer codes have as many flipped bits.
        let rate = (1.0 - numbers.unit().powf(1.0 / RATE)) * 64.0 / f64::from(bits);
        let step = (1.0 - rate.min(0.999)).ln();
        // From one flipped bit to the next.
        let mut at = (numbers.unit().ln() / step) as u64;
        while at < u64::from(bits) {
            code[at as usize / 8] ^= 1 << (at % 8);
            at += 1 + (numbers.unit().ln() / step) as u64;
        }
        code
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [out, queries, count, bits, kind] = &words[..] else {
        return Err(
            "give OUT.npy QUERIES.npy COUNT BITS and `uniform` or a number of classes".into()
        );
    };
    let (count, bits): (usize, u32) = (count.parse()?, bits.parse()?);
    let numbers = &mut Numbers(u64::from(bits));
    let kind = match kind.as_str() {
        "uniform" => Kind::Uniform,
        classes => Kind::learned(classes.parse::<usize>()?.max(1), bits, numbers),
    };
    for (path, count) in [(queries, QUERIES), (out, count)] {
        let mut bytes = Vec::with_capacity(count * bits.div_ceil(8) as usize);
        (0..count).for_each(|_| bytes.extend(kind.code(bits, numbers)));
        CodeSet::new(Codes::new(bits, bytes)?).write(Path::new(path))?;
    }
    Ok(())
}
