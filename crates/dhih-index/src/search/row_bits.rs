//! A set of rows as bits: what is marked in any order is taken out in order, in time by what was marked, not by what there is.

use crate::hamming;

/// Rows by bits. All is 0 between uses; its memory is kept.
#[derive(Debug, Default)]
pub(crate) struct RowBitset {
    /// A bit a row.
    words: Vec<u64>,
    /// A bit a word of `words`: whether it has any.
    groups: Vec<u64>,
    /// Rows of a group on their way out.
    rows: Vec<u32>,
}

const WORD: usize = u64::BITS as usize;

impl RowBitset {
    /// Room for the rows `0..rows`.
    pub(crate) fn reserve(&mut self, rows: usize) {
        let words = rows.div_ceil(WORD);
        self.words.resize(words, 0);
        self.groups.resize(words.div_ceil(WORD), 0);
        self.rows.resize(WORD * WORD + hamming::ONES_TOGETHER, 0);
    }

    /// RowBitset rows.
    ///
    /// # Panics
    /// Where there is no room for one.
    #[inline]
    pub(crate) fn set(&mut self, rows: &[u32]) {
        let Self { words, groups, .. } = self;
        for &row in rows {
            let (row, word) = (row as usize, row as usize / WORD);
            words[word] |= 1 << (row % WORD);
            groups[word / WORD] |= 1 << (word % WORD);
        }
    }

    /// Hands out the marked rows in order, in pieces that are not empty, and forgets them.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(&[u32])) {
        let Self { words, groups, rows } = self;
        let groups = groups.iter_mut().zip(words.chunks_mut(WORD));
        for ((group, words), first) in groups.zip((0..).step_by(WORD * WORD)) {
            if *group != 0 {
                let count = hamming::ones(words, std::mem::take(group), first, rows);
                each(&rows[..count]);
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
            let mut marks = RowBitset::default();
            marks.reserve(rows);
            for set in sets {
                let near = |index: prop::sample::Index| index.index(if dense { rows.min(300) } else { rows }) as u32;
                let expected: BTreeSet<u32> = set.into_iter().map(near).collect();
                let twice: Vec<u32> = expected.iter().rev().chain(&expected).copied().collect();
                marks.set(&twice);
                let mut out = Vec::new();
                marks.drain(|rows| {
                    assert!(!rows.is_empty());
                    out.extend_from_slice(rows);
                });
                prop_assert_eq!(out, expected.into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn there_is_room_for_all_that_were_asked_for() {
        let mut marks = RowBitset::default();
        marks.reserve(70);
        marks.set(&[69, 0]);
        let mut out = Vec::new();
        marks.drain(|rows| out.extend_from_slice(rows));
        assert_eq!(out, [0, 69]);
        // All of a group at once.
        marks.reserve(4096);
        marks.set(&(0..4096).collect::<Vec<_>>());
        let mut count = 0;
        marks.drain(|rows| count += rows.len());
        assert_eq!(count, 4096);
    }
}
