//! A set of rows as bits: rows are inserted in any order and returned in ascending order. The time depends on the number of inserted rows,
//! and only little on the number of possible rows.

use crate::hamming;

/// A set of rows. It is empty between uses; its memory is kept.
#[derive(Debug, Default)]
pub(crate) struct RowBitset {
    /// A bit for each row.
    words: Vec<u64>,
    /// A bit for each word of `words`: whether it is not zero.
    nonzero: Vec<u64>,
    /// The rows of one word of `nonzero` that are about to be returned.
    rows: Vec<u32>,
}

/// Bits in a word.
const WORD: usize = u64::BITS as usize;

impl RowBitset {
    /// Makes room for the rows `0..rows`.
    pub(crate) fn reserve(&mut self, rows: usize) {
        let words = rows.div_ceil(WORD);
        self.words.resize(words, 0);
        self.nonzero.resize(words.div_ceil(WORD), 0);
        self.rows.resize(WORD * WORD + hamming::ONES_PER_WRITE, 0);
    }

    /// Puts rows into the set.
    ///
    /// # Panics
    /// Panics if there is no room for one of them.
    #[inline]
    pub(crate) fn set(&mut self, rows: &[u32]) {
        let Self { words, nonzero, .. } = self;
        for &row in rows {
            let (row, word) = (row as usize, row as usize / WORD);
            words[word] |= 1 << (row % WORD);
            nonzero[word / WORD] |= 1 << (word % WORD);
        }
    }

    /// Calls `take` with the rows in ascending order, some at a time and at least one. The set is empty afterwards.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(&[u32])) {
        let Self { words, nonzero, rows } = self;
        let words = nonzero.iter_mut().zip(words.chunks_mut(WORD));
        for ((nonzero, words), first) in words.zip((0..).step_by(WORD * WORD)) {
            if *nonzero != 0 {
                let count = hamming::drain_ones(words, std::mem::take(nonzero), first, rows);
                take(&rows[..count]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn rows_come_out_in_order_once(
            rows in 1..20_000_usize,
            sets in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..300), 1..4),
            dense: bool,
        ) {
            let mut bits = RowBitset::default();
            bits.reserve(rows);
            for set in sets {
                let near = |index: prop::sample::Index| index.index(if dense { rows.min(300) } else { rows }) as u32;
                let expected: BTreeSet<u32> = set.into_iter().map(near).collect();
                let twice: Vec<u32> = expected.iter().rev().chain(&expected).copied().collect();
                bits.set(&twice);
                let mut out = Vec::new();
                bits.drain(|rows| {
                    assert!(!rows.is_empty());
                    out.extend_from_slice(rows);
                });
                prop_assert_eq!(out, expected.into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn there_is_room_for_all_rows_that_were_reserved() {
        let mut bits = RowBitset::default();
        bits.reserve(70);
        bits.set(&[69, 0]);
        let mut out = Vec::new();
        bits.drain(|rows| out.extend_from_slice(rows));
        assert_eq!(out, [0, 69]);
        // All rows of one word of `nonzero` at once.
        bits.reserve(4096);
        bits.set(&(0..4096).collect::<Vec<_>>());
        let mut count = 0;
        bits.drain(|rows| count += rows.len());
        assert_eq!(count, 4096);
    }
}
