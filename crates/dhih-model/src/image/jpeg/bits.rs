//! The entropy-coded data of a scan: bytes without stuffing, split at restart markers, and a reader of their bits.

/// The data of a scan without stuffed bytes, divided into the intervals between restart markers.
pub(super) struct Entropy {
    data: Vec<u8>,
    /// The end of each interval; the next one begins there.
    ends: Vec<usize>,
}

impl Entropy {
    /// Removes stuffing from the data of a scan. They end at the first marker that is not a restart marker.
    pub(super) fn unstuff(scan: &[u8]) -> Self {
        let (mut data, mut ends) = (Vec::with_capacity(scan.len() + Bits::PADDING), Vec::new());
        let mut rest = scan;
        while let Some(at) = memchr::memchr(0xff, rest) {
            data.extend_from_slice(&rest[..at]);
            match rest.get(at + 1) {
                Some(0) => data.push(0xff),
                Some(0xd0..=0xd7) => ends.push(data.len()),
                Some(0xff) => {
                    rest = &rest[at + 1..];
                    continue;
                }
                _ => {
                    rest = &[];
                    break;
                }
            }
            rest = &rest[at + 2..];
        }
        data.extend_from_slice(rest);
        ends.push(data.len());
        data.resize(data.len() + Bits::PADDING, 0);
        Self { data, ends }
    }

    /// The intervals, beginning with the first.
    pub(super) fn intervals(&self) -> Intervals<'_> {
        let bits = Bits::at(&self.data, 0);
        let (first, rest) =
            self.ends.split_first().map_or((0, &[][..]), |(end, rest)| (*end, rest));
        Intervals { data: &self.data, bits, end: first, rest }
    }
}

/// A reader of the intervals of a scan.
pub(super) struct Intervals<'a> {
    data: &'a [u8],
    pub(super) bits: Bits<'a>,
    /// The end of the current interval, in bytes.
    end: usize,
    /// The ends of the intervals behind it.
    rest: &'a [usize],
}

impl Intervals<'_> {
    /// Whether more bits were read than the interval has.
    #[inline(always)]
    pub(super) fn is_exceeded(&self) -> bool {
        self.bits.position() > 8 * self.end
    }

    /// Whether bits that are not a code may be the beginning of an incomplete one: they are the last of the scan.
    pub(super) fn may_be_cut(&self) -> bool {
        const LONGEST_CODE: usize = 16;
        self.rest.is_empty() && self.bits.position() + LONGEST_CODE > 8 * self.end
    }

    /// Goes on to the next interval; `None` where there is none.
    pub(super) fn restart(&mut self) -> Option<()> {
        let (next, rest) = self.rest.split_first()?;
        self.bits = Bits::at(self.data, self.end);
        (self.end, self.rest) = (*next, rest);
        Some(())
    }
}

/// A reader of bits in data without stuffing, the most significant bit first. Behind the data all bits are 0.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The first byte that is not completely in the window.
    at: usize,
    /// The next bits, from the most significant one on.
    window: u64,
    /// How many bits of the window belong to bytes before `at`. The bits below them are 0, or are bits of the bytes from `at` on.
    count: u32,
}

impl<'a> Bits<'a> {
    /// Bytes that must follow the data, so that a window can be read at their end.
    const PADDING: usize = 8;
    /// The number of bits that may be looked at and consumed after a refill.
    pub(super) const REFILLED: u32 = 56;

    /// Starts at a byte.
    fn at(data: &'a [u8], byte: usize) -> Self {
        Self { data, at: byte, window: 0, count: 0 }
    }

    /// The number of bits before the next one.
    #[inline(always)]
    fn position(&self) -> usize {
        8 * self.at - self.count as usize
    }

    /// Makes at least [`REFILLED`](Self::REFILLED) bits available. The load address depends on what was consumed since the last refill only
    /// through `count`, so that the processor need not wait for the load (variant 4 in F. Giesen, "Reading bits in far too many ways", 2018).
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if let Some(bytes) = self.data.get(self.at..).and_then(|rest| rest.first_chunk()) {
            self.window |= u64::from_be_bytes(*bytes) >> self.count;
        }
        self.at += (63 - self.count as usize) / 8;
        self.count |= 56;
    }

    /// The next bits, from the most significant bit of the result on.
    #[inline(always)]
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// Skips bits, at most as many as are available.
    #[inline(always)]
    pub(super) fn consume(&mut self, bits: u32) {
        self.window <<= bits & 63;
        self.count = self.count.wrapping_sub(bits);
    }

    /// Reads the next `size` bits as a number; at most 31 of the available bits.
    #[inline(always)]
    pub(super) fn take(&mut self, size: u32) -> u32 {
        let bits = (self.window >> 1 >> (63 - size)) as u32;
        self.consume(size);
        bits
    }
}
