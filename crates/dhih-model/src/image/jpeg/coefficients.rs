//! The coefficients of the blocks of one component, filled scan by scan. Only those are kept that the scaled picture needs: at a quarter of the
//! sides, a plane takes 10 bytes for each block, and 128 if all were kept. In this folder the DC coefficient of a block is called its mean and
//! the AC coefficients its waves.

use super::bits::Bits;
use super::huffman::Codes;
use super::samples::{Block, Samples};
use super::tables::{Frame, ZIGZAG};

/// The coefficients of a scan in the order of storage, and the lowest bit that the scan has.
#[derive(Clone, Copy)]
pub(super) struct Band {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) low: u32,
}

/// The blocks of one component.
pub(super) struct Plane {
    /// Blocks across and down, without those that only fill up MCUs.
    blocks: [usize; 2],
    /// Blocks across, including those.
    stride: usize,
    /// The coefficients that are kept, in the order of storage, as a list and as bits.
    kept: Vec<u8>,
    kept_bits: u64,
    /// The position of each coefficient among those that are kept.
    slots: [u8; 64],
    /// The kept coefficients of each block.
    values: Vec<i16>,
    /// For each block a bit for each coefficient that is not zero. Empty where only DC coefficients are decoded.
    known: Vec<u64>,
}

impl Plane {
    /// A plane for component number `component`. With `samples`, it keeps the coefficients that these need. Without, it keeps none and only
    /// tells whether all data are there.
    pub(super) fn new(frame: &Frame, component: usize, samples: Option<Samples>) -> Self {
        let (most, grid) = (frame.most_blocks(), frame.grid());
        let sampling = frame.components[component].sampling;
        let blocks =
            [0, 1].map(|side| (frame.size[side] * sampling[side]).div_ceil(most[side]).div_ceil(8));
        let [stride, rows] = [0, 1].map(|side| grid[side] * sampling[side]);
        let is_kept = |k: &u8| samples.is_some_and(|samples| samples.needs((*k).into()));
        let kept: Vec<u8> = (0..64).filter(is_kept).collect();
        let has_waves = kept.len() != 1;
        let mut slots = [0; 64];
        (0..).zip(&kept).for_each(|(slot, k)| slots[usize::from(*k)] = slot);
        Self {
            blocks,
            stride,
            slots,
            kept_bits: kept.iter().fold(0, |bits, k| bits | 1 << k),
            values: vec![0; kept.len() * stride * rows],
            known: vec![0; if has_waves { stride * rows } else { 0 }],
            kept,
        }
    }

    /// Blocks across and down in a scan of this component alone.
    pub(super) fn blocks(&self) -> [usize; 2] {
        self.blocks
    }

    /// The number of the block at a column and row.
    #[inline(always)]
    pub(super) fn number(&self, [column, row]: [usize; 2]) -> usize {
        row * self.stride + column
    }

    /// Whether AC coefficients are decoded.
    pub(super) fn has_waves(&self) -> bool {
        !self.known.is_empty()
    }

    /// Whether values are kept.
    pub(super) fn keeps_values(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Writes a block's coefficients, multiplied by their quantisers.
    #[inline(always)]
    pub(super) fn write(&self, block: usize, quantisers: &[f32; 64], to: &mut Block) {
        let values = &self.values[block * self.kept.len()..];
        for (value, k) in values.iter().zip(&self.kept) {
            let k = usize::from(*k) & 63;
            to[usize::from(ZIGZAG[k])] = f32::from(*value) * quantisers[k];
        }
    }

    /// Reads a DC coefficient in its first scan: the difference to the one before, down to the bit `low`.
    #[inline(always)]
    pub(super) fn mean(
        &mut self,
        block: usize,
        codes: &Codes,
        mean: &mut i32,
        low: u32,
        bits: &mut Bits<'_>,
    ) -> Option<()> {
        bits.refill();
        *mean = mean.wrapping_add(codes.coefficient(bits)?.value);
        if let Some(value) = self.values.get_mut(block * self.kept.len()) {
            *value = (*mean << low) as i16;
        }
        Some(())
    }

    /// Reads a further bit of a DC coefficient.
    #[inline(always)]
    pub(super) fn mean_bit(&mut self, block: usize, low: u32, bits: &mut Bits<'_>) {
        bits.refill();
        let bit = bits.take(1) as i16;
        if let Some(value) = self.values.get_mut(block * self.kept.len()) {
            *value |= bit << low;
        }
    }

    /// Reads all AC coefficients of a block in a picture that is not progressive.
    #[inline(always)]
    pub(super) fn all_waves(
        &mut self,
        block: usize,
        codes: &Codes,
        bits: &mut Bits<'_>,
    ) -> Option<()> {
        let last = 63 - self.kept_bits.leading_zeros().min(63) as usize;
        let mut k = 1;
        while k <= last {
            bits.refill();
            let next = codes.coefficient(bits)?;
            if next.value == 0 && next.run < 15 {
                return Some(());
            }
            k += next.run;
            if k < 64 {
                self.set(block, 1 << k, next.value);
            }
            k += 1;
        }
        codes.skips().skip(k, codes, bits)
    }

    /// Reads a band of coefficients in its first scan (ITU-T T.81, G.1.2.2). `end_run` is the number of blocks that have no more coefficients in
    /// this scan.
    #[inline(always)]
    pub(super) fn waves(
        &mut self,
        block: usize,
        codes: &Codes,
        band: Band,
        end_run: &mut u32,
        bits: &mut Bits<'_>,
    ) -> Option<()> {
        if *end_run > 0 {
            *end_run -= 1;
            return Some(());
        }
        let (mut k, mut known) = (band.first, self.known[block]);
        while k <= band.last {
            bits.refill();
            let next = codes.coefficient(bits)?;
            match (next.value, next.run) {
                (0, 15) => k += 16,
                (0, run) => {
                    *end_run = (1 << run) - 1 + bits.take(run as u32);
                    break;
                }
                (value, run) => {
                    k += run;
                    if k > 63 {
                        return None;
                    }
                    known |= 1 << k;
                    self.set(block, 1 << k, value << band.low);
                    k += 1;
                }
            }
        }
        self.known[block] = known;
        Some(())
    }

    /// Reads a further bit of a band of coefficients (ITU-T T.81, G.1.2.3). Each coefficient that is not zero gets one, and others become 1 or
    /// -1 at that bit.
    #[inline(always)]
    pub(super) fn wave_bits(
        &mut self,
        block: usize,
        codes: &Codes,
        band: Band,
        end_run: &mut u32,
        bits: &mut Bits<'_>,
    ) -> Option<()> {
        let mut known = self.known[block];
        // The coefficients of the band that are not done.
        let mut rest = u64::MAX << band.first & u64::MAX >> (63 - band.last);
        while *end_run == 0 && rest != 0 {
            bits.refill();
            let next = codes.coefficient(bits)?;
            if next.value == 0 && next.run < 15 {
                *end_run = (1 << next.run) + bits.take(next.run as u32);
                break;
            }
            if next.value.abs() > 1 {
                return None;
            }
            // The coefficient behind a run of zeros. Most runs are short and take no branches.
            let mut zeros = !known & rest;
            for passed in 0..4 {
                zeros &= zeros.wrapping_sub(u64::from(next.run > passed));
            }
            for _ in 4..next.run {
                zeros &= zeros.wrapping_sub(1);
            }
            let new = zeros & zeros.wrapping_neg();
            if new == 0 {
                self.correct(block, known & rest, (known & rest).count_ones(), band.low, bits);
                break;
            }
            let before = rest & (new - 1);
            // The known coefficients before it are as many as there are positions, without the zeros of the run.
            let passed = (new.trailing_zeros() - rest.trailing_zeros()) - next.run as u32;
            self.correct(block, known & before, passed, band.low, bits);
            rest &= !(before | new);
            if next.value != 0 {
                known |= new;
                self.set(block, new, next.value << band.low);
            }
        }
        self.known[block] = known;
        if *end_run > 0 {
            *end_run -= 1;
            self.correct(block, known & rest, (known & rest).count_ones(), band.low, bits);
        }
        Some(())
    }

    /// Reads a bit for each of these `count` coefficients, and adds it to those that are kept.
    #[inline(always)]
    fn correct(
        &mut self,
        block: usize,
        coefficients: u64,
        count: u32,
        low: u32,
        bits: &mut Bits<'_>,
    ) {
        bits.refill();
        let mut wanted = coefficients & self.kept_bits;
        let mut passed = 0;
        while wanted != 0 {
            let bit = wanted & wanted.wrapping_neg();
            let before = (coefficients & (bit - 1)).count_ones();
            if before - passed >= Bits::REFILLED {
                bits.consume(Bits::REFILLED);
                bits.refill();
                passed += Bits::REFILLED;
            }
            let is_set = (bits.window() << (before - passed) >> 63) as i16;
            let value = self.value(block, bit);
            *value = value.wrapping_add((value.signum() * is_set) << low);
            wanted ^= bit;
        }
        let rest = count - passed;
        let first = rest.min(Bits::REFILLED);
        bits.consume(first);
        if rest > first {
            bits.refill();
            bits.consume(rest - first);
        }
    }

    /// Sets a coefficient where it is kept.
    #[inline(always)]
    fn set(&mut self, block: usize, bit: u64, value: i32) {
        if self.kept_bits & bit != 0 {
            *self.value(block, bit) = value as i16;
        }
    }

    /// The value of a kept coefficient.
    #[inline(always)]
    fn value(&mut self, block: usize, bit: u64) -> &mut i16 {
        let slot = usize::from(self.slots[bit.trailing_zeros() as usize & 63]);
        &mut self.values[block * self.kept.len() + slot]
    }
}
