//! Writes codes to measure an index with, and 1,000 queries of the same distribution that are not among the codes:
//!
//! ```text
//! cargo run --release -p dhih-index --example generate_codes -- OUT.npy QUERIES.npy COUNT BITS uniform
//! cargo run --release -p dhih-index --example generate_codes -- OUT.npy QUERIES.npy COUNT BITS 100
//! cargo run --release -p dhih-index --example generate_codes -- OUT.npy QUERIES.npy COUNT BITS copies
//! cargo run --release -p dhih-index --example generate_codes -- OUT.npy QUERIES.npy COUNT BITS pdq
//! ```
//!
//! `uniform` draws each bit independently. A number is the number of classes, and the codes are like learned ones: each class has
//! a centre that is drawn uniformly; the sizes of classes follow Zipf's law; and the code of an item is the centre of its class with
//! bits flipped at a rate that is drawn from a Beta distribution, so that most items are within 6 bits of their centre and many
//! share a code. `copies` are uniform codes of which one in twenty is an earlier one with up to an eighth of its bits flipped, as copies of
//! pictures have. `pdq` are the same codes, and every second query is a copy of one of them, the others being of nothing: what a search
//! for known pictures is asked.

use std::error::Error;

use dhih_index::{CodeSet, Codes};

const QUERIES: usize = 1000;
/// The parameter b of the distribution Beta(1, b) of the rate of flipped bits, for codes of 64 bits: 2.1 bits are flipped on average.
const RATE: f64 = 29.0;
/// Of the codes with copies, one in so many is a copy.
const ONE_COPY_IN: usize = 20;

/// The random number generator SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number drawn uniformly from (0, 1).
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
    Copies,
    Pdq,
    /// The centres of the classes, and the share of items in each class and all classes before it.
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
        // The rate is drawn from Beta(1, b) and scaled, so that codes of any length have the same number of flipped bits.
        let rate = (1.0 - numbers.unit().powf(1.0 / RATE)) * 64.0 / f64::from(bits);
        let step = (1.0 - rate.min(0.999)).ln();
        // The gaps between flipped bits follow a geometric distribution: go from one flipped bit to the next.
        let mut at = (numbers.unit().ln() / step) as u64;
        while at < u64::from(bits) {
            code[at as usize / 8] ^= 1 << (at % 8);
            at += 1 + (numbers.unit().ln() / step) as u64;
        }
        code
    }
}

/// One of some codes with up to an eighth of its bits flipped.
fn copy(codes: &[u8], bits: u32, numbers: &mut Numbers) -> Vec<u8> {
    let width = bits.div_ceil(8) as usize;
    let original = (numbers.next() % (codes.len() / width) as u64) as usize;
    let mut code = codes[original * width..][..width].to_vec();
    for _ in 0..numbers.next() % u64::from(bits / 8 + 1) {
        let bit = (numbers.next() % u64::from(bits)) as usize;
        code[bit / 8] ^= 1 << (bit % 8);
    }
    code
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [out, queries, count, bits, kind] = &words[..] else {
        return Err(
            "give OUT.npy QUERIES.npy COUNT BITS and `uniform`, `copies`, `pdq` or a number of classes"
                .into(),
        );
    };
    let (count, bits): (usize, u32) = (count.parse()?, bits.parse()?);
    let numbers = &mut Numbers(u64::from(bits));
    let kind = match kind.as_str() {
        "uniform" => Kind::Uniform,
        "copies" => Kind::Copies,
        "pdq" => Kind::Pdq,
        classes => Kind::learned(classes.parse::<usize>()?.max(1), bits, numbers),
    };
    let copies = matches!(kind, Kind::Copies | Kind::Pdq);
    let mut set = |count: usize| {
        let mut bytes = Vec::with_capacity(count * bits.div_ceil(8) as usize);
        for item in 0..count {
            let mut code = kind.code(bits, numbers);
            if copies && item % ONE_COPY_IN == ONE_COPY_IN - 1 {
                code = copy(&bytes, bits, numbers);
            }
            bytes.extend(code);
        }
        bytes
    };
    let (mut asked, codes) = (set(QUERIES), set(count));
    if matches!(kind, Kind::Pdq) {
        for query in asked.chunks_exact_mut(bits.div_ceil(8) as usize).step_by(2) {
            query.copy_from_slice(&copy(&codes, bits, numbers));
        }
    }
    for (path, bytes) in [(queries, asked), (out, codes)] {
        CodeSet::new(Codes::new(bits, bytes)?).write(path)?;
    }
    Ok(())
}
