//! Huffman codes of JPEG: bits, symbols, and tables that pass over several coefficients at once.

/// Bits that are looked up at once to find one symbol, and to pass over several.
const SYMBOL_BITS: u32 = 10;
const SKIP_BITS: u32 = 12;
/// The longest code and the longest value behind it, in bits.
const LONGEST: u32 = 16 + 15;
/// Bits of a window that are always good.
const WINDOW: u32 = 57;

/// A position in data without stuffed bytes, the most significant bit first. Behind the data bits are zero.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    /// Bytes that must follow the data, so that a window can be read at their end.
    pub(super) const PADDING: usize = 8;

    pub(super) fn new(data: &'a [u8]) -> Self {
        Self::at(data, 0)
    }

    /// Begins at a byte.
    pub(super) fn at(data: &'a [u8], byte: usize) -> Self {
        Self { data, position: 8 * byte }
    }

    /// How many bits lie before the next.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The next bits from the highest of the result on; at least 57 of them are good.
    #[inline(always)]
    fn window(&self) -> u64 {
        let bytes = self.data.get(self.position / 8..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes)) << (self.position % 8)
    }
}

/// A table of Huffman codes.
#[derive(Clone)]
pub(super) struct Codes {
    /// By the next ten bits: the length of the code, and its symbol; length 0 where the code is longer.
    short: Box<[[u8; 2]; 1 << SYMBOL_BITS]>,
    /// For each length of a code the first code that is longer, aligned to 16 bits; and what to add to a code to get its symbol's place.
    limits: [u32; 17],
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Codes {
    /// Of the number of codes of each length, and their symbols; `None` where there are more codes than their lengths have room for.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut codes = Self {
            short: Box::new([[0; 2]; 1 << SYMBOL_BITS]),
            limits: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0u32, 0usize);
        for (length, count) in (1..).zip(counts.iter().map(|count| u32::from(*count))) {
            codes.offsets[length as usize] = place as i32 - code as i32;
            if code + count > 1 << length {
                return None;
            }
            for _ in 0..count {
                if length <= SYMBOL_BITS {
                    let from = (code << (SYMBOL_BITS - length)) as usize;
                    let same = 1 << (SYMBOL_BITS - length);
                    codes.short[from..from + same].fill([length as u8, symbols[place]]);
                }
                (code, place) = (code + 1, place + 1);
            }
            codes.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(codes)
    }

    /// The length and the symbol of the code at the top of a window.
    #[inline(always)]
    fn find(&self, window: u64) -> Option<(u32, u8)> {
        let [length, symbol] = self.short[(window >> (64 - SYMBOL_BITS)) as usize];
        if length > 0 {
            return Some((length.into(), symbol));
        }
        let next = (window >> 48) as u32;
        let length = (SYMBOL_BITS + 1..=16).find(|length| next < self.limits[*length as usize])?;
        let place = (next >> (16 - length)) as i32 + self.offsets[length as usize];
        Some((length, *self.symbols.get(usize::try_from(place).ok()?)?))
    }

    /// The next difference of means.
    #[inline(always)]
    pub(super) fn difference(&self, bits: &mut Bits<'_>) -> Option<i32> {
        let window = bits.window();
        let (length, size) = self.find(window)?;
        let size = u32::from(size & 15);
        bits.position += (length + size) as usize;
        Some(value(window << length, size))
    }

    /// The next coefficient that is not zero, with the number of zeros before it; `Some(None)` at the end of the block.
    #[inline(always)]
    pub(super) fn coefficient(&self, bits: &mut Bits<'_>) -> Option<Option<(usize, i32)>> {
        let window = bits.window();
        let (length, symbol) = self.find(window)?;
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        bits.position += (length + size) as usize;
        Some(match (run, size) {
            (15, 0) => Some((15, 0)),
            (_, 0) => None,
            _ => Some((run, value(window << length, size))),
        })
    }
}

/// A number of `size` bits at the top of a window; those that begin with 0 are negative.
#[inline(always)]
fn value(window: u64, size: u32) -> i32 {
    if size == 0 {
        return 0;
    }
    let bits = (window >> (64 - size)) as i32;
    if window >> 63 == 1 { bits } else { bits - (1 << size) + 1 }
}

/// What the next 12 bits pass over: as many whole codes with their values as there are in them.
#[derive(Clone, Copy, Default)]
#[repr(align(4))]
struct Skip {
    /// 0 where the first does not fit.
    bits: u8,
    coefficients: u8,
    /// 1 where the end of the block is among them.
    ends: u8,
}

/// A table of [`Skip`]s.
pub(super) struct Skips(Box<[Skip; 1 << SKIP_BITS]>);

impl Skips {
    pub(super) fn new(codes: &Codes) -> Self {
        let of = |prefix: u64| {
            let (mut skip, mut window) = (Skip::default(), prefix << (64 - SKIP_BITS));
            while let Some((length, symbol)) = codes.find(window) {
                let (run, size) = (symbol >> 4, u32::from(symbol & 15));
                let bits = length + size;
                if u32::from(skip.bits) + bits > SKIP_BITS || skip.coefficients > 63 {
                    break;
                }
                skip.bits += bits as u8;
                window <<= bits;
                if size == 0 && run < 15 {
                    skip.ends = 1;
                    break;
                }
                skip.coefficients += run + 1;
            }
            skip
        };
        let mut table = Box::new([Skip::default(); 1 << SKIP_BITS]);
        (0..).zip(table.iter_mut()).for_each(|(prefix, skip)| *skip = of(prefix));
        Self(table)
    }

    /// Passes over the coefficients of a block from `at` on. `None` where there is no such code.
    #[inline(always)]
    pub(super) fn skip(&self, mut at: usize, codes: &Codes, bits: &mut Bits<'_>) -> Option<()> {
        while at < 64 {
            let (mut window, mut used) = (bits.window(), 0);
            while at < 64 && used + SKIP_BITS <= WINDOW {
                let skip = self.0[(window >> (64 - SKIP_BITS)) as usize];
                // A block may end without a code for its end, and what follows is then no coefficient.
                if skip.bits > 0 && at + usize::from(skip.coefficients + skip.ends) <= 64 {
                    window <<= skip.bits;
                    used += u32::from(skip.bits);
                    at += usize::from(skip.coefficients) + 64 * usize::from(skip.ends);
                } else if used + LONGEST <= WINDOW {
                    let (length, symbol) = codes.find(window)?;
                    let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
                    window <<= length + size;
                    used += length + size;
                    at += if size == 0 && run < 15 { 64 } else { run + 1 };
                } else {
                    break;
                }
            }
            bits.position += used as usize;
        }
        Some(())
    }
}
