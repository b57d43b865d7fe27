//! `ChosenCodes`: the codes of a segment that have at least one row which a filter selects. A search asks about each code near the query,
//! and a bit answers without a look at the code's rows.

use std::sync::OnceLock;

/// Some codes of a segment by number.
#[derive(Debug)]
pub(crate) struct ChosenCodes {
    /// A bit for each code.
    bits: Box<[u64]>,
    /// The numbers of the codes, ascending; known from the first use on.
    numbers: OnceLock<Box<[u32]>>,
}

impl ChosenCodes {
    /// Codes by number, each below `count`, in any order and any number of times.
    ///
    /// # Panics
    /// Panics if a number is not below `count`.
    pub(crate) fn new(count: usize, numbers: impl Iterator<Item = u32>) -> Self {
        let mut bits = vec![0_u64; count.div_ceil(64)];
        numbers.for_each(|number| bits[number as usize / 64] |= 1 << (number % 64));
        Self { bits: bits.into(), numbers: OnceLock::new() }
    }

    /// Whether a code is among them.
    #[inline(always)]
    pub(crate) fn has(&self, number: u32) -> bool {
        self.bits.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Their numbers, ascending.
    pub(crate) fn numbers(&self) -> &[u32] {
        self.numbers.get_or_init(|| {
            let mut numbers = Vec::new();
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
    }
}
