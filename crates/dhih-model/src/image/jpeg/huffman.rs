//! Huffman codes of JPEG: tables that decode a coefficient in one look-up, and tables that skip several at once.

use std::cell::OnceCell;

use super::bits::Bits;

/// The number of bits of the look-up for one coefficient.
const SHORT_BITS: u32 = 10;
/// The number of bits of the look-up that skips several coefficients.
const SKIP_BITS: u32 = 13;

/// A coefficient that is not zero, and the number of zeros before it. A value of 0 stands for a symbol without a value.
pub(super) struct Coefficient {
    pub(super) run: usize,
    pub(super) value: i32,
}

/// A table of Huffman codes.
pub(super) struct Codes {
    /// By the next ten bits: the length of the code, and its symbol. The length is 0 where the code is longer.
    short: Box<[[u8; 2]; 1 << SHORT_BITS]>,
    /// By the next ten bits: the coefficient whose code and value they contain.
    whole: Box<[Whole; 1 << SHORT_BITS]>,
    /// For each length of a code: the first code that is longer, aligned to 16 bits, and what to add to a code to get the position of its
    /// symbol.
    limits: [u32; 17],
    offsets: [i32; 17],
    symbols: Vec<u8>,
    skips: OnceCell<Skips>,
}

/// A code with the value behind it.
#[derive(Clone, Copy, Default)]
#[repr(align(4))]
struct Whole {
    value: i16,
    run: u8,
    /// The number of bits of both; 0 where they do not fit into the look-up.
    bits: u8,
}

impl Codes {
    /// The codes from the number of codes of each length and their symbols; `None` where the lengths do not allow so many codes.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut codes = Self {
            short: Box::new([[0; 2]; 1 << SHORT_BITS]),
            whole: Box::new([Whole::default(); 1 << SHORT_BITS]),
            limits: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
            skips: OnceCell::new(),
        };
        let (mut code, mut place) = (0u32, 0usize);
        for (length, count) in (1..).zip(counts.iter().map(|count| u32::from(*count))) {
            codes.offsets[length as usize] = place as i32 - code as i32;
            if code + count > 1 << length {
                return None;
            }
            for _ in 0..count {
                if length <= SHORT_BITS {
                    let from = (code << (SHORT_BITS - length)) as usize;
                    let same = 1 << (SHORT_BITS - length);
                    codes.short[from..from + same].fill([length as u8, symbols[place]]);
                }
                (code, place) = (code + 1, place + 1);
            }
            codes.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        let prefixes = (0u64..).zip(codes.short.iter().zip(codes.whole.iter_mut()));
        for (prefix, ([length, symbol], whole)) in prefixes {
            let (length, size) = (u32::from(*length), u32::from(symbol & 15));
            if length > 0 && length + size <= SHORT_BITS {
                let value = value(prefix << (64 - SHORT_BITS) << length, size) as i16;
                *whole = Whole { value, run: symbol >> 4, bits: (length + size) as u8 };
            }
        }
        Some(codes)
    }

    /// The length and the symbol of the code at the top of a window.
    #[inline(always)]
    fn find(&self, window: u64) -> Option<Found> {
        let [length, symbol] = self.short[(window >> (64 - SHORT_BITS)) as usize];
        if length > 0 {
            return Some(Found { length: length.into(), symbol });
        }
        let next = (window >> 48) as u32;
        let length = (SHORT_BITS + 1..=16).find(|length| next < self.limits[*length as usize])?;
        let place = (next >> (16 - length)) as i32 + self.offsets[length as usize];
        Some(Found { length, symbol: *self.symbols.get(usize::try_from(place).ok()?)? })
    }

    /// Reads the next symbol, of up to 16 available bits.
    #[inline(always)]
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Option<u8> {
        let Found { length, symbol } = self.find(bits.window())?;
        bits.consume(length);
        Some(symbol)
    }

    /// Reads the next symbol with its value, of up to 31 available bits. For the difference of two DC coefficients only `value` matters; for AC
    /// coefficients a value of 0 has a meaning that depends on `run`.
    #[inline(always)]
    pub(super) fn coefficient(&self, bits: &mut Bits<'_>) -> Option<Coefficient> {
        let whole = self.whole[(bits.window() >> (64 - SHORT_BITS)) as usize];
        if whole.bits > 0 {
            bits.consume(whole.bits.into());
            return Some(Coefficient { run: whole.run.into(), value: whole.value.into() });
        }
        let symbol = self.symbol(bits)?;
        let size = u32::from(symbol & 15);
        let value = value(bits.window(), size);
        bits.consume(size);
        Some(Coefficient { run: usize::from(symbol >> 4), value })
    }

    /// The tables that skip coefficients.
    pub(super) fn skips(&self) -> &Skips {
        self.skips.get_or_init(|| Skips::new(self))
    }
}

/// A code that was found.
struct Found {
    length: u32,
    symbol: u8,
}

/// The number of `size` bits at the top of a window. Numbers that begin with a 0 bit are negative.
#[inline(always)]
fn value(window: u64, size: u32) -> i32 {
    let bits = (window >> 1 >> (63 - size)) as i32;
    // All bits are 1 where the number is negative.
    let negative = (window >> 63) as i32 - 1;
    bits + (negative & (1 - (1 << size)))
}

/// What the next 13 bits contain: as many complete codes as possible, with the values behind them, the last of which may extend further.
///
/// The lowest six bits of an entry are the number of bits to skip, at most 13 + 15. The other bits are the number of coefficients, plus 129
/// where the last code is the end of the block, or [`UNKNOWN`].
pub(super) struct Skips(Box<[u16; 1 << SKIP_BITS]>);

const BLOCK: u16 = 64;
/// Added where the block ends, beside the 1 for which a block with all of its coefficients has no room.
const ENDS: u16 = 128;
/// The bits do not contain a complete code. The number is greater than any sum of a position and a number of coefficients.
const UNKNOWN: u16 = 255;

impl Skips {
    fn new(codes: &Codes) -> Self {
        // The entry for a number of known bits follows those for fewer bits: that of the 3 bits 101 is at 0b1101.
        let mut levels = vec![UNKNOWN << 6; 2 << SKIP_BITS];
        for known in 1..=SKIP_BITS {
            for prefix in 0..1usize << known {
                let found = codes.find((prefix as u64) << (64 - known));
                let Some(found) = found.filter(|found| found.length <= known) else { continue };
                let (run, size) = (u16::from(found.symbol >> 4), u32::from(found.symbol & 15));
                let bits = found.length + size;
                let ends = size == 0 && run < 15;
                let coefficients = if ends { ENDS + 1 } else { run + 1 };
                let mut entry = coefficients << 6 | bits as u16;
                if !ends && bits < known {
                    let rest = known - bits;
                    let rest = levels[1 << rest | prefix & ((1 << rest) - 1)];
                    let most = if rest >> 6 > ENDS { ENDS + BLOCK } else { BLOCK };
                    if (rest >> 6) + coefficients <= most {
                        entry += rest;
                    }
                }
                levels[1 << known | prefix] = entry;
            }
        }
        let mut table = Box::new([0; 1 << SKIP_BITS]);
        table.copy_from_slice(&levels[1 << SKIP_BITS..]);
        Self(table)
    }

    /// Skips the coefficients of a block from `at` on. `None` where some bits are not a code.
    #[inline(always)]
    pub(super) fn skip(&self, at: usize, codes: &Codes, bits: &mut Bits<'_>) -> Option<()> {
        const { assert!(2 * (SKIP_BITS + 15) <= Bits::REFILLED) };
        let mut at = at as u16;
        while at < BLOCK {
            bits.refill();
            for _ in 0..2 {
                let entry = self.0[(bits.window() >> (64 - SKIP_BITS)) as usize];
                let next = at + (entry >> 6);
                if next < BLOCK {
                    bits.consume((entry & 63).into());
                    at = next;
                } else if next == BLOCK || (ENDS + 1..=ENDS + BLOCK).contains(&next) {
                    bits.consume((entry & 63).into());
                    return Some(());
                } else {
                    // A long code, or a code behind a block that has all of its coefficients and no code for its end.
                    bits.refill();
                    let symbol = codes.symbol(bits)?;
                    bits.consume((symbol & 15).into());
                    let ends = symbol & 15 == 0 && symbol >> 4 < 15;
                    at += if ends { BLOCK } else { u16::from(symbol >> 4) + 1 };
                    break;
                }
            }
        }
        Some(())
    }
}
