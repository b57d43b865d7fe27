//! `ChosenCodes`: the codes of a segment that have at least one row which a filter selects. A search asks about each code near the query,
//! and a bit answers without a look at the code's rows. Where they are few, a search compares copies of them alone.

use std::sync::OnceLock;

/// Codes are copied if they are fewer than this share of all.
pub(crate) const COPIED_SHARE: usize = 4;

/// Some codes of a segment by number.
#[derive(Debug)]
pub(crate) struct ChosenCodes {
    /// A bit for each code.
    bits: Box<[u64]>,
    /// How many codes there are to choose from, and how many were chosen.
    all: usize,
    chosen: usize,
    /// The numbers of the codes, ascending; known from the first use on.
    numbers: OnceLock<Box<[u32]>>,
    /// The codes themselves in the order of their numbers, packed; known from the first use on.
    copies: OnceLock<Box<[u8]>>,
}

impl ChosenCodes {
    /// Codes by number, each below `count`, in any order and any number of times.
    ///
    /// # Panics
    /// Panics if a number is not below `count`.
    pub(crate) fn new(count: usize, numbers: impl Iterator<Item = u32>) -> Self {
        let mut bits = vec![0_u64; count.div_ceil(64)];
        numbers.for_each(|number| bits[number as usize / 64] |= 1 << (number % 64));
        let chosen = bits.iter().map(|word| word.count_ones() as usize).sum();
        let (numbers, copies) = (OnceLock::new(), OnceLock::new());
        Self { bits: bits.into(), all: count, chosen, numbers, copies }
    }

    /// Whether a code is among them.
    #[inline(always)]
    pub(crate) fn has(&self, number: u32) -> bool {
        self.bits.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.chosen
    }

    /// Their numbers, ascending.
    pub(crate) fn numbers(&self) -> &[u32] {
        self.numbers.get_or_init(|| {
            let mut numbers = Vec::with_capacity(self.chosen);
            for (first, &word) in (0_u32..).step_by(64).zip(&self.bits) {
                let mut left = word;
                while left != 0 {
                    numbers.push(first + left.trailing_zeros());
                    left &= left - 1;
                }
            }
            numbers.into()
        })
    }

    /// Whether they are few enough to be copied.
    pub(crate) fn are_few(&self) -> bool {
        self.chosen < self.all / COPIED_SHARE
    }

    /// Copies of the codes in the order of [`numbers`](Self::numbers): a scan of these takes a fraction of the time that it takes to read them
    /// where they are. `codes` are all codes of the segment, `width` bytes each.
    pub(crate) fn copies(&self, codes: &[u8], width: usize) -> &[u8] {
        self.copies.get_or_init(|| {
            let mut copies = Vec::with_capacity(self.chosen * width);
            for &number in self.numbers() {
                copies.extend_from_slice(&codes[number as usize * width..][..width]);
            }
            copies.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_were_given() {
        let given = [5, 63, 64, 0, 199, 5];
        let codes = ChosenCodes::new(200, given.into_iter());
        assert_eq!(codes.numbers(), [0, 5, 63, 64, 199]);
        assert!((0..300).all(|number| codes.has(number) == given.contains(&number)));
        assert!(ChosenCodes::new(0, [].into_iter()).numbers().is_empty());
        let all: Vec<u8> = (0..200).flat_map(|number| [number, 7]).collect();
        assert_eq!(codes.copies(&all, 2), [0, 7, 5, 7, 63, 7, 64, 7, 199, 7]);
        assert!(codes.are_few() && !ChosenCodes::new(8, 0..2).are_few());
    }
}
