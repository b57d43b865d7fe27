//! The memory for the prefix codes of a lossless WebP (RFC 9649). A few bytes of the file can make the decoder build a table of some thousand
//! bytes, and there may be 65,536 groups of five codes in a picture of any size. Therefore this file reads everything before the pixels once,
//! without building any table, and counts.

use super::parse::{cut_off, unusable};
use crate::error::Result;

/// The codes of a group: green with lengths and cached colours, red, blue, alpha, distances.
const CODES: usize = 5;
/// The numbers of symbols of the first code that are green values, and that are lengths of copies.
const GREENS: u16 = 256;
const LENGTHS: u16 = 24;
const DISTANCES: u16 = 40;
/// The longest code in bits, and the longest that the decoder finds in one look-up.
const LONGEST: usize = 15;
const LOOKED_UP: usize = 10;
/// The order in which the lengths of the code for lengths are stored.
const ORDER: [usize; 19] = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

const UNKNOWN: &str = "one of its codes is for something that there is not";

/// The bytes of the decoder's tables. `stream` begins at the transforms, behind the header where there is one.
pub(super) fn table_bytes(stream: &[u8], [width, height]: [u32; 2]) -> Result<u64> {
    let mut bits = Bits { bytes: stream, at: 0 };
    let mut width = width;
    let parts = |side: u32, bits: u32| side.div_ceil(1 << bits);
    while bits.read(1)? == 1 {
        match bits.read(2)? {
            0 | 1 => {
                let block = bits.read(3)? + 2;
                skip_image(&mut bits, parts(width, block), parts(height, block))?;
            }
            2 => {}
            _ => {
                let colors = bits.read(8)? + 1;
                skip_image(&mut bits, colors, 1)?;
                width = parts(
                    width,
                    match colors {
                        0..=2 => 3,
                        3..=4 => 2,
                        5..=16 => 1,
                        _ => 0,
                    },
                );
            }
        }
    }
    let cached = cached_colors(&mut bits)?;
    let mut groups = 1;
    if bits.read(1)? == 1 {
        let block = bits.read(3)? + 2;
        groups = skip_image(&mut bits, parts(width, block), parts(height, block))? + 1;
    }
    let mut bytes = 0;
    for _ in 0..groups {
        bytes += group(&mut bits, cached)?.iter().map(Code::table_bytes).sum::<u64>();
    }
    Ok(bytes)
}

/// Reads the size of the colour cache.
fn cached_colors(bits: &mut Bits<'_>) -> Result<u16> {
    Ok(if bits.read(1)? == 1 { 1 << bits.read(4)?.min(11) } else { 0 })
}

fn group(bits: &mut Bits<'_>, cached: u16) -> Result<[Code; CODES]> {
    let mut group = [const { Code::EMPTY }; CODES];
    let symbols = [GREENS + LENGTHS + cached, 256, 256, 256, DISTANCES];
    for (code, symbols) in group.iter_mut().zip(symbols) {
        *code = Code::read(bits, symbols)?;
    }
    Ok(group)
}

/// Reads an image that has one group of codes, and returns the greatest number that red and green make in its pixels. In the image that selects
/// groups, this is the last group. Colours that are copied or cached have occurred before and need not be looked at.
fn skip_image(bits: &mut Bits<'_>, width: u32, height: u32) -> Result<u32> {
    let cached = cached_colors(bits)?;
    let [green, red, blue, alpha, distance] = group(bits, cached)?;
    let (mut left, mut greatest) = (width * height, 0);
    while left > 0 {
        let start = bits.at;
        let symbol = green.symbol(bits)?;
        if symbol < GREENS {
            greatest = greatest.max(u32::from(red.symbol(bits)?) << 8 | u32::from(symbol));
            blue.symbol(bits)?;
            alpha.symbol(bits)?;
            // If a pixel takes no bits, then all are equal.
            left = if bits.at == start { 0 } else { left - 1 };
        } else if symbol < GREENS + LENGTHS {
            let length = copied(bits, symbol - GREENS)?;
            let symbol = distance.symbol(bits)?;
            copied(bits, symbol)?;
            left = left
                .checked_sub(length)
                .ok_or_else(|| unusable("it copies more than there is room for"))?;
        } else {
            left -= 1;
        }
    }
    Ok(greatest)
}

/// Reads a length or a distance: a symbol, followed by extra bits.
fn copied(bits: &mut Bits<'_>, symbol: u16) -> Result<u32> {
    let symbol = u32::from(symbol);
    if symbol < 4 {
        return Ok(symbol + 1);
    }
    let more = (symbol - 2) >> 1;
    Ok(((2 + (symbol & 1)) << more) + bits.read(more)? + 1)
}

/// A canonical prefix code.
struct Code {
    /// The number of symbols by the length of their code; at 0 those without a code.
    counts: [u16; LONGEST + 1],
    /// The symbols in the order of their codes.
    symbols: Vec<u16>,
}

impl Code {
    const EMPTY: Self = Self { counts: [0; LONGEST + 1], symbols: Vec::new() };

    /// Reads a code of at most `symbols` symbols.
    fn read(bits: &mut Bits<'_>, symbols: u16) -> Result<Self> {
        if bits.read(1)? == 1 {
            let two = bits.read(1)? == 1;
            let width = if bits.read(1)? == 1 { 8 } else { 1 };
            let mut code = Self { symbols: vec![bits.read(width)? as u16], ..Self::EMPTY };
            if two {
                code.symbols.push(bits.read(8)? as u16);
            }
            code.counts[1] = code.symbols.len() as u16;
            let known = code.symbols.iter().all(|symbol| *symbol < symbols);
            return if known { Ok(code) } else { Err(unusable(UNKNOWN)) };
        }
        let mut lengths = [0; ORDER.len()];
        let count = 4 + bits.read(4)? as usize;
        for &at in &ORDER[..count] {
            lengths[at] = bits.read(3)? as u8;
        }
        let of_lengths = Self::of(&lengths);
        let mut left = symbols;
        if bits.read(1)? == 1 {
            let width = 2 + 2 * bits.read(3)?;
            left = bits.read(width)?.saturating_add(2).min(symbols.into()) as u16;
        }
        let (mut lengths, mut before) = (Vec::with_capacity(symbols.into()), 8);
        while lengths.len() < symbols.into() && left > 0 {
            left -= 1;
            let (length, times) = match of_lengths.symbol(bits)? {
                16 => (before, 3 + bits.read(2)?),
                17 => (0, 3 + bits.read(3)?),
                18 => (0, 11 + bits.read(7)?),
                length => (length as u8, 1),
            };
            before = if length == 0 { before } else { length };
            lengths.extend(std::iter::repeat_n(length, times as usize));
        }
        if lengths.len() > symbols.into() {
            return Err(unusable(UNKNOWN));
        }
        Ok(Self::of(&lengths))
    }

    /// The code whose symbols have codes of these lengths; 0 means that a symbol has none.
    fn of(lengths: &[u8]) -> Self {
        let mut counts = [0; LONGEST + 1];
        lengths.iter().for_each(|length| counts[usize::from(*length)] += 1);
        let mut symbols: Vec<u16> = (0..)
            .zip(lengths)
            .filter(|(_, length)| **length > 0)
            .map(|(symbol, _)| symbol)
            .collect();
        symbols.sort_by_key(|symbol| lengths[usize::from(*symbol)]);
        Self { counts, symbols }
    }

    /// Reads a symbol. A code with a single symbol takes no bits.
    fn symbol(&self, bits: &mut Bits<'_>) -> Result<u16> {
        if let [only] = self.symbols[..] {
            return Ok(only);
        }
        let (mut code, mut first, mut before) = (0, 0, 0);
        for count in self.counts[1..].iter().map(|count| u32::from(*count)) {
            code = code << 1 | bits.read(1)?;
            if code < first + count && code >= first {
                let symbol = self.symbols.get((before + code - first) as usize);
                return symbol.copied().ok_or_else(|| unusable(UNKNOWN));
            }
            before += count;
            first = (first + count) << 1;
        }
        Err(unusable(UNKNOWN))
    }

    /// The bytes of the decoder's tables: one look-up table for short codes, and a tree for longer ones.
    fn table_bytes(&self) -> u64 {
        /// The memory of a code beside its tables, with the overhead of an allocation.
        const FIXED: u64 = 200;
        let longest = self.counts.iter().rposition(|count| *count > 0).unwrap_or(0);
        let in_tree: u64 = self.counts[LOOKED_UP + 1..].iter().map(|count| u64::from(*count)).sum();
        FIXED + (4 << longest.min(LOOKED_UP)) + 2 * 16 * in_tree
    }
}

/// Reads bits of bytes, the least significant bit first.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The position in bits.
    at: usize,
}

impl Bits<'_> {
    /// Reads a number of at most 24 bits.
    fn read(&mut self, count: u32) -> Result<u32> {
        let mut number = 0;
        for k in 0..count {
            let byte = self.bytes.get(self.at / 8).ok_or_else(cut_off)?;
            number |= u32::from(byte >> (self.at % 8) & 1) << k;
            self.at += 1;
        }
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Limits, decode};

    /// Writes bits, as an encoder does.
    #[derive(Default)]
    struct Writer(Vec<bool>);

    impl Writer {
        fn put(&mut self, number: u32, count: u32) -> &mut Self {
            self.0.extend((0..count).map(|k| number >> k & 1 == 1));
            self
        }

        /// A code with a single symbol of eight bits.
        fn only(&mut self, symbol: u32) -> &mut Self {
            self.put(0b101, 3).put(symbol, 8)
        }

        fn bytes(&self) -> Vec<u8> {
            let byte =
                |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
            self.0.chunks(8).map(byte).collect()
        }
    }

    /// A picture of one pixel with this number of groups, each of five codes of up to ten bits. The pixel follows.
    fn bomb(groups: u32) -> Vec<u8> {
        let mut writer = Writer::default();
        // No transforms, no colour cache; groups for blocks of 4 x 4 pixels, and the image of groups without a colour cache.
        writer.put(0, 2).put(1, 1).put(0, 3).put(0, 1);
        let last = groups - 1;
        writer.only(last & 255).only(last >> 8).only(0).only(0).only(0);
        for _ in 0..groups * CODES as u32 {
            // The lengths 1 to 6 have codes of 3 bits, and 7 to 10 have codes of 4 bits.
            writer.put(0, 1).put(10, 4);
            for symbol in &ORDER[..14] {
                let length = match symbol {
                    1..=6 => 3,
                    7..=10 => 4,
                    _ => 0,
                };
                writer.put(length, 3);
            }
            // Eleven lengths follow: 1 to 10, and another 10.
            writer.put(1, 1).put(1, 3).put(9, 4);
            for length in (1u32..=10).chain([10]) {
                match length {
                    1..=6 => writer.put((length - 1).reverse_bits() >> 29, 3),
                    _ => writer.put((length + 5).reverse_bits() >> 28, 4),
                };
            }
        }
        writer.put(0, 32).bytes()
    }

    /// A file with a stream of one pixel.
    fn file(stream: &[u8]) -> Vec<u8> {
        let length = stream.len() as u32 + 5;
        let riff = (length + length % 2 + 12).to_le_bytes();
        let head = [&b"RIFF"[..], &riff, b"WEBPVP8L", &length.to_le_bytes(), &[0x2f, 0, 0, 0, 0]];
        [&head.concat(), stream, &[0]].concat()
    }

    #[test]
    fn tables_are_measured_and_not_made() {
        let small = bomb(3);
        assert_eq!(table_bytes(&small, [1, 1]).unwrap(), 15 * (4096 + 200));
        let picture = decode(&file(&small), &Limits::default()).unwrap();
        assert_eq!((picture.width, picture.height), (1, 1), "the decoder understands it");
        let large = bomb(65_536);
        assert!(large.len() < 5 << 20, "{} bytes", large.len());
        assert_eq!(table_bytes(&large, [1, 1]).unwrap(), 65_536 * 5 * (4096 + 200));
        let error = decode(&file(&large), &Limits::default()).unwrap_err().to_string();
        assert!(error.contains("more codes than a picture needs"), "{error}");
        for end in 0..small.len() - 4 {
            assert!(table_bytes(&small[..end], [1, 1]).is_err(), "it is cut off at {end}");
        }
    }
}
